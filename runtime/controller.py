"""A controller at work: observation -> network -> joint targets, as its manifest says."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import KD, KP, Q
from runtime import rotation
from runtime.backend import LoadedModel
from runtime.channels import CHANNELS, ChannelTable
from runtime.errors import Refused
from runtime.layouts import check_layout
from runtime.manifest import Manifest, Phase, Stage
from runtime.needs import mode_of, reference_needs
from runtime.network import Network
from runtime.observation import Observation
from runtime.reference import ReferenceFrame, ReferenceWindow
from runtime.robot import JointOrder
from runtime.sonic_terms import stage_place
from runtime.state import RobotState
from runtime.terms import Anchor, TickInputs

F32 = npt.NDArray[np.float32]
MOST_STEPS = 1 << 24
"""Control periods that float32 counts one by one."""


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
            self._exact = [rotation.wrapped(x + self._step) for x in self._exact]
        self.values[:] = self._exact


class _Stage:
    """A network that runs before the main one, or what stands for it."""

    def __init__(self, stage: Stage, network: Network, inputs: TickInputs) -> None:
        self.network = network
        self._modes = None if stage.modes is None else {float(inputs.modes[name]) for name in stage.modes}
        self._mode = inputs.mode
        now, outputs = inputs.window.now, {name: network.output(name) for name in network.model.outputs}
        unknown = [name for name in stage.instead if name not in outputs]
        if unknown:
            raise network.mismatch(f"outputs {', '.join(stage.instead)}", ", ".join(outputs))
        self._places = [
            (inputs.reserve(stage_place(stage.name, name), output.size), output,
             now.channels[stage.instead[name]] if name in stage.instead else None)
            for name, output in outputs.items()
        ]
        for name, channel in stage.instead.items():
            if outputs[name].size != CHANNELS[channel].width:
                raise network.mismatch(f"output {name} as wide as channel {channel} ({CHANNELS[channel].width})",
                                       f"{outputs[name].size}")

    def run(self) -> None:
        """Its outputs of this tick to where terms find them."""
        if self._modes is None or self._mode[0] in self._modes:
            self.network.fill()
            self.network.model.run()
            for place, output, _ in self._places:
                place[:] = output
            self.network.carry()
            return
        for place, _, channel in self._places:
            place[:] = 0 if channel is None else channel


class Controller:
    """Everything between a state and a joint target.

    Args:
        manifest: what to do.
        model: the network to do it with; sizes are checked against the manifest.
        stage_models: the networks of the manifest's stages, by name.

    Attributes:
        window: the reference frames to fill before `tick`.
        last_row: of a reference inside the network; its time step goes no further.
        networks: every network, the stages' first, the main one last.
        observations: their observations in that order (`Network.observations`).
        target: (motors, 5) float32, MOTOR order, the command block of the last tick.
        action: (n,) float32, POLICY order, the raw action of the last tick.

    Raises:
        Refused: a network's inputs or outputs are not those of the manifest.
    """

    def __init__(
        self, manifest: Manifest, model: LoadedModel, stage_models: Mapping[str, LoadedModel] | None = None
    ) -> None:
        self.manifest, self.model = manifest, model
        check_layout(manifest)
        joints = len(manifest.order)
        self._gait = GaitPhase(manifest.phase, manifest.rate_hz) if manifest.phase else None
        phase = self._gait.values if self._gait else np.zeros(0, np.float32)
        self.inputs = _tick_inputs(manifest, phase, dict(model.outputs))
        self.window = self.inputs.window
        self._stages = [self._bind_stage(stage, stage_models or {}) for stage in manifest.stages]
        embedded = manifest.embedded
        own = () if embedded is None else (embedded.time_step,)
        what = f"model of {manifest.name}"
        self._network = Network(what, manifest.inputs, manifest.recurrent, model, self.inputs, own)
        self._time_step = None if embedded is None else model.inputs.get(embedded.time_step)
        self._ahead = 0 if embedded is None else 1 - embedded.lag
        self.last_row = MOST_STEPS
        self.networks = (*(stage.network for stage in self._stages), self._network)
        self.observations = [bound for network in self.networks for bound in network.observations]
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
        self._planned = float("nan")
        self.set_mode(mode_of(manifest, None))
        self.reset()

    @property
    def mode(self) -> str:
        """Name of the mode, "" for a controller without modes."""
        return next((name for name, number in self.manifest.modes.items() if number == self.inputs.mode[0]), "")

    def set_mode(self, name: str) -> None:
        """Change to a mode of the manifest ("" for one without modes), from the next tick on.

        Whoever asks sees to the data it reads.

        Raises:
            Refused: the controller has no such mode.
        """
        modes = self.manifest.modes
        self.inputs.mode[0] = modes[mode_of(self.manifest, name)] if modes or name else 0

    def reset(self) -> None:
        """Forget histories, hidden state, last action and gait phase; the next tick begins a reference anew."""
        for network in self.networks:
            network.reset()
        for values in self.inputs.outputs.values():
            values[...] = 0
        self.inputs.action[:] = 0
        self.inputs.step[:] = 0
        self.inputs.reinit[:] = 1
        self.action[:] = 0
        self.target[self._motor, Q] = self.manifest.default_pose
        if self._gait:
            self._gait.reset()

    def asked_row(self, step: float) -> float:
        """The row that a motion inside the network is asked for, `step` control periods into it."""
        return min(max(step + self._ahead, 0.0), self.last_row)

    def observe(self, state: RobotState) -> None:
        """State, window and command into the model's inputs; the stages run."""
        inputs = self.inputs
        np.take(state.floats, self._state_index, out=inputs.state, mode="clip")
        if self._gait:
            self._gait.advance(inputs.command)
        if inputs.mode[0] != self._planned:
            self._plan()
        if self._time_step is not None:
            self._time_step[...] = self.asked_row(float(inputs.step[0]))
        inputs.update()
        inputs.reinit[0] = 0
        for stage in self._stages:
            stage.run()
        self._network.fill()

    def tick(self, state: RobotState) -> None:
        """One control period: `action` and `target` are new afterwards, non-finite ones included (the gate judges)."""
        self.observe(state)
        self.model.run()
        self.act()

    def act(self) -> None:
        """The model's outputs into `action`, `target` and what the next observation remembers of them."""
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
        self._network.carry()

    def remember(self, target: F32) -> None:
        """Another controller's target was sent instead of this one's: the next observation shows the action for it.

        Args:
            target: (motors, 5) float32; its joint targets are turned back into an action of this controller.
        """
        manifest, q = self.manifest, self._q
        np.subtract(target[self._motor, Q], manifest.action_offset, out=q)
        np.divide(q, manifest.action_scale, out=q, where=manifest.action_scale != 0)
        if manifest.action_clip is not None:
            np.clip(q, *manifest.action_clip, out=q)
        self.inputs.action[:] = q

    def _plan(self) -> None:
        """Look only at what the mode needs, from this tick on."""
        modes, mode = self.manifest.modes, float(self.inputs.mode[0])
        if modes and mode not in modes.values():
            raise Refused(f"mode of {self.manifest.name}", expected=f"an id among {modes}", found=f"{mode:g}",
                          what_to_do="choose one of the controller's modes")
        self._planned = mode
        if modes:
            self.inputs.plan(int(mode))

    def _bind_stage(self, stage: Stage, models: Mapping[str, LoadedModel]) -> _Stage:
        what = f"stage {stage.name} of {self.manifest.name}"
        if stage.name not in models:
            raise Refused(what, expected="its model", found="none", what_to_do="name the stage's ONNX file")
        network = Network(f"model of {what}", stage.inputs, stage.recurrent, models[stage.name], self.inputs)
        return _Stage(stage, network, self.inputs)

    def _bind_action(self, joints: int) -> F32:
        output = self._network.output(self.manifest.action_output)
        if output.size != joints:
            name = self.manifest.action_output or next(iter(self.model.outputs))
            raise self._network.mismatch(f"an action of {joints} joints", f"{output.size} numbers in output {name}")
        return output


def input_tables(manifest: Manifest) -> dict[str | None, Observation]:
    """Each input of a manifest laid out without a network: by its name, None for the only one.

    Raises:
        Refused: a term reads an output of the network other than the action, or of a stage, of which only the network
            knows the size.
    """
    action, names = manifest.action_output, manifest.order.names
    phase = np.array(manifest.phase.offsets_rad if manifest.phase else (), np.float32)
    inputs = _tick_inputs(manifest, phase, {action: np.zeros(len(names), np.float32)} if action else {})
    return {entry.get("name"): Observation(entry["blocks"], inputs, names) for entry in manifest.inputs}


def _tick_inputs(manifest: Manifest, phase: F32, outputs: dict[str, F32]) -> TickInputs:
    """What the terms of a manifest read; `phase` and `outputs` are kept up to date by the caller."""
    offsets, channels = reference_needs(manifest)
    window = ReferenceWindow(len(manifest.order), offsets, sorted(channels))
    inputs = TickInputs(manifest.default_pose, window, phase, outputs, manifest.order.names, manifest.modes,
                        Anchor(manifest.anchor, manifest.align, manifest.robot.bodies))
    inputs.is_estimated = manifest.estimator is not None
    return inputs


def idle_frame(manifest: Manifest) -> ReferenceFrame:
    """The standing reference: default pose, upright, at rest."""
    frame = ReferenceFrame(len(manifest.order), ChannelTable(reference_needs(manifest)[1]))
    frame.joint_pos[:] = manifest.default_pose
    frame.root_pos[2] = manifest.idle_height_m
    for name, values in manifest.idle_channels.items():
        if name in frame.channels:
            frame.channels[name][:] = values
    return frame
