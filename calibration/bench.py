"""What a routine has in its hands: the robot's joints within an envelope, a person to ask, and a recording.

A routine is written as a generator: it sets targets here and yields once a gate period. It runs the same over simulated
time, over DDS and over serial ports, because whoever drives it only ticks.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from runtime.pilot import min_jerk
from runtime.records import Dtype
from runtime.robot import Robot
from runtime.state import RobotState, state_dtype

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
T = TypeVar("T")
Steps = Generator[None, None, T]
"""A routine, or a part of one: yields once a tick, returns what it found."""
USUAL_TORQUE = 0.95
"""Share of the envelope's effort that no free motion needs."""
STRONG_TICKS = 5
"""In a row beyond the torque that is expected: an obstacle, 10 ms after it presses."""


class Stopped(Exception):
    """A routine that must not go on: what happened, in a sentence."""


@dataclass(frozen=True)
class Question:
    """Something a person is asked to do, and what a simulated one does.

    Attributes:
        text: for the person.
        tilt_rad: (3,) rotation vector, the attitude wanted of what the robot hangs on; None: nothing of that kind.
        places_rad: joints and where they truly are to be put, and held there until the next question.
        choices: what can be answered; empty: that it is done.
        is_about_motion: which joint has moved since the question before, and which way: `+ NAME` or `- NAME`.
    """

    text: str
    tilt_rad: tuple[float, float, float] | None = None
    places_rad: tuple[tuple[str, float], ...] = ()
    choices: tuple[str, ...] = ()
    is_about_motion: bool = False


def recording_dtype(motors: int) -> Dtype:
    """One tick: when the routine ran, the state it saw, the target it set."""
    state = state_dtype(motors)
    return np.dtype([("now_ns", "<i8"), *((name, state[name]) for name in state.names or ()),
                     ("target", "<f4", (motors, 5))])


@dataclass
class Recording:
    """What was seen: (ticks,) of `recording_dtype`, and named stretches of it, from and to."""

    rows: npt.NDArray[np.void]
    stretches: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, name: str) -> npt.NDArray[np.void]:
        """The rows of one stretch, each state once."""
        start, end = self.stretches[name]
        rows = self.rows[start:end]
        return rows[np.concatenate([[True], np.diff(rows["sequence"].astype(np.int64)) > 0])] if len(rows) else rows

    def named(self, prefix: str) -> list[str]:
        """The stretches whose names begin so, in order."""
        return [name for name in self.stretches if name.startswith(prefix)]


class Bench:
    """A robot under a routine.

    Args:
        robot: the robot's table within the routine's envelope.
        period_s: between two ticks.

    Attributes:
        state: newest, raw: no calibration is applied under a routine.
        target: (motors, 5), what is asked for; a routine changes it in place.
        question: what a person is being asked; None when nobody is. `answer` is what they said last.
        torque_ratio: (motors,) share of the envelope's effort beyond which a torque is an obstacle.
        said: lines for the person who watches; `progress` from 0 to 1.
    """

    def __init__(self, robot: Robot, period_s: float) -> None:
        n = robot.motors
        self.robot, self.period_s = robot, period_s
        self.state = RobotState(n)
        self.target = np.zeros((n, 5), np.float32)
        self.question: Question | None = None
        self.answer = ""
        self.torque_ratio = np.full(n, USUAL_TORQUE, np.float32)
        self.said: list[str] = []
        self.progress = 0.0
        self._effort = robot.column("effort_n_m")
        self._strong = np.zeros(n, np.int64)
        self._rows = np.zeros(4096, recording_dtype(n))
        self._count = 0
        self._stretches: dict[str, tuple[int, int]] = {}
        self._open: tuple[str, int] | None = None

    def motor(self, joint: str) -> int:
        """The slot of a joint."""
        return int(next(row.motor for row in self.robot.joints if row.name == joint))

    def start_from(self, q: F32) -> None:
        """Hold a measured pose, (motors,) rad, with the table's gains."""
        self.target[:] = 0
        self.target[:, Q] = q
        self.target[:, KP], self.target[:, KD] = self.robot.column("kp"), self.robot.column("kd")

    def gains(self, joint: str, kp: float, kd: float) -> None:
        """Of one joint."""
        self.target[self.motor(joint), [KP, KD]] = kp, kd

    def hold(self, seconds: float) -> Steps[None]:
        """The targets as they are."""
        for _ in range(max(1, round(seconds / self.period_s))):
            yield

    def move(self, to: Mapping[str, float], velocity_rad_s: float) -> Steps[None]:
        """Joints to places (rad, as their encoders read), min-jerk, the fastest at this mean speed."""
        motors = np.array([self.motor(joint) for joint in to], np.intp)
        start, end = self.target[motors, Q].copy(), np.array(list(to.values()), np.float32)
        ticks = max(1, round(float(np.abs(end - start).max(initial=0)) / velocity_rad_s / self.period_s))
        for tick in range(1, ticks + 1):
            self.target[motors, Q] = start + (end - start) * np.float32(min_jerk(tick / ticks))
            yield
        self.target[motors, DQ] = self.target[motors, TAU] = 0

    def ask(self, question: Question) -> Steps[str]:
        """Until the person, or a simulated one, has done it; returns what was answered."""
        self.question, self.answer = question, ""
        while self.question is not None:
            yield
        return self.answer

    def be_led(self, motors: npt.NDArray[np.intp], question: Question) -> Steps[None]:
        """Some motors limp, but damped, while a person does with their joints what is asked; then stiff as before."""
        target, stiff = self.target, self.target[motors, KP:].copy()
        target[motors, KP], target[motors, KD] = 0, self.robot.column("damping_kd")[motors]
        self.question, self.answer = question, ""
        while self.question is not None:
            target[motors, Q] = self.state.q[motors]  # lest they go back when they stiffen
            yield
        target[motors, Q], target[motors, KP:] = self.state.q[motors], stiff

    def begin(self, name: str) -> None:
        """What follows is a stretch of this name."""
        self._open = (name, self._count)

    def end(self) -> None:
        """The stretch ends."""
        assert self._open is not None
        name, start = self._open
        self._stretches[name], self._open = (start, self._count), None

    def record(self, now_ns: int) -> None:
        """Note this tick, the state just seen and the target just set, where a stretch is open."""
        if self._open is None:
            return
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        row = self._rows[self._count]
        row["now_ns"] = now_ns
        for name in self.state.record.dtype.names or ():
            row[name] = self.state.record[name][0]
        row["target"] = self.target
        self._count += 1

    @property
    def ticks(self) -> int:
        """Recorded so far."""
        return self._count

    def last_row(self) -> bytes:
        """The newest tick's record."""
        return bytes(self._rows[self._count - 1].tobytes())

    def recording(self) -> Recording:
        """All of it so far."""
        return Recording(self._rows[: self._count], dict(self._stretches))

    def look_for_obstacles(self) -> None:
        """Once a tick.

        Raises:
            Stopped: a joint has pressed harder than expected for some ticks.
        """
        strong = np.abs(self.state.tau) > self.torque_ratio * self._effort
        self._strong = np.where(strong, self._strong + 1, 0)
        if self._strong.max() >= STRONG_TICKS:
            motor = int(self._strong.argmax())
            name = next((row.name for row in self.robot.joints if row.motor == motor), f"motor {motor}")
            raise Stopped(f"{name} pressed with {self.state.tau[motor]:.1f} N m where nothing should be: an obstacle")
