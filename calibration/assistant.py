"""The simulated person beside a simulated robot: does what a routine asks for, and says what is to be seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.bench import Question
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.pilot import min_jerk

F64 = npt.NDArray[np.float64]
TILT_RAD_S, PLACE_RAD_S = 0.4, 0.6
"""Mean speeds at which what the robot hangs on is turned, and limbs are led."""


class Assistant:
    """One person.

    Args:
        robot: hangs.
        period_s: between two looks.
        slip_rad: standard deviation of where a limb that was led comes to lie, anew each time.

    Attributes:
        answer: to the question last done.
    """

    def __init__(self, robot: SimulatedRobot, period_s: float, slip_rad: float = 0.0, seed: int = 0) -> None:
        self._robot, self._period_s, self.slip_rad = robot, period_s, slip_rad
        self._random = np.random.default_rng(seed)
        self._at, self._from, self._ticks = np.zeros(3), np.zeros(3), 0
        self._question: Question | None = None
        self._motors: dict[str, int] = {name: i for i, name in enumerate(robot.joint_names) if name}
        self._start, self._end = np.zeros(0), np.zeros(0)
        self._before = robot.joint_positions()
        self.answer = ""

    def look(self, question: Question | None) -> bool:
        """One tick; whether what is asked for is done."""
        if question is None:
            return False
        if question is not self._question:
            self._begin(question)
        self._ticks += 1
        done = [self._tilt(question), self._place(question), self._lower(question)]
        if not all(done):
            return False
        q = self._robot.joint_positions()
        self.answer = self._moved(q - self._before) if question.is_about_motion else (question.choices or ("done",))[0]
        self._before = q
        return True

    def _begin(self, question: Question) -> None:
        self._question, self._from, self._ticks = question, self._at, 0
        motors = [self._motors[name] for name, _ in question.places_rad]
        self._start = self._robot.joint_positions()[motors]
        self._end = np.array([place for _, place in question.places_rad])
        self._end = self._end + self.slip_rad * self._random.standard_normal(len(motors))
        self._robot.lead({})

    def _tilt(self, question: Question) -> bool:
        if question.tilt_rad is None:
            return True
        way = max(float(np.linalg.norm(np.array(question.tilt_rad) - self._from)), 1e-3)
        share = min_jerk(self._ticks * self._period_s * TILT_RAD_S / way)
        self._at = self._from + share * (np.array(question.tilt_rad) - self._from)
        self._robot.tilt(self._at)
        return share >= 1

    def _lower(self, question: Question) -> bool:
        return question.down is None or self._robot.lower(down=question.down)

    def _place(self, question: Question) -> bool:
        way = max(float(np.abs(self._end - self._start).max(initial=0)), 1e-3)
        share = min_jerk(self._ticks * self._period_s * PLACE_RAD_S / way)
        places = self._start + share * (self._end - self._start)
        self._robot.lead({self._motors[name]: float(place) for (name, _), place in
                          zip(question.places_rad, places, strict=True)}, is_firm=question.is_firm)
        return share >= 1

    def _moved(self, change: F64) -> str:
        """The joint that has moved most, and which way."""
        motor = int(np.abs(change).argmax())
        return f"{'+' if change[motor] > 0 else '-'} {self._robot.joint_names[motor]}"
