"""Free play of gears, by slow reversals of the motor's torque while a person, or a clamp, holds the limb.

The encoder has to sit on the motor's side of the play: then it jumps by the play when the torque turns round, and leans
by torque over stiffness besides, which two sizes of torque tell apart. An encoder on the joint's side shows no jump.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps, Stopped
from calibration.envelope import Envelope
from calibration.postures import posture_for
from calibration.routine import Curve, Found, Value, Verdict, least_squares
from firmware_bridge.motor_bus import KP, TAU, Q
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
CYCLE, CYCLES, HELD_OUT = (1.0, 0.5, -1.0, -0.5), 4, (0.75, -0.75)
"""Shares of the torque, in turn; those of the last cycle are foretold, not fitted."""
TURN_S, SETTLE_S, LOOK_S = 0.2, 0.15, 0.15
"""To the next torque, until it leans there, and how long that is then looked at."""
LEAST_N_M, EFFORT, MOST_EFFORT, OVER_FRICTION = 1.0, 0.05, 0.4, 4.0
"""The torque: at least so much, such a share of the table's, at most of the envelope's (joints before it bear it), and
so many times the joint's known friction: half of it still has to turn the rotor."""
LOOSE_RAD = 0.12
"""Farther than play and give go: nobody holds the limb."""
MOVE_RAD_S = 0.5
MOST_SHARE, ENOUGH_RAD = 0.2, 0.0003
"""Half-width of an interval: of its value, or small enough whatever the value."""
MOST_OFF_RAD, MOST_OFF_SHARE = 0.0005, 0.1
"""Of what was foretold of the held-out reversal."""


class Backlash:
    """The routine; values are `plant.NAME.backlash_rad`.

    Attributes:
        plant: `plant` of the calibration in force; a session sets it before `prepare`.
    """

    name, version = "backlash", "1"
    summary = "free play of gears, while a person or a clamp holds the limb"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.6)
    hangs = True

    def __init__(self) -> None:
        self.plant: Mapping[str, Any] = {}

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._joints = [row for row in robot.joints if row.name in joints]
        self._places = posture_for(robot, "")
        self._torque = {row.name: self._torque_of(row) for row in self._joints}

    def _torque_of(self, joint: Joint) -> float:
        table = joint.effort_n_m / self.envelope.effort_ratio
        rubs = float(self.plant.get(joint.name, {}).get("coulomb_n_m", 0.0))
        return min(max(LEAST_N_M, EFFORT * table, OVER_FRICTION * rubs), MOST_EFFORT * joint.effort_n_m)

    def plan(self) -> list[str]:
        each_s = (CYCLES * len(CYCLE) + len(HELD_OUT)) * (TURN_S + SETTLE_S + LOOK_S)
        return [f"{len(self._joints)} joints, one after the other: you hold or clamp the limb behind it, its motor "
                f"pulls to and fro for {each_s:.0f} s; nothing should move",
                "; ".join(f"{name} {torque:.1f} N m" for name, torque in self._torque.items()),
                "only for motors that have their encoder on their own side of the gears"]

    def steps(self, bench: Bench) -> Steps[None]:
        offset = {row.name: float(self._offsets[row.motor]) for row in self._robot.joints}
        yield from bench.move({name: place + offset[name] for name, place in self._places.items()}, MOVE_RAD_S)
        for done, joint in enumerate(self._joints):
            bench.progress = done / len(self._joints)
            if bench.is_finished(joint.name):
                continue
            place = self._places[joint.name]
            yield from bench.be_led(np.array([joint.motor], np.intp), Question(
                f"{joint.name}: hold the limb behind it where it is, and do not give way; its motor will pull with "
                f"{self._torque[joint.name]:.1f} N m", places_rad=((joint.name, place),), is_firm=True))
            yield from self._pull(bench, joint)
            yield from bench.ask(Question(f"{joint.name}: let the limb go"))
            bench.finish(joint.name)
        bench.progress = 1.0

    def _pull(self, bench: Bench, joint: Joint) -> Steps[None]:
        """Without its spring: torque alone, damped."""
        row, torque = bench.target[joint.motor], self._torque[joint.name]
        start, kp = float(bench.state.q[joint.motor]), float(row[KP])
        row[KP] = 0
        ticks = round(TURN_S / bench.period_s)
        for number, share in enumerate(CYCLE * CYCLES + HELD_OUT):
            before = float(row[TAU])
            for tick in range(1, ticks + 1):
                row[TAU] = before + (share * torque - before) * tick / ticks
                _watch(bench, joint, start)
                yield
            for _ in range(round(SETTLE_S / bench.period_s)):
                _watch(bench, joint, start)
                yield
            bench.begin(f"{joint.name}/{number}")
            yield from bench.hold(LOOK_S)
            bench.end()
        row[TAU], row[Q], row[KP] = 0, bench.state.q[joint.motor], kp

    def fit(self, recording: Recording) -> Found:
        found = Found()
        fitted = len(CYCLE) * CYCLES
        for joint in self._joints:
            looks = [recording.of(f"{joint.name}/{number}") for number in range(fitted + len(HELD_OUT))]
            q, tau = _means(looks, joint.motor)
            play, width, give = fit_play(tau[:fitted], q[:fitted])
            self._judge(found, joint, (play, width, give), tau, q)
        return found

    def _judge(self, found: Found, joint: Joint, told: tuple[float, float, float], tau: F64, q: F64) -> None:
        play, width, give = told
        name, fitted = joint.name, len(CYCLE) * CYCLES
        limit = max(MOST_SHARE * abs(play), ENOUGH_RAD)
        foretold = play + give * (tau[fitted] - tau[fitted + 1])
        off, most = abs(float(q[fitted] - q[fitted + 1] - foretold)), max(MOST_OFF_RAD, MOST_OFF_SHARE * abs(play))
        found.values.append(Value(f"plant.{name}.backlash_rad", max(play, 0.0), width))
        found.verdicts += [
            Verdict(f"{name}: backlash", play > -width and width <= limit, f"{play:.5f} +- {width:.5f} rad",
                    f"from 0 on, +- {limit:.5f} rad", "the limb gave way: clamp it, and repeat"),
            Verdict(f"{name}: held-out reversal", off <= most, f"{off:.5f} rad from what was foretold",
                    f"<= {most:.5f} rad", "the limb gave way: clamp it, and repeat")]
        found.facts[name] = {"give_rad_per_n_m": give, "torque_n_m": self._torque[name],
                             "is": "play between the motor's encoder and the limb; 0 as well where the encoder is on "
                             "the limb's side, or the rotor is stuck"}
        order = np.argsort(tau)
        found.curves.append(Curve(f"{name}: reversals", "torque, N m", "encoder, rad", {
            "measured": (tau[order], q[order]),
            "model": (tau[order], float(q[:fitted].mean()) + (give * tau + play * np.sign(tau) / 2)[order])}))


def fit_play(tau: F64, q: F64) -> tuple[float, float, float]:
    """Play (rad), half-width of its 95 % interval, and give (rad/(N m)), from torques and readings (n,) of both sides.

    Raises:
        ValueError: one size of torque only, which does not tell play from give.
    """
    x, width = least_squares(np.column_stack([np.ones_like(tau), tau, np.sign(tau) / 2]), q)
    return float(x[2]), float(width[2]), float(x[1])


def _means(looks: Sequence[npt.NDArray[np.void]], motor: int) -> tuple[F64, F64]:
    """Readings and torques asked for, (looks,) each."""
    return (np.array([look["q"][:, motor].astype(np.float64).mean() for look in looks]),
            np.array([look["target"][:, motor, TAU].astype(np.float64).mean() for look in looks]))


def _watch(bench: Bench, joint: Joint, start_rad: float) -> None:
    """Once a tick.

    Raises:
        Stopped: the limb moves.
    """
    gone = abs(float(bench.state.q[joint.motor]) - start_rad)
    if gone > LOOSE_RAD:
        raise Stopped(f"{joint.name} moved by {gone:.2f} rad: the limb behind it has to be held")
