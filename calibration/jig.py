"""Joint zeros by a known pose: the robot, or a limb, is put into a jig several times; offset = measured - known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.routine import Found, Value, Verdict, interval
from runtime.errors import Refused
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
TIMES = 5
OUT_RAD = 0.12
"""Between two times the limb leaves the jig by that much."""
JIG_RAD = 0.005
"""Half-width of what a jig itself is uncertain by, 0.3 degrees: all repeats share it."""
MOST_HALF_WIDTH_RAD = 0.02
SNAP_RATIO = 0.25
"""Of a multiple: farther than this from any, and it is not clear which one is meant."""


class Pose:
    """The routine; values are `joints.NAME.encoder_offset_rad` and the command's.

    Attributes:
        places: joint -> where the jig holds it, rad; joints without are held at zero.
        multiple_rad: 0, or: the jig holds each joint at the multiple of this that is nearest to what it reads.
    """

    name, version = "pose", "1"
    summary = "joint zeros by a jig, or any pose that is known"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.5, margin_rad=0.6)
    hangs = True

    def __init__(self, places: Mapping[str, float] | None = None, multiple_rad: float = 0.0) -> None:
        self.places: Mapping[str, float] = places or {}
        self.multiple_rad = multiple_rad

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        self._jig = {row.name: self.places.get(row.name, 0.0) for row in self._joints}
        beyond = [row.name for row in self._joints if not row.lower_rad <= self._jig[row.name] <= row.upper_rad]
        unknown = sorted(set(self.places) - set(self._jig))
        if beyond or unknown:
            raise Refused("--pose", expected="places within the range of joints that are calibrated",
                          found=", ".join(beyond + unknown), what_to_do="correct the jig's pose, or name --joints")

    def plan(self) -> list[str]:
        pose = ", ".join(f"{name} {place:g}" for name, place in self._jig.items())
        known = f"at multiples of {self.multiple_rad:g} rad" if self.multiple_rad else pose
        return [f"nothing moves by itself: you put {len(self._jig)} joints into the jig {TIMES} times ({known})",
                "each time all the way, then out again"]

    def steps(self, bench: Bench) -> Steps[None]:
        motors = np.array([row.motor for row in self._joints], np.intp)
        inside = tuple(self._jig.items())
        outside = tuple((row.name, _beside(row, self._jig[row.name])) for row in self._joints)
        for time in range(TIMES):
            bench.progress = time / TIMES
            for places, text in ((outside, "take it out of the jig, or keep it out"), (inside, "put it into the jig")):
                yield from bench.be_led(motors, Question(f"{time + 1} of {TIMES}: {text}, and hold it there",
                                                         places_rad=places))
            yield from bench.hold(0.2)
            bench.begin(f"jig/{time}")
            yield from bench.hold(0.3)
            bench.end()
        yield from bench.ask(Question("take the jig off"))
        bench.progress = 1.0

    def fit(self, recording: Recording) -> Found:
        found = Found()
        seen = np.array([recording.of(f"jig/{time}")["q"].astype(np.float64).mean(axis=0) for time in range(TIMES)])
        for row in self._joints:
            q = seen[:, row.motor]
            place = self._jig[row.name]
            if self.multiple_rad:
                place = self.multiple_rad * round(float(np.median(q)) / self.multiple_rad)
            offset, spread = interval((q - place).tolist())
            width = float(np.hypot(spread, JIG_RAD))
            last = abs(float(q[-1] - q[:-1].mean()))
            for kind in ("encoder", "command"):
                found.values.append(Value(f"joints.{row.name}.{kind}_offset_rad", offset, width))
            found.verdicts += [
                Verdict(f"{row.name}: times agree", width <= MOST_HALF_WIDTH_RAD, f"+- {width:.4f} rad",
                        f"+- {MOST_HALF_WIDTH_RAD} rad", "seat it fully each time; look for play in the jig"),
                Verdict(f"{row.name}: held-out time", last <= MOST_HALF_WIDTH_RAD, f"{last:.4f} rad from the others",
                        f"<= {MOST_HALF_WIDTH_RAD} rad", "seat it fully each time; look for a slipping belt"),
            ]
            if self.multiple_rad:
                found.verdicts.append(Verdict(
                    f"{row.name}: which multiple", abs(offset) <= SNAP_RATIO * self.multiple_rad,
                    f"{offset:.3f} rad from {place:.3f}", f"within {SNAP_RATIO * self.multiple_rad:.3f} rad of one",
                    "bring it nearer by hand, or state the jig's pose with --pose"))
        return found


def _beside(row: Joint, place: float) -> float:
    """Out of the jig, within the range."""
    return place + OUT_RAD if place + OUT_RAD < row.upper_rad else place - OUT_RAD
