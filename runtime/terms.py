"""Observation terms: the words a `controller.json` builds its inputs from.

A term is a factory. Given the live inputs of a tick and its own settings it returns its size and a function that
writes its value into a view of the observation; scale, zeroing and history are added around it (`observation.py`).
A new published policy should need a new file, not a new term; a new *kind* of term is one function in this table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused
from runtime.reference import ReferenceFrame, ReferenceWindow

F32 = npt.NDArray[np.float32]
Fill = Callable[[F32], None]


@dataclass
class TickInputs:
    """What terms read, rewritten every tick; arrays keep their identity.

    Attributes:
        q, dq: (n,) float32, POLICY order, rad, rad/s.
        default_pose: (n,) float32, rad.
        quat_wxyz, gyro, accel: the base's orientation in world, rates (rad/s) and specific force in base.
        action: (n,) float32, the last action as the controller is to see it.
        command: (3,) float32, vx, vy (m/s) and yaw rate (rad/s) in base.
        phase: (k,) float32, gait phase of each foot, rad.
        step: (1,) float32, control periods since the reference began.
        outputs: model outputs of the previous tick, by name.
    """

    default_pose: F32
    window: ReferenceWindow
    phase: F32
    q: F32 = field(init=False)
    dq: F32 = field(init=False)
    action: F32 = field(init=False)
    quat_wxyz: F32 = field(init=False)
    gyro: F32 = field(init=False)
    accel: F32 = field(init=False)
    command: F32 = field(init=False)
    step: F32 = field(init=False)
    outputs: dict[str, F32] = field(default_factory=dict)

    def __post_init__(self) -> None:
        joints = len(self.default_pose)
        self.q, self.dq, self.action = (np.zeros(joints, np.float32) for _ in range(3))
        self.quat_wxyz = np.array([1, 0, 0, 0], np.float32)
        self.gyro, self.accel, self.command = (np.zeros(3, np.float32) for _ in range(3))
        self.step = np.zeros(1, np.float32)


@dataclass(frozen=True)
class Term:
    """One entry of the registry.

    Attributes:
        make: (inputs, settings) -> (size, fill).
        settings: the keys it takes, with their defaults (`...` where one must be given).
        meaning: for error messages and docs.
    """

    make: Callable[[TickInputs, dict[str, Any]], tuple[int, Fill]]
    meaning: str
    settings: dict[str, Any] = field(default_factory=dict)


TERMS: dict[str, Term] = {}


def reference_offsets(settings: dict[str, Any]) -> tuple[int, ...]:
    """The look-ahead offsets a term's `frames` setting asks for, in control periods."""
    frames = settings.get("frames", [])
    if not isinstance(frames, list) or not all(isinstance(k, int) for k in frames) or not frames:
        raise Refused("`frames` of a reference term", expected="a list of whole control periods, e.g. [0, 5, 10]",
                      found=f"{frames!r}", what_to_do="correct the manifest")
    return tuple(frames)


def _copy_term(name: str, meaning: str, source: Callable[[TickInputs], F32]) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> tuple[int, Fill]:
        values = source(inputs)

        def fill(out: F32) -> None:
            out[:] = values

        return len(values), fill

    TERMS[name] = Term(make, meaning)


def _scalar_term(
    name: str, meaning: str, size: int, value: Callable[[TickInputs], Sequence[float]]
) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> tuple[int, Fill]:
        def fill(out: F32) -> None:
            out[:] = value(inputs)

        return size, fill

    TERMS[name] = Term(make, meaning)


def _reference_term(
    name: str,
    meaning: str,
    size: Callable[[int], int],
    value: Callable[[TickInputs, ReferenceFrame], Any],
) -> None:
    def make(inputs: TickInputs, settings: dict[str, Any]) -> tuple[int, Fill]:
        one = size(len(inputs.default_pose))
        frames = [inputs.window.at(k) for k in reference_offsets(settings)]

        def fill(out: F32) -> None:
            for i, frame in enumerate(frames):
                out[i * one : (i + 1) * one] = value(inputs, frame)

        return one * len(frames), fill

    TERMS[name] = Term(make, meaning, {"frames": [0]})


_copy_term("base_ang_vel", "gyro in base, rad/s (3)", lambda i: i.gyro)
_copy_term("base_accel", "accelerometer in base, m/s^2 (3)", lambda i: i.accel)
_copy_term("base_quat_wxyz", "base orientation in world (4)", lambda i: i.quat_wxyz)
_copy_term("joint_pos", "joint positions, rad (n)", lambda i: i.q)
_copy_term("joint_vel", "joint velocities, rad/s (n)", lambda i: i.dq)
_copy_term("last_action", "the previous action, as `action.observed` says (n)", lambda i: i.action)
_copy_term("velocity_command", "vx, vy, yaw rate (3)", lambda i: i.command)
_copy_term("velocity_command_xy", "vx, vy (2)", lambda i: i.command[:2])
_copy_term("velocity_command_yaw", "yaw rate (1)", lambda i: i.command[2:])
_copy_term("time_step", "control periods since the reference began (1)", lambda i: i.step)
_scalar_term(
    "projected_gravity", "unit gravity in base, (0, 0, -1) upright (3)", 3,
    lambda i: rotation.gravity_in_base(i.quat_wxyz),
)
_scalar_term(
    "roll_pitch", "roll and pitch of the base, rad (2)", 2, lambda i: rotation.roll_pitch_yaw(i.quat_wxyz)[:2]
)
_reference_term("ref_joint_pos", "reference joint positions, rad (n a frame)", lambda n: n, lambda _, f: f.joint_pos)
_reference_term(
    "ref_joint_pos_rel", "the same minus the default pose (n a frame)", lambda n: n,
    lambda i, f: f.joint_pos - i.default_pose,
)
_reference_term("ref_joint_vel", "reference joint velocities, rad/s (n a frame)", lambda n: n, lambda _, f: f.joint_vel)
_reference_term("ref_root_height", "reference root height, m (1)", lambda _: 1, lambda _, f: f.root_pos[2])
_reference_term("ref_roll_pitch", "reference roll and pitch, rad (2)", lambda _: 2, lambda _, f: f.root_rpy[:2])
_reference_term(
    "ref_root_lin_vel_xy", "reference root velocity in its own base, x and y, m/s (2)", lambda _: 2,
    lambda _, f: f.root_lin_vel[:2],
)
_reference_term(
    "ref_root_lin_vel", "reference root velocity in its own base, m/s (3)", lambda _: 3, lambda _, f: f.root_lin_vel
)
_reference_term(
    "ref_yaw_rate", "reference angular velocity about its own base z, rad/s (1)", lambda _: 1,
    lambda _, f: f.root_ang_vel[2],
)
_reference_term(
    "ref_root_ang_vel", "reference angular velocity in its own base, rad/s (3)", lambda _: 3,
    lambda _, f: f.root_ang_vel,
)
_reference_term(
    "ref_projected_gravity", "unit gravity in the reference's base (3)", lambda _: 3,
    lambda _, f: rotation.gravity_in_base(f.root_quat_wxyz),
)


def _register_joint_pos_rel() -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> tuple[int, Fill]:
        def fill(out: F32) -> None:
            np.subtract(inputs.q, inputs.default_pose, out=out)

        return len(inputs.q), fill

    TERMS["joint_pos_rel"] = Term(make, "joint positions minus the default pose, rad (n)")


def _register_phase(name: str, function: Callable[..., Any]) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> tuple[int, Fill]:
        if len(inputs.phase) == 0:
            raise Refused(f"term {name}", expected="a `phase` section in the manifest", found="none",
                          what_to_do="add the gait clock: period_s, offsets_rad")

        def fill(out: F32) -> None:
            function(inputs.phase, out=out)

        return len(inputs.phase), fill

    TERMS[name] = Term(make, f"{name[-3:]} of each foot's gait phase (one a foot)")


def _register_constant() -> None:
    def make(_: TickInputs, settings: dict[str, Any]) -> tuple[int, Fill]:
        values = np.atleast_1d(np.asarray(settings["value"], np.float32))

        def fill(out: F32) -> None:
            out[:] = values

        return len(values), fill

    TERMS["constant"] = Term(make, "fixed numbers", {"value": ...})


def _register_model_output() -> None:
    def make(inputs: TickInputs, settings: dict[str, Any]) -> tuple[int, Fill]:
        name = settings["output"]
        if name not in inputs.outputs:
            raise Refused("term model_output", expected=f"an output among {sorted(inputs.outputs)}", found=f"{name}",
                          what_to_do="name one of the model's outputs")
        values = inputs.outputs[name].reshape(-1)

        def fill(out: F32) -> None:
            out[:] = values

        return len(values), fill

    TERMS["model_output"] = Term(make, "an output of the model at the previous tick", {"output": ...})


_register_joint_pos_rel()
_register_phase("phase_sin", np.sin)
_register_phase("phase_cos", np.cos)
_register_constant()
_register_model_output()
