"""Seeded random ticks that a robot could meet: for golden vectors and parity where no recording is at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.controller import Controller
from runtime.golden import Tick, external_places
from runtime.reference import ReferenceFrame
from runtime.state import RobotState

Array = npt.NDArray[Any]

LEAN_RAD = 0.25
MOST_SWING_RAD = 0.4
GRAVITY_M_S2 = 9.81
DISCRETE = frozenset({"mode", "reinit"})
"""Places that hold a choice, not a quantity: as the controller itself has them at its first tick, and after it."""


def plausible_ticks(
    controller: Controller, count: int, seed: int, places: Mapping[str, Array] | None = None
) -> list[Tick]:
    """`count` ticks that follow one another smoothly: a robot near upright, a motion near the start pose.

    The controller is reset.

    Args:
        places: (count, size) values for places of the controller's inputs, by name, instead of drawn ones.
    """
    rng = np.random.default_rng(seed)
    motion, state = _Motion(controller, rng), _States(controller, rng)
    given = dict(places or {})
    for name, place in external_places(controller).items():
        if name not in given:
            given[name] = _place(controller, name, place, count, rng)
    period_s = 1 / controller.manifest.rate_hz
    return [
        Tick(
            state.at(tick * period_s),
            np.array([motion.at((tick + offset) * period_s) for offset in controller.window.offsets]),
            {name: np.asarray(values[tick], np.float32) for name, values in given.items()},
        )
        for tick in range(count)
    ]


class _Waves:
    """(size,) numbers that swing about `middle` at 0.5 to 2 Hz each; their rates too."""

    def __init__(self, middle: Array, swing: Array | float, rng: np.random.Generator) -> None:
        size = len(middle)
        self._middle, self._swing = middle, swing * rng.uniform(0.3, 1.0, size)
        self._omega = 2 * math.pi * rng.uniform(0.5, 2.0, size)
        self._phase = rng.uniform(0, 2 * math.pi, size)

    def at(self, time_s: float) -> Array:
        return np.asarray(self._middle + self._swing * np.sin(self._omega * time_s + self._phase))

    def rate(self, time_s: float) -> Array:
        return np.asarray(self._swing * self._omega * np.cos(self._omega * time_s + self._phase))


def _within(middle: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """A middle inside the limits, and how far one may swing about it."""
    middle = np.clip(middle, lower, upper).astype(np.float64)
    return middle, np.minimum(np.minimum(middle - lower, upper - middle), MOST_SWING_RAD)


class _States:
    """`RobotState.floats` over time: joints within their limits, the base leaning a little, turning slowly."""

    def __init__(self, controller: Controller, rng: np.random.Generator) -> None:
        robot, manifest = controller.manifest.robot, controller.manifest
        lower, upper = robot.column("lower_rad"), robot.column("upper_rad")
        pose = np.zeros(robot.motors)
        pose[manifest.motor_index] = manifest.default_pose
        self._motors = robot.motors
        self._q = _Waves(*_within(pose, lower, upper), rng)
        self._tau = _Waves(np.zeros(robot.motors), 0.2 * robot.column("effort_n_m"), rng)
        self._rpy = _Waves(np.array([0, 0, rng.uniform(-3, 3)]), LEAN_RAD, rng)
        self._gyro = _Waves(np.zeros(3), 0.7, rng)
        self._shake = _Waves(np.zeros(3), 2.0, rng)

    def at(self, time_s: float) -> npt.NDArray[np.float32]:
        state = RobotState(self._motors)
        state.q[:], state.dq[:] = self._q.at(time_s), self._q.rate(time_s)
        state.tau[:] = self._tau.at(time_s)
        quat = rotation.quat_from_rpy(*self._rpy.at(time_s))
        state.quat_wxyz[:], state.gyro[:] = quat, self._gyro.at(time_s)
        state.accel[:] = -GRAVITY_M_S2 * np.array(rotation.gravity_in_base(quat)) + self._shake.at(time_s)
        return state.floats


class _Motion:
    """`ReferenceFrame.values` over time: a standing robot that sways, bends and wanders."""

    def __init__(self, controller: Controller, rng: np.random.Generator) -> None:
        manifest = controller.manifest
        rows = manifest.robot.order.index_of(manifest.order)
        limits = np.array([(joint.lower_rad, joint.upper_rad) for joint in manifest.robot.joints])[rows]
        self._joints = _Waves(*_within(manifest.default_pose, limits[:, 0], limits[:, 1]), rng)
        self._pos = _Waves(np.array([0, 0, manifest.idle_height_m]), 0.05, rng)
        self._rpy = _Waves(np.zeros(3), LEAN_RAD, rng)
        self._root_rates = _Waves(np.zeros(6), 0.5, rng)
        model = controller.window.now
        self._fresh = model.values.copy()
        self._rest = _Waves(self._fresh, 0.3, rng)
        self._frame = ReferenceFrame(len(manifest.order))
        self._quats = [
            slice(_start(model.values, view), _start(model.values, view) + view.size)
            for name, view in _views(model) if "quat" in name or "orientation" in name
        ]

    def at(self, time_s: float) -> Array:
        frame = self._frame
        frame.joint_pos[:], frame.joint_vel[:] = self._joints.at(time_s), self._joints.rate(time_s)
        frame.root_pos[:], frame.root_rpy[:] = self._pos.at(time_s), self._rpy.at(time_s)
        frame.root_quat_wxyz[:] = rotation.quat_from_rpy(*frame.root_rpy)
        frame.root_lin_vel[:], frame.root_ang_vel[:] = np.split(self._root_rates.at(time_s), 2)
        values = self._rest.at(time_s)
        known = _known_size(frame)
        values[:known] = frame.values[:known]
        for place in self._quats:
            quats = values[place].reshape(-1, 4)
            quats /= np.linalg.norm(quats, axis=1, keepdims=True)
        return values


def _known_size(frame: ReferenceFrame) -> int:
    """Numbers of a frame up to the end of the root's velocities: all that is written by name."""
    return _start(frame.values, frame.root_ang_vel) + 3


def _views(frame: ReferenceFrame) -> Iterator[tuple[str, Array]]:
    """(name, view) of every part of a frame's values, those in dictionaries of further channels too."""
    for name, value in vars(frame).items():
        for key, view in value.items() if isinstance(value, dict) else ((name, value),):
            if isinstance(view, np.ndarray) and np.shares_memory(view, frame.values):
                yield str(key), view


def _start(whole: Array, view: Array) -> int:
    """Where a view of a flat array begins, in entries."""
    return int(view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize


def _place(controller: Controller, name: str, place: Array, count: int, rng: np.random.Generator) -> Array:
    size = len(place)
    if name in DISCRETE:
        controller.reset()
        values = np.repeat(place[None].copy(), count, axis=0)
        controller.tick(RobotState(controller.manifest.robot.motors))
        values[1:] = place
        controller.reset()
        return values
    if name == "step":
        # A motion inside a network that is not clamped has no row beyond its last; a time step may look one ahead.
        steps = np.minimum(np.arange(count), max(0, controller.last_row - 1))
        return np.repeat(steps[:, None], size, axis=1)
    low, high = np.full(size, -0.5), np.full(size, 0.5)
    if name == "command" and controller.manifest.command_ranges is not None:
        low, high = np.array(controller.manifest.command_ranges).T
    waves = _Waves((low + high) / 2, (high - low) / 2, rng)
    return np.array([waves.at(tick / controller.manifest.rate_hz) for tick in range(count)])
