"""Hands: both ends of every joint by slow touches, and so where open, half-open and closed are on this very pair.

A joint runs slowly to one end, until it stands while its drive presses with the strongest grip that the gate allows, is
backed off and touches again; then to the other end. Both hands at once, joint after joint, the others open. The range
that is found has to be the table's, moved: a shorter one is a finger that met something.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.bench import Steps, Stopped
from calibration.hand_bench import MARGIN_RAD, HandBench, enclosed
from calibration.recording import Recording
from calibration.routine import Curve, Found, Value, Verdict, interval
from firmware_bridge.hand_bus import SIDES
from runtime.hand import HandModel
from runtime.hand_calibration import calibrated
from runtime.human_motion import HAND_STATES

SWEEP_RAD_S, TOUCH_RAD_S = 0.8, 0.3
TOUCHES = 4
BACK_RAD = 0.12
STILL_RAD_S, STILL_TICKS = 0.05, 60
PRESS_SHARE = 0.8
"""Of the reach that the gate allows: the target is so far ahead of a joint that stands."""
LOOK_S = 0.1
PATIENCE_S = 8.0
TRAVEL_RAD, MOST_HALF_WIDTH_RAD = 0.1, 0.02
ENDS = ("lower", "upper")


class Hands:
    """The routine; values are `hands.MODEL.SIDE.JOINT.lower_rad` and `upper_rad`.

    Args:
        model: the hands, as their file has them.
    """

    name, version = "hands", "1"
    summary = "ends of the hands' joints by slow touches: where open and closed are"

    def __init__(self, model: HandModel) -> None:
        self.model, self.enclosed = model, enclosed(model, SWEEP_RAD_S)

    def plan(self) -> list[str]:
        """What will move, how far, how hard: lines for a person."""
        model = self.model
        seconds = float(((model.upper_rad - model.lower_rad)[0] * 3 / SWEEP_RAD_S).sum()) + len(model.joints) * 18
        return [f"{model.name}: every joint of both hands, one after the other, slowly to both ends, {TOUCHES} touches "
                f"each, the others open; about {seconds / 60:.0f} min",
                f"at most {SWEEP_RAD_S:g} rad/s and {model.kp * model.reach_rad:.3f} N m; nothing may be in the hands"]

    def steps(self, bench: HandBench) -> Steps[None]:
        """The motion."""
        opened = self.model.states_rad[0]
        yield from bench.move(opened, SWEEP_RAD_S)
        yield from bench.hold(0.3)
        for joint, name in enumerate(self.model.joints):
            bench.progress = joint / len(self.model.joints)
            bench.said.append(f"{name}: {joint + 1} of {len(self.model.joints)}")
            for end, sign in zip(ENDS, (-1.0, 1.0), strict=True):
                yield from _touch(bench, joint, sign, SWEEP_RAD_S)
                for touch in range(TOUCHES):
                    yield from _back(bench, joint, sign)
                    yield from _touch(bench, joint, sign, TOUCH_RAD_S)
                    bench.begin(f"{name}/{end}/{touch}")
                    yield from bench.hold(LOOK_S)
                    bench.end()
                yield from _back(bench, joint, sign)
            yield from bench.move(opened, SWEEP_RAD_S)
        bench.progress = 1.0

    def fit(self, recording: Recording) -> Found:
        """From what was recorded; hands that were not heard have nothing in it."""
        found, model = Found(), self.model
        heard = recording.rows["heard_ns"][-1] > 0 if len(recording.rows) else np.zeros(2, np.bool_)
        measured: dict[str, dict[str, tuple[float, float]]] = {}
        for side in np.flatnonzero(heard).tolist():
            for joint, name in enumerate(model.joints):
                hits = {end: [float(_rows(recording, f"{name}/{end}/{touch}")["q"][:, side, joint].mean())
                              for touch in range(TOUCHES)] for end in ENDS}
                ends = self._judge(found, side, joint, hits)
                measured.setdefault(SIDES[side], {})[name] = ends
        found.verdicts.append(Verdict("a hand is heard", bool(heard.any()), f"{int(heard.sum())} of 2", "at least one",
                                      "connect the hands"))
        self._show(found, measured)
        return found

    def _judge(self, found: Found, side: int, joint: int, hits: dict[str, list[float]]) -> tuple[float, float]:
        model, label = self.model, f"{SIDES[side]} {self.model.joints[joint]}"
        table = float(model.upper_rad[side, joint] - model.lower_rad[side, joint])
        (lower, lower_width), (upper, upper_width) = (interval(hits[end][:-1]) for end in ENDS)
        width = max(lower_width, upper_width)
        for end, value, half in ((ENDS[0], lower, lower_width), (ENDS[1], upper, upper_width)):
            found.values.append(Value(f"hands.{model.name}.{SIDES[side]}.{model.joints[joint]}.{end}_rad", value, half))
        apart = max(abs(hits[end][-1] - value) for end, value in zip(ENDS, (lower, upper), strict=True))
        found.verdicts += [
            Verdict(f"{label}: range", abs(upper - lower - table) <= TRAVEL_RAD, f"{upper - lower:.3f} rad",
                    f"{table:.3f} +- {TRAVEL_RAD:g} rad of the table",
                    "something was in its way, or this is another hand: look, then repeat"),
            Verdict(f"{label}: touches agree", width <= MOST_HALF_WIDTH_RAD, f"+- {width:.4f} rad",
                    f"+- {MOST_HALF_WIDTH_RAD:g} rad", "look for a loose finger, then repeat"),
            Verdict(f"{label}: held-out touches", apart <= MOST_HALF_WIDTH_RAD, f"{apart:.4f} rad off",
                    f"<= {MOST_HALF_WIDTH_RAD:g} rad", "the zero moved between touches: look for what slips"),
        ]
        return lower, upper

    def _show(self, found: Found, measured: dict[str, dict[str, tuple[float, float]]]) -> None:
        """The poses that follow, as facts and pictures."""
        if not found.ok:
            return
        poses = calibrated(self.model, measured)
        joints = np.arange(len(self.model.joints), dtype=np.float64)
        for side in measured:
            row = SIDES.index(side)
            found.facts[side] = {state: dict(zip(self.model.joints, poses.states_rad[i, row].round(4).tolist(),
                                                 strict=True)) for i, state in enumerate(HAND_STATES)}
            found.curves.append(Curve(f"{side}: ends measured, and of the table", "joint", "rad", {
                "measured lower": (joints, poses.lower_rad[row].astype(np.float64)),
                "measured upper": (joints, poses.upper_rad[row].astype(np.float64)),
                "table": (np.tile(joints, 2), np.concatenate([self.model.lower_rad[row], self.model.upper_rad[row]])
                          .astype(np.float64))}))


def _rows(recording: Recording, name: str) -> npt.NDArray[np.void]:
    start, end = recording.stretches[name]
    return recording.rows[start:end]


def _back(bench: HandBench, joint: int, sign: float) -> Steps[None]:
    """Off the end."""
    to = bench.target.copy()
    to[:, joint] = bench.q[:, joint] - np.float32(sign * BACK_RAD)
    bench.target[:, joint] = bench.q[:, joint]
    yield from bench.move(to, TOUCH_RAD_S)
    yield from bench.hold(0.1)


def _touch(bench: HandBench, joint: int, sign: float, speed: float) -> Steps[None]:
    """Both hands' targets towards an end, each until its joint stands and is pressed.

    Raises:
        Stopped: no end where the table has one, and a little further.
    """
    model, sides = bench.model, np.array(bench.sides, np.intp)
    ahead = np.float32(PRESS_SHARE * model.reach_rad)
    last = (model.upper_rad if sign > 0 else model.lower_rad)[sides, joint]
    still: npt.NDArray[np.int64] = np.zeros(len(sides), np.int64)
    for _ in range(round((float((model.upper_rad - model.lower_rad)[:, joint].max()) / speed + PATIENCE_S)
                         / bench.period_s)):
        q, dq, target = (part[sides, joint] for part in (bench.q, bench.dq, bench.target))
        if (sign * (q - last) > -0.02).any():
            side = int(sides[int((sign * (q - last)).argmax())])
            raise Stopped(f"{SIDES[side]} {model.joints[joint]} turned {MARGIN_RAD:g} rad beyond its table without an "
                          "end: this is another hand, or its encoder wrapped")
        is_pressed = sign * (target - q) >= ahead
        still = np.where(is_pressed & (np.abs(dq) < STILL_RAD_S), still + 1, 0)
        if (still >= STILL_TICKS).all():
            return
        step = np.float32(sign * speed * bench.period_s)
        bench.target[sides, joint] = np.where(is_pressed, target, target + step)
        yield
    raise Stopped(f"{model.joints[joint]} neither turned on nor came to rest")
