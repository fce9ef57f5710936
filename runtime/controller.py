"""A controller at work: observation -> network -> joint targets, as its manifest says."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import KD, KP, Q
from runtime.errors import Refused
from runtime.manifest import Manifest, Phase
from runtime.model import Model
from runtime.observation import Observation, describe
from runtime.reference import ReferenceFrame, ReferenceWindow
from runtime.robot import JointOrder
from runtime.state import RobotState
from runtime.terms import TickInputs, reference_offsets

F32 = npt.NDArray[np.float32]


class GaitPhase:
    """The gait clock of a manifest (amazon-far/holosoma `policies/locomotion.py` @ fc600e7)."""

    def __init__(self, phase: Phase, rate_hz: float) -> None:
        self._phase = phase
        self._step = 2 * math.pi / (rate_hz * phase.period_s)
        self.values = np.array(phase.offsets_rad, np.float32)
        self._exact = list(phase.offsets_rad)
        self._standing = False

    def reset(self) -> None:
        """Back to the offsets."""
        self._exact = list(self._phase.offsets_rad)
        self._standing = False
        self.values[:] = self._exact

    def advance(self, command: F32) -> None:
        """One tick, before the observation."""
        speed = math.sqrt(float(np.dot(command, command)))
        if speed < self._phase.stand_threshold:
            self._standing = True
            self.values[:] = self._phase.stand_rad
            return
        if self._standing:
            self._standing = False
            self._exact = list(self._phase.offsets_rad)
        else:
            self._exact = [(x + self._step + math.pi) % (2 * math.pi) - math.pi for x in self._exact]
        self.values[:] = self._exact


class Controller:
    """Everything between a state and a joint target.

    Args:
        manifest: what to do.
        model: the network to do it with; sizes are checked against the manifest.

    Attributes:
        window: the reference frames to fill before `tick`.
        target: (motors, 5) float32, MOTOR order, the command block of the last tick.
        action: (n,) float32, POLICY order, the raw action of the last tick.

    Raises:
        Refused: the network's inputs or outputs are not those of the manifest.
    """

    def __init__(self, manifest: Manifest, model: Model) -> None:
        self.manifest, self.model = manifest, model
        joints = len(manifest.order)
        self.window = ReferenceWindow(joints, _offsets(manifest))
        self._gait = GaitPhase(manifest.phase, manifest.rate_hz) if manifest.phase else None
        phase = self._gait.values if self._gait else np.zeros(0, np.float32)
        self.inputs = TickInputs(manifest.default_pose, self.window, phase, dict(model.outputs))
        self._recurrent = self._bind_recurrent()
        self.observations = self._bind_inputs()
        self._output = self._bind_action(joints)
        self.action = np.zeros(joints, np.float32)
        self._motor = manifest.motor_index
        motors = manifest.robot.motors
        self._state_index = np.concatenate([self._motor, self._motor + motors, np.arange(10) + 3 * motors])
        self._clipped, self._q = np.zeros(joints, np.float32), np.zeros(joints, np.float32)
        self.target = np.zeros((motors, 5), np.float32)
        self._target_q = self.target[:, Q]
        self.target[self._motor, KP] = manifest.kp
        self.target[self._motor, KD] = manifest.kd
        for name, (q, kp, kd) in manifest.held.items():
            slot = manifest.robot.motor_index(JointOrder((name,)))[0]
            self.target[slot, Q], self.target[slot, KP], self.target[slot, KD] = q, kp, kd
        self.reset()

    def reset(self) -> None:
        """Forget histories, hidden state, last action and gait phase."""
        for observation, _, _ in self.observations:
            observation.reset()
        for state, _ in self._recurrent:
            state[:] = 0
        for values in self.inputs.outputs.values():
            values[...] = 0
        self.inputs.action[:] = 0
        self.inputs.step[:] = 0
        self.action[:] = 0
        self.target[self._motor, Q] = self.manifest.default_pose
        if self._gait:
            self._gait.reset()

    def observe(self, state: RobotState) -> None:
        """State, window and command into the model's inputs."""
        inputs = self.inputs
        np.take(state.floats, self._state_index, out=inputs.state, mode="clip")
        if self._gait:
            self._gait.advance(inputs.command)
        inputs.update()
        for observation, buffer, clip in self.observations:
            observation.fill()
            if clip is not None:
                buffer[:] = np.clip(observation.values, clip[0], clip[1])
            elif observation.values is not buffer:
                buffer[:] = observation.values

    def tick(self, state: RobotState) -> None:
        """One control period: `action` and `target` are new afterwards, non-finite ones included (the gate judges)."""
        self.observe(state)
        self.model.run()
        manifest, inputs = self.manifest, self.inputs
        self.action[:] = self._output
        clipped = self.action
        if manifest.action_clip is not None:
            low, high = manifest.action_clip
            clipped = np.minimum(np.maximum(self.action, low, out=self._clipped), high, out=self._clipped)
        inputs.action[:] = clipped if manifest.action_observed == "clipped" else self.action
        np.multiply(clipped, manifest.action_scale, out=self._q)
        np.add(self._q, manifest.action_offset, out=self._q)
        self._target_q[self._motor] = self._q
        for hidden, output in self._recurrent:
            hidden[:] = output

    def _bind_recurrent(self) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        pairs = []
        for name_in, name_out in self.manifest.recurrent:
            if name_in not in self.model.inputs or name_out not in self.model.outputs:
                raise self._mismatch(f"recurrent state {name_in} <- {name_out}", "no such tensors")
            if self.model.inputs[name_in].shape != self.model.outputs[name_out].shape:
                raise self._mismatch(f"recurrent state {name_in} <- {name_out} of one shape",
                                     f"{self.model.inputs[name_in].shape} and {self.model.outputs[name_out].shape}")
            pairs.append((self.model.inputs[name_in], self.model.outputs[name_out]))
        return pairs

    def _bind_inputs(self) -> list[tuple[Observation, F32, tuple[float, float] | None]]:
        hidden = {name for name, _ in self.manifest.recurrent}
        free = [name for name in self.model.inputs if name not in hidden]
        entries = self.manifest.inputs
        if len(entries) != len(free):
            raise self._mismatch(f"{len(entries)} inputs", f"{len(free)} ({', '.join(free)})")
        bound = []
        for i, entry in enumerate(entries):
            name = entry.get("name") or (free[0] if len(free) == 1 else None)
            if name not in free:
                raise self._mismatch(f"inputs[{i}].name among {', '.join(free)}", f"{name}")
            buffer = self.model.inputs[name].reshape(-1)
            clip = entry.get("clip")
            observation = Observation(
                entry["blocks"], self.inputs, self.manifest.order.names, buffer if clip is None else None
            )
            if buffer.size != observation.values.size:
                raise Refused(
                    f"model of {self.manifest.name}",
                    expected=f"input `{name}` of {observation.values.size} numbers, as the manifest lays out:\n"
                    f"{describe(observation)}\n",
                    found=f"{buffer.size} numbers",
                    what_to_do="this model belongs to another manifest, or the manifest lacks or repeats a term",
                )
            bound.append((observation, buffer, None if clip is None else (float(clip[0]), float(clip[1]))))
        return bound

    def _bind_action(self, joints: int) -> F32:
        name = self.manifest.action_output or next(iter(self.model.outputs))
        if name not in self.model.outputs:
            raise self._mismatch(f"output {name}", ", ".join(self.model.outputs))
        output = self.model.outputs[name].reshape(-1)
        if output.size != joints:
            raise self._mismatch(f"an action of {joints} joints", f"{output.size} numbers in output {name}")
        return output

    def _mismatch(self, expected: str, found: str) -> Refused:
        return Refused(f"model of {self.manifest.name}", expected=expected, found=found,
                       what_to_do="this model and this manifest do not belong together")


def _offsets(manifest: Manifest) -> list[int]:
    offsets = [0]
    for entry in manifest.inputs:
        for block in entry["blocks"]:
            for term in block.get("terms", []):
                if term["term"].startswith("ref_"):
                    offsets += reference_offsets({"frames": term.get("frames", [0])})
    return offsets


def input_tables(manifest: Manifest) -> dict[str | None, Observation]:
    """Each input of a manifest laid out without a network: by its name, None for the only one.

    Raises:
        Refused: a term reads an output of the network other than the action, of which only the network knows the size.
    """
    n, action = len(manifest.order), manifest.action_output
    phase = np.array(manifest.phase.offsets_rad if manifest.phase else (), np.float32)
    inputs = TickInputs(manifest.default_pose, ReferenceWindow(n, _offsets(manifest)), phase,
                        {action: np.zeros(n, np.float32)} if action else {})
    return {entry.get("name"): Observation(entry["blocks"], inputs, manifest.order.names) for entry in manifest.inputs}


def idle_frame(manifest: Manifest) -> ReferenceFrame:
    """The standing reference: default pose, upright, at rest."""
    frame = ReferenceFrame(len(manifest.order))
    frame.joint_pos[:] = manifest.default_pose
    frame.root_pos[2] = manifest.idle_height_m
    return frame
