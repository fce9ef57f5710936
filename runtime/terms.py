"""Observation terms: the words a `controller.json` builds its inputs from.

All that a tick knows stands in one flat array (`TickInputs.values`), and a term is a place in it: some places are
filled from the robot's state directly, others are derived once a tick however many inputs use them. An observation is
then gathered from those places in a few numpy calls (`observation.py`), which keeps it cheap on cold caches.

A new published policy should need a new file, not a new term; a new *kind* of term is one function in this table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.bodies import Bodies
from runtime.errors import Refused
from runtime.reference import ReferenceFrame, ReferenceWindow

F32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]
T = TypeVar("T")
CAPACITY = 1 << 14
"""Numbers a controller may look at in one tick; the largest published one needs under 4,000."""


@dataclass(frozen=True)
class Source:
    """Where a term's value stands in `TickInputs.values`, and what is subtracted from it."""

    index: Index
    minus: F32 | None = None

    @property
    def size(self) -> int:
        """Numbers of the value."""
        return len(self.index)


@dataclass(frozen=True)
class Anchor:
    """The body that terms about orientation compare.

    Attributes:
        body: its name, "" where neither manifest nor robot says.
        align: "yaw" or "none": whether robot and reference begin with the same heading.
        bodies: chains of the robot's bodies.
    """

    body: str = ""
    align: str = "yaw"
    bodies: Bodies = field(default_factory=dict)


class TickInputs:
    """What terms read, rewritten every tick; arrays keep their identity and are views of `values`.

    Args:
        default_pose: (n,) float32, POLICY order, rad.
        window: the reference frames.
        phase: (k,) float32, gait phase of each foot, rad, kept up to date by the caller.
        outputs: model outputs of the previous tick, by name.
        joints: (n) names in POLICY order.
        modes: the controller's modes, name -> id; empty for a controller without.
        anchor: the body whose orientation the reference is compared by.

    Attributes:
        q, dq: (n,) float32, POLICY order, rad, rad/s.
        quat_wxyz, gyro, accel: the base's orientation in world, rates (rad/s) and specific force in base.
        state: q, dq, quat_wxyz, gyro, accel as one view, in this order.
        action: (n,) float32, the last action as the controller is to see it.
        command: (3,) float32, vx, vy (m/s) and yaw rate (rad/s) in base.
        step: (1,) float32, control periods since the reference began.
        mode: (1,) float32, id of the mode.
        reinit: (1,) float32, 1 where this tick starts anew from the robot's and the reference's heading.
        delta_heading: (1,) float32, rad, how far an operator turned the reference.
        is_estimated: whether an estimator keeps up `estimate`, the place of `estimator_terms.py`.
        scope: the modes (ids) that what is being derived is for; None is every mode.
        own: every place above by name, and any other that is not derived: what golden vectors record (`golden.py`).
    """

    def __init__(
        self, default_pose: F32, window: ReferenceWindow, phase: F32, outputs: dict[str, F32] | None = None,
        joints: tuple[str, ...] = (), modes: dict[str, int] | None = None, anchor: Anchor | None = None,
    ) -> None:
        self.default_pose, self.window, self.phase = default_pose, window, phase
        self.outputs: dict[str, F32] = outputs if outputs is not None else {}
        self.joints, self.modes, self.anchor = joints, modes or {}, anchor or Anchor()
        self.scope: frozenset[int] | None = None
        self.is_estimated = False
        self.values = np.zeros(CAPACITY, np.float32)
        self._used = 0
        self._updates: dict[Hashable, Callable[[], None]] = {}
        self._scopes: dict[Hashable, frozenset[int] | None] = {}
        self._plan: list[Callable[[], None]] = []
        self._sources: dict[Hashable, Source] = {}
        self.own: dict[str, F32] = {}
        self._shared: dict[Hashable, Any] = {}
        n = len(default_pose)
        self.q, self.dq = self._own("q", n), self._own("dq", n)
        self.quat_wxyz, self.gyro, self.accel = self._own("quat", 4), self._own("gyro", 3), self._own("accel", 3)
        self.quat_wxyz[0] = 1
        self.state = self.values[: self._used]
        self.action, self.command = self._own("action", n), self._own("command", 3)
        self.step, self.mode = self._own("step", 1), self._own("mode", 1)
        self.reinit, self.delta_heading = self._own("reinit", 1), self._own("delta_heading", 1)

    def _own(self, name: str, size: int) -> F32:
        first = self._place(name, size).index[0]
        self.own[name] = self.values[first : first + size]
        return self.own[name]

    def own_place(self, name: str, size: int) -> F32:
        """A new place that something outside fills; golden vectors record it."""
        return self._own(name, size)

    def reserve(self, name: str, size: int) -> F32:
        """A new place for what the controller itself finds out in a tick, as a view of `values`."""
        first = self._place(name, size).index[0]
        return self.values[first : first + size]

    def _place(self, key: Hashable, size: int) -> Source:
        if self._used + size > CAPACITY:
            raise Refused("observation", expected=f"at most {CAPACITY} different numbers a tick", found="more",
                          what_to_do="remove terms or look-ahead frames")
        self._sources[key] = Source(np.arange(self._used, self._used + size))
        self._used += size
        return self._sources[key]

    def source(self, name: str, first: int = 0, size: int | None = None, minus: F32 | None = None) -> Source:
        """A place that is filled from outside: q, dq, quat, gyro, accel, action, command, step, mode, ..."""
        whole = self._sources[name].index
        return Source(whole[first:] if size is None else whole[first : first + size], minus)

    def frame(self, offset: int) -> Source:
        """All of the reference frame `offset` control periods ahead, as `ReferenceFrame.values` has it."""
        values = self.window.at(offset).values

        def write(out: F32) -> None:
            out[:] = values

        return self.derive(("frame", offset), len(values), write)

    def has(self, name: str) -> bool:
        """Whether there is a place of that name."""
        return name in self._sources

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What several terms work with, made by the first."""
        if key not in self._shared:
            self._shared[key] = make()
        found: T = self._shared[key]
        return found

    def derive(self, key: Hashable, size: int, write: Callable[[F32], None]) -> Source:
        """A place that `write` fills once a tick; the same key is the same place."""
        if key not in self._sources:
            self._place(key, size)
            out = self.values[self._used - size : self._used]
            self.each_tick(key, lambda: write(out))
        else:
            self.each_tick(key, self._updates[key])
        return self._sources[key]

    def each_tick(self, key: Hashable, update: Callable[[], None]) -> None:
        """Work to be done once a tick, in the modes of `scope`, in the order of first mention."""
        before = self._scopes.get(key, frozenset())
        self._updates.setdefault(key, update)
        self._scopes[key] = None if before is None or self.scope is None else before | self.scope
        self._plan = list(self._updates.values())

    def plan(self, mode: int) -> None:
        """From now on update only what this mode looks at."""
        self._plan = [update for key, update in self._updates.items()
                      if (scope := self._scopes[key]) is None or mode in scope]

    def update(self) -> None:
        """Fill the derived places."""
        for update in self._plan:
            update()


@dataclass(frozen=True)
class Term:
    """One entry of the registry.

    Attributes:
        make: (inputs, settings) -> where its value stands.
        settings: the keys it takes, with their defaults (`...` where one must be given).
        meaning: for error messages and docs.
        channels: settings -> the reference channels it reads (`channels.py`).
    """

    make: Callable[[TickInputs, dict[str, Any]], Source]
    meaning: str
    settings: dict[str, Any] = field(default_factory=dict)
    channels: Callable[[dict[str, Any]], tuple[str, ...]] = lambda settings: ()

    def full(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The settings of a manifest's entry, defaults included."""
        return {key: entry.get(key, default) for key, default in self.settings.items()}


TERMS: dict[str, Term] = {}


def reference_offsets(settings: dict[str, Any]) -> tuple[int, ...]:
    """The look-ahead offsets a term's `frames` setting asks for, in control periods."""
    frames = settings.get("frames", [])
    if not isinstance(frames, list) or not all(isinstance(k, int) for k in frames) or not frames:
        raise Refused("`frames` of a reference term", expected="a list of whole control periods, e.g. [0, 5, 10]",
                      found=f"{frames!r}", what_to_do="correct the manifest")
    return tuple(frames)


def _state_term(name: str, meaning: str, source: str, first: int = 0, size: int | None = None) -> None:
    TERMS[name] = Term(lambda inputs, _: inputs.source(source, first, size), meaning)


def _derived_term(name: str, meaning: str, size: int, value: Callable[[TickInputs], Sequence[float]]) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> Source:
        def write(out: F32) -> None:
            out[:] = value(inputs)

        return inputs.derive(name, size, write)

    TERMS[name] = Term(make, meaning)


def _reference_term(name: str, meaning: str, first: Callable[[int], int], size: Callable[[int], int]) -> None:
    """A part of `ReferenceFrame.values`; `first` and `size` take the number of joints."""

    def make(inputs: TickInputs, settings: dict[str, Any]) -> Source:
        n, offsets = len(inputs.default_pose), reference_offsets(settings)
        return Source(np.concatenate([inputs.frame(k).index[first(n) : first(n) + size(n)] for k in offsets]))

    TERMS[name] = Term(make, meaning, {"frames": [0]})


def joint_index(inputs: TickInputs, names: list[str] | None) -> Index:
    """Places of joints in policy order, in the order they are named; of all of them for None."""
    if names is None:
        return np.arange(len(inputs.default_pose))
    unknown = [name for name in names if name not in inputs.joints]
    if unknown:
        raise Refused("`joints` of a reference term", expected="joints of the controller", found=", ".join(unknown),
                      what_to_do="correct the manifest")
    return np.array([inputs.joints.index(name) for name in names], np.intp)


def _reference_joints(name: str, meaning: str, *, velocity: bool = False, relative: bool = False) -> None:
    """Joint positions or velocities of the reference, all or the named ones."""

    def make(inputs: TickInputs, settings: dict[str, Any]) -> Source:
        offsets, index = reference_offsets(settings), joint_index(inputs, settings["joints"])
        first = len(inputs.default_pose) if velocity else 0
        parts = [inputs.frame(k).index[first + index] for k in offsets]
        return Source(np.concatenate(parts), np.tile(inputs.default_pose[index], len(offsets)) if relative else None)

    TERMS[name] = Term(make, meaning, {"frames": [0], "joints": None})


_state_term("base_ang_vel", "gyro in base, rad/s (3)", "gyro")
_state_term("base_accel", "accelerometer in base, m/s^2 (3)", "accel")
_state_term("base_quat_wxyz", "base orientation in world (4)", "quat")
_state_term("joint_pos", "joint positions, rad (n)", "q")
_state_term("joint_vel", "joint velocities, rad/s (n)", "dq")
_state_term("last_action", "the previous action, as `action.observed` says (n)", "action")
_state_term("velocity_command", "vx, vy, yaw rate (3)", "command")
_state_term("velocity_command_xy", "vx, vy (2)", "command", 0, 2)
_state_term("velocity_command_yaw", "yaw rate (1)", "command", 2, 1)
_state_term("time_step", "control periods since the reference began (1)", "step")
_derived_term(
    "projected_gravity", "unit gravity in base, (0, 0, -1) upright (3)", 3,
    lambda i: rotation.gravity_in_base(i.quat_wxyz),
)
_derived_term(
    "roll_pitch", "roll and pitch of the base, rad (2)", 2, lambda i: rotation.roll_pitch_yaw(i.quat_wxyz)[:2]
)
_derived_term(
    "roll_pitch_yaw", "Euler angles of the base, R = Rz Ry Rx, yaw in world, rad (3)", 3,
    lambda i: rotation.roll_pitch_yaw(i.quat_wxyz),
)
_reference_joints("ref_joint_pos", "reference joint positions, rad (n a frame)")
_reference_joints("ref_joint_pos_rel", "the same minus the default pose (n a frame)", relative=True)
_reference_joints("ref_joint_vel", "reference joint velocities, rad/s (n a frame)", velocity=True)
_reference_term("ref_root_height", "reference root height, m (1)", lambda n: 2 * n + 2, lambda n: 1)
_reference_term("ref_roll_pitch", "reference roll and pitch, rad (2)", lambda n: 2 * n + 3, lambda n: 2)
_reference_term(
    "ref_root_lin_vel_xy", "reference root velocity in its own base, x and y, m/s (2)", lambda n: 2 * n + 10,
    lambda n: 2,
)
_reference_term(
    "ref_root_lin_vel", "reference root velocity in its own base, m/s (3)", lambda n: 2 * n + 10, lambda n: 3
)
_reference_term(
    "ref_yaw_rate", "reference angular velocity about its own base z, rad/s (1)", lambda n: 2 * n + 15, lambda n: 1
)
_reference_term(
    "ref_root_ang_vel", "reference angular velocity in its own base, rad/s (3)", lambda n: 2 * n + 13, lambda n: 3
)


def _reference_gravity(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    parts = []
    for offset in reference_offsets(settings):
        frame = inputs.window.at(offset)

        def write(out: F32, frame: ReferenceFrame = frame) -> None:
            out[:] = rotation.gravity_in_base(frame.root_quat_wxyz)

        parts.append(inputs.derive(("ref_projected_gravity", offset), 3, write).index)
    return Source(np.concatenate(parts))


TERMS["ref_projected_gravity"] = Term(_reference_gravity, "unit gravity in the reference's base (3)", {"frames": [0]})
TERMS["joint_pos_rel"] = Term(
    lambda inputs, _: inputs.source("q", minus=inputs.default_pose), "joint positions minus the default pose, rad (n)"
)


def _phase_term(name: str, function: Callable[..., Any]) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> Source:
        if len(inputs.phase) == 0:
            raise Refused(f"term {name}", expected="a `phase` section in the manifest", found="none",
                          what_to_do="add the gait clock: period_s, offsets_rad")
        return inputs.derive(name, len(inputs.phase), lambda out: function(inputs.phase, out=out))

    TERMS[name] = Term(make, f"{name[-3:]} of each foot's gait phase (one a foot)")


def _constant(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    values = np.atleast_1d(np.asarray(settings["value"], np.float32))

    def write(out: F32) -> None:
        out[:] = values

    return inputs.derive(("constant", values.tobytes()), len(values), write)


def _model_output(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    name = settings["output"]
    if name not in inputs.outputs:
        raise Refused("term model_output", expected=f"an output among {sorted(inputs.outputs)}", found=f"{name}",
                      what_to_do="name one of the model's outputs")
    values = inputs.outputs[name].reshape(-1)

    def write(out: F32) -> None:
        out[:] = values

    return inputs.derive(("model_output", name), len(values), write)


_phase_term("phase_sin", np.sin)
_phase_term("phase_cos", np.cos)
TERMS["constant"] = Term(_constant, "fixed numbers", {"value": ...})
TERMS["model_output"] = Term(_model_output, "an output of the model at the previous tick", {"output": ...})
