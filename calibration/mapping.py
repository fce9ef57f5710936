"""Whether every motor turns the joint it is wired for, the way it is meant to; writes nothing, says what to change.

All joints go through small patterns around where the robot hangs, so small that a wrong wiring does no harm, and
`evidence` judges what the IMU and the torques show. Joints that gravity says too little of, a light wrist's, a person
looks at: the motor moves, they say what they saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.evidence import Judge, Judged, Seen, as_meant, unsure
from calibration.hanging import apart, hanging
from calibration.routine import Found, Verdict
from calibration.sweeps import stiffen, sweep, swept
from firmware_bridge.motor_bus import Q
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
PATTERNS, PATTERN_SEED = 24, 1
PATTERN_RAD, SWEEP_RAD, SWEEP_RAD_S = 0.05, 0.025, 0.05
"""A foot moves by 6 cm and a hand by 4: less than what is between the limbs of a robot that hangs straight."""
SURE, LOOK = 10.0, 25.0
"""Nats: less leaves a joint open; expected to be less than the second, a person is asked from the start."""
SHOW_RAD, SHOW_RAD_S = 0.12, 0.3
PERSON = "a person saw it"
ARM = ("shoulder", "elbow", "wrist")


class Mapping:
    """The routine; it has verdicts and a proposal, no values."""

    name, version = "mapping", "1"
    summary = "which joint each motor turns, and which way"
    envelope = Envelope(velocity_rad_s=1.0, effort_ratio=0.4, margin_rad=0.6)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot = robot
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        self._names = [""] * robot.motors
        for row in robot.joints:
            self._names[row.motor] = row.name
        self._model = hanging(robot)
        signs = np.sign(np.random.default_rng(PATTERN_SEED).standard_normal((PATTERNS, robot.motors)))
        self._patterns: F64 = PATTERN_RAD * signs * robot.used
        motors = [row.motor for row in robot.joints]
        self._arms = {row.name: float(apart(robot)[row.motor]) for row in robot.joints
                      if any(part in row.name for part in ARM)}
        base = np.zeros(robot.motors)
        for row in robot.joints:
            base[row.motor] = self._arms.get(row.name, min(max(0.0, row.lower_rad), row.upper_rad))
        looked = unsure(self._model, base + self._patterns, self._names, motors, LOOK)
        self._looked_at = [row for row in self._joints if row.motor in looked]

    def plan(self) -> list[str]:
        looked = ", ".join(row.name for row in self._looked_at) or "none"
        return [f"all joints together by {PATTERN_RAD + SWEEP_RAD:g} rad around where they hang, {PATTERNS} patterns "
                f"of {4 * SWEEP_RAD / SWEEP_RAD_S:.0f} s",
                f"then by {SHOW_RAD:g} rad, one after the other, and you say what moved: {looked}",
                "the robot hangs free, its torso held; before it stiffens, you hold its arms off its body"]

    def steps(self, bench: Bench) -> Steps[None]:
        stiffen(bench)
        yield from bench.be_led(np.flatnonzero(self._robot.used), Question(
            "it is limp: lead both arms a hand's width off the body and hold them, forearms forward; nothing may touch",
            places_rad=tuple(self._arms.items())))
        yield from bench.hold(0.3)
        yield from bench.ask(Question("let go"))
        yield from bench.hold(1.0)
        start = bench.target[:, Q].astype(np.float64)
        for i, pattern in enumerate(self._patterns):
            bench.progress = 0.9 * i / PATTERNS
            yield from sweep(bench, start + pattern, SWEEP_RAD, SWEEP_RAD_S, f"pattern/{i}")
        yield from bench.move({row.name: float(start[row.motor]) for row in self._robot.joints}, SHOW_RAD_S)
        looked_at = list(self._looked_at)
        for i, row in enumerate(looked_at):  # grows: a joint that another's motor turned has a motor of somewhere else
            bench.progress = 0.9 + 0.1 * i / len(looked_at)
            moved = yield from self._show(bench, row, float(start[row.motor]))
            looked_at += [other for other in self._joints if other.name == moved and other not in looked_at]
        bench.progress = 1.0

    def _show(self, bench: Bench, row: Joint, start: float) -> Steps[str]:
        """Move one motor and ask; the joint that a person saw move."""
        yield from bench.ask(Question(f"watch the robot: the motor of {row.name} will move forward by {SHOW_RAD} rad"))
        sign = 1.0 if start + SHOW_RAD < row.upper_rad else -1.0
        yield from bench.move({row.name: start + sign * SHOW_RAD}, SHOW_RAD_S)
        yield from bench.hold(0.2)
        choices = tuple(f"{way} {name}" for name in filter(None, self._names) for way in "+-")
        answer = yield from bench.ask(Question(
            f"which joint moved, and did it move forward (+) or backward (-)? It was told {'+' if sign > 0 else '-'}",
            choices=choices, is_about_motion=True))
        way, name = answer.split(" ", 1)
        bench.begin(f"seen/{row.name}/{'+' if (way == '+') == (sign > 0) else '-'} {name}")
        yield from bench.move({row.name: start}, SHOW_RAD_S)
        bench.end()
        return name

    def fit(self, recording: Recording) -> Found:
        found = Found()
        rows = [swept(recording, f"pattern/{i}") for i in range(PATTERNS)]
        motors = [row.motor for row in self._robot.joints]
        start = as_meant(self._robot.motors)
        answers = self._answers(recording)
        for motor, (joint, sign) in answers.items():
            holder = int(np.flatnonzero(start.joint == joint)[0])
            if holder != motor:
                start = start.exchanged(motor, holder)
            if sign * start.sign[motor] < 0:
                start = start.reversed_at(motor)
        free = [motor for motor in motors if motor not in answers]
        best, judged = Judge(self._model, Seen(rows, self._names)).search(start, free)
        for motor, (joint, sign) in answers.items():
            agrees = (best.joint[motor], best.sign[motor]) == (joint, sign)
            judged[motor] = Judged(joint, sign, float("inf") if agrees else 0.0, PERSON)
        for row in self._joints:
            found.verdicts.append(self._verdict(row, judged[row.motor]))
        found.facts["wiring"] = {row.name: {
            "turns": self._names[judged[row.motor].joint], "sign": judged[row.motor].sign,
            "nats": round(min(judged[row.motor].margin, 1e6), 1), "by": judged[row.motor].by} for row in self._joints}
        return found

    def _answers(self, recording: Recording) -> dict[int, tuple[int, int]]:
        """Motor -> joint and sign, as a person saw them."""
        answers = {}
        for name in recording.named("seen/"):
            _, joint, seen = name.split("/")
            way, moved = seen.split(" ", 1)
            answers[self._names.index(joint)] = self._names.index(moved), 1 if way == "+" else -1
        return answers

    def _verdict(self, row: Joint, judged: Judged) -> Verdict:
        name, limit = f"{row.name}: place and sign", f"told from any other by {SURE:g} nats"
        if judged.margin < SURE:
            return Verdict(name, False, f"open: {judged.margin:.1f} nats by {judged.by}", limit,
                           "let the robot hang freely and repeat; if it stays open, move this joint alone by a small "
                           "step with the maker's tool and look")
        turns = self._names[judged.joint]
        if judged.joint == row.motor and judged.sign > 0:
            return Verdict(name, True, f"as wired, by {judged.by}", limit)
        what = f"its motor turns {turns}{'' if judged.sign > 0 else ', backward'}, by {judged.by}"
        todo = [] if judged.joint == row.motor else [
            f"exchange the ids (or plugs) so that {turns} gets the motor that {row.name} has now"]
        if judged.sign < 0:
            todo.append("reverse this motor (`sign` of its drive in the wiring file)")
        return Verdict(name, False, what, limit, "; ".join(todo) + "; then repeat this routine")
