"""Joint zeros by hard stop: several touches of both ends, and a travel that has to be the table's.

A stop is where the joint no longer turns although its drive presses harder than it did on the way. Both ends are
pressed alike, so what the stops, the gears and their play give way to stands at either end with opposite sign and
leaves with the mean; the travel tells whether a stop was one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import USUAL_TORQUE, Bench, Recording, Steps, Stopped
from calibration.envelope import Envelope
from calibration.postures import posture_for, stops_out_of_reach
from calibration.routine import Curve, Found, Value, Verdict, interval
from firmware_bridge.motor_bus import Q
from runtime.errors import Refused
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
SWEEP_RAD_S, TOUCH_RAD_S, POSTURE_RAD_S = 0.8, 0.25, 0.5
TOUCHES = 4
BACK_RAD = 0.08
"""Between two touches."""
PRESS_RATIO = 0.3
"""Of the envelope's effort: so much more than on the way, and it is a stop."""
STILL_RAD_S, STILL_TICKS = 0.05, 25
"""Slower than this for 50 ms while the target runs ahead."""
REST_MOST_S = 3.0
AHEAD_RAD = 1.2
"""A target this far past the range without a stop: there is none, or the encoder wrapped."""
TRAVEL_RAD = 0.03
"""Measured against the table's travel: half of it, at most, would go into the zero."""
MOST_HALF_WIDTH_RAD = 0.01
UNEQUAL_RAD = 0.0005
"""Half-width of what repeats do not show: both ends give way alike, but a limb's weight presses one of them harder."""


class JointZero:
    """The routine; values are `joints.NAME.encoder_offset_rad` and the command's, which is the same frame."""

    name, version = "joint-zero", "1"
    summary = "joint zeros by touching both hard stops"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.5, margin_rad=AHEAD_RAD)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._left_out = stops_out_of_reach(robot) if len(joints) == len(robot.joints) else {}
        wanted = set(joints) - set(self._left_out)
        self._joints: list[Joint] = [row for row in robot.joints if row.name in wanted]
        endless = [row.name for row in self._joints if row.upper_rad - row.lower_rad > 2 * np.pi]
        if endless:
            raise Refused("joint-zero", expected="joints with two hard stops", found=", ".join(endless),
                          what_to_do="use a jig or gravity for these")

    def plan(self) -> list[str]:
        sweeps = sum(2 * (row.upper_rad - row.lower_rad) / SWEEP_RAD_S for row in self._joints)
        touches = sum(2 * TOUCHES * 2 * BACK_RAD / TOUCH_RAD_S for _ in self._joints)
        return [f"{len(self._joints)} joints, one after the other, slowly to both ends of their range, "
                f"{TOUCHES} touches each",
                f"about {(sweeps + touches) / 60:.0f} min; nothing may stand within the limbs' reach",
                *(f"left out, for `gravity` or `pose`: {name} ({why})" for name, why in self._left_out.items())]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from bench.hold(0.2)
        for done, joint in enumerate(self._joints):
            bench.progress = done / len(self._joints)
            if bench.is_finished(joint.name):
                continue
            bench.said.append(f"{joint.name}: {done + 1} of {len(self._joints)}")
            posture = posture_for(self._robot, joint.name)
            yield from bench.move({name: place + float(self._offsets[bench.motor(name)])
                                   for name, place in posture.items()}, POSTURE_RAD_S)
            for end, sign in (("lower", -1.0), ("upper", 1.0)):
                yield from touch_stop(bench, joint, sign, SWEEP_RAD_S,
                                  f"sweep/{joint.name}/{end}" if sign > 0 else "")
                for touch in range(TOUCHES):
                    yield from back_off(bench, joint, sign)
                    yield from touch_stop(bench, joint, sign, TOUCH_RAD_S, f"touch/{joint.name}/{end}/{touch}")
                yield from back_off(bench, joint, sign)
            middle = (joint.lower_rad + joint.upper_rad) / 2
            yield from bench.move({joint.name: 0.0 if joint.lower_rad < 0 < joint.upper_rad else middle}, POSTURE_RAD_S)
            bench.finish(joint.name)
        bench.progress = 1.0

    def fit(self, recording: Recording) -> Found:
        found = Found(facts={"left_out": self._left_out})
        for joint in self._joints:
            hits = {end: [_hit(recording, name, joint.motor) for name in recording.named(f"touch/{joint.name}/{end}/")]
                    for end in ("lower", "upper")}
            half = TOUCHES // 2
            offset, width = _offset(joint, hits, slice(None))
            first, _ = _offset(joint, hits, slice(0, half))
            second, _ = _offset(joint, hits, slice(half, None))
            travel = float(np.mean(hits["upper"]) - np.mean(hits["lower"]))
            table = joint.upper_rad - joint.lower_rad
            for kind in ("encoder", "command"):
                found.values.append(Value(f"joints.{joint.name}.{kind}_offset_rad", offset, width))
            found.verdicts += [
                Verdict(f"{joint.name}: travel", abs(travel - table) <= TRAVEL_RAD, f"{travel:.4f} rad",
                        f"{table:.4f} +- {TRAVEL_RAD} rad of the table",
                        "something was in the way, the encoder wrapped, or this is another joint: look, then repeat"),
                Verdict(f"{joint.name}: touches agree", width <= MOST_HALF_WIDTH_RAD, f"+- {width:.4f} rad",
                        f"+- {MOST_HALF_WIDTH_RAD} rad", "tighten what is loose, or let it cool, and repeat"),
                Verdict(f"{joint.name}: held-out touches", abs(first - second) <= MOST_HALF_WIDTH_RAD,
                        f"{abs(first - second):.4f} rad apart", f"<= {MOST_HALF_WIDTH_RAD} rad",
                        "the zero moved between touches: look for a slipping belt or magnet"),
            ]
            rows = recording.of(f"sweep/{joint.name}/upper")
            q, tau = (rows[key][:, joint.motor].astype(np.float64) for key in ("q", "tau"))
            found.curves.append(Curve(f"{joint.name}: the way to its upper stop", "q, rad", "torque, N m",
                                      {"torque": (q, tau)}))
        return found


def _offset(joint: Joint, hits: dict[str, list[float]], which: slice) -> tuple[float, float]:
    """Encoder offset and half-width from touches of both ends."""
    lower, lower_width = interval(hits["lower"][which])
    upper, upper_width = interval(hits["upper"][which])
    width = float(np.hypot(np.hypot(lower_width, upper_width) / 2, UNEQUAL_RAD))
    return ((lower - joint.lower_rad) + (upper - joint.upper_rad)) / 2, width


def _hit(recording: Recording, name: str, motor: int) -> float:
    """Where a joint stood, pressed, at the end of a touch."""
    return float(recording.of(name)["q"][-STILL_TICKS:, motor].mean())


def back_off(bench: Bench, joint: Joint, sign: float) -> Steps[None]:
    """Off the stop, by the target as well as by the joint."""
    motor = joint.motor
    bench.target[motor, Q] = bench.state.q[motor]
    yield from bench.move({joint.name: float(bench.state.q[motor]) - sign * BACK_RAD}, TOUCH_RAD_S)
    bench.torque_ratio[motor] = USUAL_TORQUE
    yield from bench.hold(0.1)


def touch_stop(bench: Bench, joint: Joint, sign: float, speed: float, name: str) -> Steps[None]:
    """Run the target towards a stop until the joint stands and is pressed; recorded where it has a name.

    Raises:
        Stopped: no stop where the table has one, or a joint that neither turns nor comes to rest.
    """
    motor, effort = joint.motor, joint.effort_n_m
    if name:
        bench.begin(name)
    bench.torque_ratio[motor] = np.inf
    still = 0
    borne = sign * float(bench.state.tau[motor])  # the limb's weight, before anything moves: no stop presses there
    moving: list[float] = []
    left = round(((joint.upper_rad - joint.lower_rad + 2 * AHEAD_RAD) / speed + REST_MOST_S) / bench.period_s)
    while still < STILL_TICKS:
        left -= 1
        if left < 0:
            raise Stopped(f"{joint.name} neither turned on nor came to rest, at {bench.state.q[motor]:.3f} rad")
        target = float(bench.target[motor, Q]) + sign * speed * bench.period_s
        ahead = sign * (float(bench.state.q[motor]) - (joint.upper_rad if sign > 0 else joint.lower_rad))
        if ahead > AHEAD_RAD - 0.1:
            raise Stopped(f"{joint.name} turned {ahead:.2f} rad beyond its table without a stop: the encoder wrapped, "
                          "or this is another joint")
        bench.target[motor, Q] = target
        dq, tau = float(bench.state.dq[motor]), sign * float(bench.state.tau[motor])
        if sign * dq > 0.5 * speed:
            moving = [*moving[-100:], tau]
        usual = float(np.median(moving)) if moving else borne
        is_stop = abs(dq) < STILL_RAD_S and tau - usual > PRESS_RATIO * effort
        still = still + 1 if is_stop else 0
        if is_stop:
            bench.target[motor, Q] -= sign * speed * bench.period_s  # press no harder
        yield
    if name:
        bench.end()
