"""What a routine has in its hands: the robot's joints within an envelope, a person to ask, and a recording.

A routine is written as a generator: it sets targets here and yields once a gate period. It runs the same over simulated
time, over DDS and over serial ports, because whoever drives it only ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from calibration.recording import Recording, recording_dtype, split
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from runtime.pilot import min_jerk
from runtime.records import STRETCH_BYTES
from runtime.robot import Robot
from runtime.state import RobotState

__all__ = ["Bench", "Question", "Recording", "Steps", "Stopped", "recording_dtype"]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
T = TypeVar("T")
Steps = Generator[None, None, T]
"""A routine, or a part of one: yields once a tick, returns what it found."""
USUAL_TORQUE = 0.95
"""Share of the envelope's effort that no free motion needs."""
STRONG_TICKS = 5
"""Beyond the torque that is expected, a tick within it taking one back: an obstacle, 10 ms after it presses."""


class Stopped(Exception):
    """A routine that must not go on: what happened, in a sentence."""


@dataclass(frozen=True)
class Question:
    """Something a person is asked to do, and what a simulated one does.

    Attributes:
        text: for the person.
        tilt_rad: (3,) rotation vector, the attitude wanted of what the robot hangs on; None: nothing of that kind.
        places_rad: joints and where they truly are to be put, and held there until the next question.
        is_firm: their motors will pull meanwhile.
        choices: what can be answered; empty: that it is done.
        is_about_motion: which joint has moved since the question before, and which way: `+ NAME` or `- NAME`.
        down: to be let down onto its feet and steadied (True), or pulled up again (False); None: nothing of that kind.
    """

    text: str
    tilt_rad: tuple[float, float, float] | None = None
    places_rad: tuple[tuple[str, float], ...] = ()
    is_firm: bool = False
    choices: tuple[str, ...] = ()
    is_about_motion: bool = False
    down: bool | None = None


class Bench:
    """A robot under a routine.

    Args:
        robot: the robot's table within the routine's envelope.
        period_s: between two ticks.

    Attributes:
        state: newest, raw: no calibration is applied under a routine.
        temperature_c: (motors,) float32, newest; NaN where whoever drives it hears none.
        target: (motors, 5), what is asked for; a routine changes it in place.
        question: what a person is being asked; None when nobody is. `answer` is what they said last.
        torque_ratio: (motors,) share of the envelope's effort beyond which a torque is an obstacle.
        said: lines for the person who watches; `progress` from 0 to 1.
        silence_s: set it, and no commands are written for so long from soon on, at most 1 s; `is_silent` meanwhile.
        finished: steps that need not be done again: they were, now or before an interruption.
        sink: takes each record's bytes; without another one they are kept for `recording`.
    """

    def __init__(self, robot: Robot, period_s: float, finished: Iterable[str] = ()) -> None:
        n = robot.motors
        self.robot, self.period_s = robot, period_s
        self.state = RobotState(n)
        self.temperature_c = np.full(n, np.nan, np.float32)
        self.target = np.zeros((n, 5), np.float32)
        self.question: Question | None = None
        self.answer = ""
        self.torque_ratio = np.full(n, USUAL_TORQUE, np.float32)
        self.said: list[str] = []
        self.progress = 0.0
        self._effort = robot.column("effort_n_m")
        self._strong, self._hot = np.zeros(n, np.int64), 0
        self.silence_s, self.is_silent = 0.0, False
        self.finished = set(finished)
        self._rows: list[bytes] = []
        self.sink: Callable[[bytes], None] = self._rows.append
        self._row = np.zeros(1, recording_dtype(n))
        self._open = False
        self._number = self._stretch = 0

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
        while self._is_asked():
            yield
        return self.answer

    def _is_asked(self) -> bool:
        """Whether the question still stands."""
        return self.question is not None

    def be_led(self, motors: npt.NDArray[np.intp], question: Question) -> Steps[None]:
        """Some motors limp, but damped, while a person does with their joints what is asked; then stiff as before."""
        target, stiff = self.target, self.target[motors, KP:].copy()
        target[motors, KP], target[motors, KD] = 0, self.robot.column("damping_kd")[motors]
        self.question, self.answer = question, ""
        while self._is_asked():
            target[motors, Q] = self.state.q[motors]  # lest they go back when they stiffen
            yield
        target[motors, Q], target[motors, KP:] = self.state.q[motors], stiff

    def begin(self, name: str) -> None:
        """What follows is a stretch of this name."""
        self._stretch += 1
        self._open = True
        self._row["stretch"] = self._stretch
        self._name(name)

    def end(self) -> None:
        """The stretch ends."""
        self._open = False

    def is_finished(self, step: str) -> bool:
        """Whether a step's stretches stand in the recording of an earlier part: it may be left out."""
        return step in self.finished

    def finish(self, step: str) -> None:
        """All that was recorded since the last finished step stays good, even if the routine is interrupted later."""
        self.finished.add(step)
        self._row["stretch"] = 0
        self._name(step)
        self._put(int(self._row["now_ns"][0]))

    def _name(self, name: str) -> None:
        data = name.encode("ascii")
        assert len(data) <= STRETCH_BYTES, name
        self._row["name"][0, : len(data)] = np.frombuffer(data, np.uint8)
        self._row["name"][0, len(data):] = 0

    def record(self, now_ns: int) -> None:
        """Note this tick, the state just seen and the target just set, where a stretch is open."""
        if self._open:
            self._put(now_ns)

    def _put(self, now_ns: int) -> None:
        row = self._row
        self._number += 1
        row["now_ns"], row["number"] = now_ns, self._number
        for name in self.state.record.dtype.names or ():
            row[name] = self.state.record[name]
        row["target"], row["temperature_c"] = self.target, self.temperature_c
        self.sink(row.tobytes())

    def recording(self) -> Recording:
        """All that was kept so far."""
        return split(np.frombuffer(b"".join(self._rows), self._row.dtype))[0]

    def look_for_obstacles(self) -> None:
        """Once a tick.

        Raises:
            Stopped: a joint has pressed harder than expected for some ticks.
        """
        strong = np.abs(self.state.tau) > self.torque_ratio * self._effort
        self._strong = np.where(strong, self._strong + 1, np.maximum(self._strong - 1, 0))
        if self._strong.max() >= STRONG_TICKS:
            motor = int(self._strong.argmax())
            name = next((row.name for row in self.robot.joints if row.motor == motor), f"motor {motor}")
            raise Stopped(f"{name} pressed with {self.state.tau[motor]:.1f} N m where nothing should be: an obstacle")

    def look_for_heat(self) -> None:
        """Once a tick. The gate filters heat over a second; a robot that nobody balances need not wait for that.

        Raises:
            Stopped: a motor has been too hot for some ticks.
        """
        hottest = float(self.temperature_c.max())
        self._hot = self._hot + 1 if hottest >= self.robot.limits.temperature_high_c else 0
        if self._hot >= STRONG_TICKS:
            motor = int(self.temperature_c.argmax())
            name = next((row.name for row in self.robot.joints if row.motor == motor), f"motor {motor}")
            raise Stopped(f"{name} is at {hottest:.0f} C")
