"""Range of motion: both ends of every joint by soft stop, after it is known that the encoder has not lost a turn.

A single encoder on the motor's side of a gear N reads the same at every 2 pi / N of the joint. So a reading stands for
several places, and only one that lies within the joint's travel, near where a person put it, may be believed: none, or
more than one, and nothing moves. Zeros are `joint-zero`'s; this routine says whether there is a range to take from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.joint_zero import AHEAD_RAD, STILL_TICKS, SWEEP_RAD_S, TRAVEL_RAD, back_off, touch_stop
from calibration.postures import posture_for
from calibration.routine import Found, Verdict
from runtime.errors import Refused
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
POSTURE_RAD_S = 0.5
HAND_RAD = 0.25
"""How well a person puts a joint to a place by eye, and its zero is known; half a turn has to be more."""
END_RAD = 0.1
"""An end that reads farther than this from the table's: the zero is off, which `joint-zero` mends."""
HEAD = f"{'joint':<28}{'MIN':>9}{'POS':>9}{'MAX':>9}"


class Range:
    """The routine; it has verdicts and facts, no values.

    Attributes:
        gears: joint, or `*`, -> reduction between an encoder that reads one turn only and the joint.
    """

    name, version = "range", "1"
    summary = "range of motion of each joint, and whether its encoder has lost a turn"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.5, margin_rad=AHEAD_RAD)
    hangs = True

    def __init__(self, gears: Mapping[str, float] | None = None) -> None:
        self.gears: Mapping[str, float] = gears or {}

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        unknown = sorted(set(self.gears) - {"*", *robot.order.names})
        if unknown:
            raise Refused("--gears", expected="joints of this robot, or *", found=", ".join(unknown),
                          what_to_do="name joints as the robot's table does")
        self._turn_rad = {row.name: 2 * np.pi / self.gears.get(row.name, self.gears.get("*", 1.0))
                          for row in self._joints if row.name in self.gears or "*" in self.gears}

    def plan(self) -> list[str]:
        travel = sum(2 * (row.upper_rad - row.lower_rad) for row in self._joints)
        led = f"you lead {', '.join(self._turn_rad)} to zero by hand first; " if self._turn_rad else ""
        return [f"{led}then {len(self._joints)} joints, one after the other, to both ends of their range",
                f"about {travel / SWEEP_RAD_S / 60:.0f} min; nothing may stand within the limbs' reach"]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from bench.hold(0.2)
        lost = set()
        for row in self._joints:
            if row.name in self._turn_rad:
                place = _near_zero(row)
                yield from bench.be_led(np.array([row.motor]), Question(
                    f"lead {row.name} by hand to {place:.2f} rad, by eye, and hold it",
                    places_rad=((row.name, place),)))
                bench.begin(f"led/{row.name}")
                yield from bench.hold(0.2)
                bench.end()
                q = float(bench.state.q[row.motor]) - float(self._offsets[row.motor])
                if turns_lost(q, row, self._turn_rad[row.name]) != [0]:
                    lost.add(row.name)
        if self._turn_rad:
            yield from bench.ask(Question("let go"))
        bench.said.append(HEAD)
        for done, row in enumerate(self._joints):
            bench.progress = done / len(self._joints)
            if row.name not in lost:
                yield from self._both_ends(bench, row)
        bench.progress = 1.0

    def _both_ends(self, bench: Bench, row: Joint) -> Steps[None]:
        posture = posture_for(self._robot, row.name)
        yield from bench.move({name: place + float(self._offsets[bench.motor(name)])
                               for name, place in posture.items()}, POSTURE_RAD_S)
        ends = [float("nan"), float("nan")]
        for i, (end, sign) in enumerate((("lower", -1.0), ("upper", 1.0))):
            yield from touch_stop(bench, row, sign, SWEEP_RAD_S, f"sweep/{row.name}/{end}")
            ends[i] = float(bench.state.q[row.motor])
            bench.said.append(f"{row.name:<28}{ends[0]:>9.3f}{ends[i]:>9.3f}{ends[1]:>9.3f}")
            yield from back_off(bench, row, sign)
        yield from bench.move({row.name: _near_zero(row)}, POSTURE_RAD_S)

    def fit(self, recording: Recording) -> Found:
        found, table = Found(), {}
        for row in self._joints:
            offset = float(self._offsets[row.motor])
            if row.name in self._turn_rad:
                q = float(recording.of(f"led/{row.name}")["q"][:, row.motor].mean()) - offset
                verdict = self._turn_verdict(row, q)
                found.verdicts.append(verdict)
                if not verdict.ok:
                    continue
            lower, upper = (
                float(recording.of(f"sweep/{row.name}/{end}")["q"][-STILL_TICKS:, row.motor].mean()) - offset
                for end in ("lower", "upper"))
            table[row.name] = {"min_rad": round(lower, 4), "max_rad": round(upper, 4),
                               "table_rad": [row.lower_rad, row.upper_rad]}
            found.verdicts += self._range_verdicts(row, lower, upper)
        found.facts["range"] = table
        return found

    def _turn_verdict(self, row: Joint, q: float) -> Verdict:
        turn = self._turn_rad[row.name]
        lost = turns_lost(q, row, turn)
        name, limit = f"{row.name}: encoder's turn", f"one place within {HAND_RAD:g} rad of where it was put"
        if lost == [0]:
            return Verdict(name, True, f"reads {q:.3f} rad", limit)
        if len(lost) == 1:
            return Verdict(name, False, f"reads {q:.3f} rad: {lost[0]:+d} turns of {turn:.3f} rad", limit,
                           f"power the robot up with this joint within {turn / 2:.2f} rad of its zero, then repeat")
        return Verdict(name, False, f"reads {q:.3f} rad: {len(lost)} places fit", limit,
                       "move it by hand to its zero mark, as exactly as you can, and repeat; if none fits, look for a "
                       "loose magnet or another gear")

    def _range_verdicts(self, row: Joint, lower: float, upper: float) -> list[Verdict]:
        travel, table = upper - lower, row.upper_rad - row.lower_rad
        like = [one.name for one in self._robot.joints if abs(one.upper_rad - one.lower_rad - travel) <= TRAVEL_RAD]
        hint = f"; a travel like this have {', '.join(like[:6])}: run `mapping`" if like else ""
        off = max(abs(lower - row.lower_rad), abs(upper - row.upper_rad))
        return [Verdict(f"{row.name}: travel", abs(travel - table) <= TRAVEL_RAD, f"{travel:.3f} rad",
                        f"{table:.3f} +- {TRAVEL_RAD} rad of the table", f"look what was in the way, and repeat{hint}"),
                Verdict(f"{row.name}: ends", off <= END_RAD, f"{lower:.3f} to {upper:.3f} rad",
                        f"{row.lower_rad:.3f} to {row.upper_rad:.3f} +- {END_RAD} rad",
                        "run `joint-zero` for this joint, if its travel is right")]


def turns_lost(q: float, row: Joint, turn_rad: float) -> list[int]:
    """How many turns of its encoder a reading may be off, of a joint that a person put to zero as well as they could.

    Args:
        q: as read, rad.
        turn_rad: of the joint, in which the encoder reads the same again.

    Returns:
        Every count whose place is within the travel and near zero: one may be believed, none or several may not.
    """
    place = _near_zero(row)
    most = int(np.ceil(abs(q - place) / turn_rad)) + 1
    slack = HAND_RAD
    return [count for count in range(-most, most + 1)
            if abs(q - count * turn_rad - place) <= HAND_RAD
            and row.lower_rad - slack <= q - count * turn_rad <= row.upper_rad + slack]


def _near_zero(row: Joint) -> float:
    """Zero, or the middle of a range without it."""
    return 0.0 if row.lower_rad < 0 < row.upper_rad else (row.lower_rad + row.upper_rad) / 2
