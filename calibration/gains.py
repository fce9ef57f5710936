"""How joints answer a step, and whether their drives use the gains that they are told.

Gains: what a drive reports to give, against how far and how fast it was from its target. Step: a second-order response
with a delay, found on the first steps and held against the last ones. Nothing goes into the calibration file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from calibration.envelope import Envelope
from calibration.excitation import room_of
from calibration.postures import posture_for
from calibration.routine import Curve, Found, Verdict
from calibration.signals import solve
from firmware_bridge.motor_bus import KD, KP, Q
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
STEP_RAD, STEP_S, STEPS, HELD_OUT = 0.06, 0.6, 8, 2
POSTURE_RAD_S, PERIOD_S = 0.8, 0.002
ARRIVED = 20
"""Periods after which a step has passed every limit on its way and shows in a torque."""
KP_SHARE, KD_SHARE = 0.1, 0.3
"""By which a drive's own gains may differ from what they are told."""
UNEXPLAINED = 0.15
"""Of a step, root mean square, that a second-order response may leave: friction is none."""


class Gains:
    """The routine."""

    name, version = "gains", "1"
    summary = "step response of joints, and whether drives use the gains they are told"
    envelope = Envelope(velocity_rad_s=10.0, effort_ratio=0.6)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]

    def plan(self) -> list[str]:
        return [f"{len(self._joints)} joints, one after the other: {STEPS} steps of {STEP_RAD} rad to and fro with "
                "the table's gains", f"about {len(self._joints) * (STEPS * STEP_S + 4) / 60:.1f} min"]

    def steps(self, bench: Bench) -> Steps[None]:
        motor_of = {row.name: row.motor for row in self._robot.joints}
        for done, joint in enumerate(self._joints):
            bench.progress = done / len(self._joints)
            if bench.is_finished(joint.name):
                continue
            middle = room_of(joint, float(self._offsets[joint.motor]), 1.0, 1.0).middle_rad
            posture = {name: place + float(self._offsets[motor_of[name]])
                       for name, place in posture_for(self._robot, joint.name).items()}
            yield from bench.move({**posture, joint.name: middle}, POSTURE_RAD_S)
            yield from bench.hold(STEP_S)
            bench.begin(f"steps/{joint.name}")
            for step in range(STEPS):
                bench.target[joint.motor, Q] = middle + STEP_RAD * (1 - step % 2)
                yield from bench.hold(STEP_S)
            bench.end()
            bench.finish(joint.name)
        bench.progress = 1.0

    def fit(self, recording: Recording) -> Found:
        found = Found()
        for joint in self._joints:
            rows = recording.of(f"steps/{joint.name}")
            self._check_gains(rows, joint, found)
            self._fit_step(rows, joint, found)
        return found

    def _check_gains(self, rows: npt.NDArray[np.void], joint: Joint, found: Found) -> None:
        """kp and kd over what was told, once a step has arrived whole: the gate may have made a ramp of it."""
        length = round(STEP_S / PERIOD_S)
        is_there = np.arange(len(rows)) % length >= ARRIVED
        q, dq, tau = (rows[key][is_there, joint.motor].astype(np.float64) for key in ("q", "dq", "tau"))
        target = rows["target"][is_there, joint.motor].astype(np.float64)
        a = np.stack([target[:, KP] * (target[:, Q] - q), -target[:, KD] * dq, np.ones(len(q))], axis=1)
        ratio, covariance = solve(a, tau, np.arange(len(q), dtype=np.float64) // 50)
        width = 1.96 * np.sqrt(np.diag(covariance))
        for name, i, share in (("kp", 0, KP_SHARE), ("kd", 1, KD_SHARE)):
            found.verdicts.append(Verdict(
                f"{joint.name}: {name} of its drive", bool(abs(ratio[i] - 1) <= share + width[i]),
                f"{ratio[i]:.3f} +- {width[i]:.3f} of what it is told", f"1 +- {share}",
                "look at the drive's own scale and gear, or its firmware's units"))
        found.facts.setdefault(joint.name, {}).update(
            kp_ratio=float(ratio[0]), kd_ratio=float(ratio[1]), kp_half_width=float(width[0]),
            kd_half_width=float(width[1]))

    def _fit_step(self, rows: npt.NDArray[np.void], joint: Joint, found: Found) -> None:
        length = round(STEP_S / PERIOD_S)
        q = rows["q"][: STEPS * length, joint.motor].astype(np.float64).reshape(STEPS, length)
        before = np.concatenate([[q[1::2, -50:].mean()], q[:-1, -50:].mean(axis=1)])
        share = (q - before[:, None]) / (q[:, -50:].mean(axis=1) - before)[:, None]
        shown = share[:-HELD_OUT].mean(axis=0)
        omega, zeta, late_s, model = second_order(shown)
        rms = float(np.sqrt(np.mean((share[-HELD_OUT:].mean(axis=0) - model) ** 2)))
        t = np.arange(length, dtype=np.float64) * PERIOD_S
        rise_s = float(t[np.argmax(shown >= 0.9)] - t[np.argmax(shown >= 0.1)])
        found.facts.setdefault(joint.name, {}).update(
            rise_s=rise_s, overshoot=float(max(shown.max() - 1, 0.0)), zeta=zeta, omega_n_rad_s=omega, late_s=late_s)
        found.verdicts.append(Verdict(
            f"{joint.name}: held-out steps", rms <= UNEXPLAINED, f"{rms:.3f} of a step unexplained",
            f"<= {UNEXPLAINED}", "friction, play or something in the way: run friction, or look"))
        found.curves.append(Curve(f"{joint.name}: a step of {STEP_RAD} rad", "time, s", "share of the step",
                                  {"measured": (t, shown), "second order": (t, model)}))


def second_order(share: F64) -> tuple[float, float, float, F64]:
    """omega_n (rad/s), zeta, delay (s) and response of the second-order system nearest to a unit step's (n,)."""
    t = np.arange(len(share), dtype=np.float64) * PERIOD_S
    grid = (np.geomspace(3, 200, 41).tolist(), np.linspace(0.05, 1.6, 32).tolist(), np.arange(0, 0.021, 0.004).tolist())
    for _ in range(3):
        _, omega, zeta, late = min((float(np.sum((share - response(t - late, omega, zeta)) ** 2)), omega, zeta, late)
                                   for omega in grid[0] for zeta in grid[1] for late in grid[2])
        grid = ((omega * np.geomspace(0.9, 1.1, 9)).tolist(), (zeta + np.linspace(-0.05, 0.05, 9)).tolist(),
                np.maximum(late + np.linspace(-0.003, 0.003, 7), 0).tolist())
    return omega, zeta, late, response(t - late, omega, zeta)


def response(t: F64, omega: float, zeta: float) -> F64:
    """Of x'' + 2 zeta omega x' + omega^2 (x - 1) = 0 from rest at 0; 0 before t = 0."""
    t = np.maximum(t, 0)
    root = np.sqrt(complex(zeta**2 - 1)) + 1e-9
    slow, fast = -omega * (zeta - root), -omega * (zeta + root)
    return np.asarray(np.real(1 + (fast * np.exp(slow * t) - slow * np.exp(fast * t)) / (slow - fast)))
