"""Joint zeros by gravity: poses of the hanging robot, torques against the model's, least squares with what is known.

tau = a G(q - o, tilt): offsets o and torque scales a of all joints and the torso's tilt together, because a knee's
torque tells of the hip's angle too. What is known beforehand enters with its uncertainty: the torso was set by a level,
a torque scale is near one, an offset is no radian. What the poses do not tell keeps the width of that knowledge, which
is how a joint is found not to be observable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.hanging import apart, hanging, safe_poses
from calibration.routine import Curve, Found, Value, Verdict
from calibration.sweeps import Swept, seconds, stiffen, sweep, swept
from runtime.robot import Joint, Robot

if TYPE_CHECKING:
    from firmware_bridge.hanging import Hanging

F64 = npt.NDArray[np.float64]
POSES, HELD_OUT_EVERY, POSE_SEED = 24, 6, 1
REACH_RAD, END_RAD = 0.9, 0.15
SWEEP_RAD, SWEEP_RAD_S = 0.06, 0.12
OFFSET_RAD, SCALE, LEVEL_RAD = 0.3, 0.05, 0.005
"""Standard deviations of what is known beforehand: 0.3 degrees is what a spirit level of a workshop leaves."""
GIVE_RAD, PLAY_RAD = 0.002, 0.001
"""Likewise of what no average takes away: how the torso turns with each pose's weight, and the joints' free play."""
MOST_HALF_WIDTH_RAD = 0.02
LEAST_N_M = 0.005
"""A torque's mean is not believed better than this: cogging, gears, the model's masses."""
T95 = 2.1
UNUSUAL = 3.0
"""Times what held-out poses are expected to be off by: chance gives it to one joint in ten thousand with four poses."""
ROUNDS = 8


class Gravity:
    """The routine; values are `joints.NAME.encoder_offset_rad` and the command's, of joints that gravity tells of."""

    name, version = "gravity", "1"
    summary = "joint zeros by what the limbs weigh in many poses"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.9, margin_rad=0.3)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._before = robot, np.asarray(offsets, np.float64)
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        self._model = hanging(robot)
        self._poses = safe_poses(self._model, robot, POSES, REACH_RAD, END_RAD, POSE_SEED)

    def plan(self) -> list[str]:
        takes_s = seconds(self._poses, SWEEP_RAD, SWEEP_RAD_S)
        return [f"{POSES} poses of all joints within {REACH_RAD:g} rad of hanging straight, each swept by "
                f"{SWEEP_RAD:g} rad forth and back; about {takes_s / 60:.0f} min",
                "the torso has to hang, or be held, level within 0.3 degrees: put a level on it, both ways",
                "nothing may stand within the limbs' reach; joints and signs have to be right (`mapping`)"]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from bench.ask(Question("set the torso level, to its side and forwards, within 0.3 degrees"))
        stiffen(bench)
        start = apart(self._robot)
        names = {row.name: row.motor for row in self._robot.joints}
        yield from bench.move({name: float(start[motor] + self._before[motor]) for name, motor in names.items()}, 0.4)
        for i, pose in enumerate(self._poses):
            bench.progress = i / len(self._poses)
            yield from sweep(bench, pose + self._before, SWEEP_RAD, SWEEP_RAD_S, f"pose/{i}")
        yield from bench.move({name: float(start[motor] + self._before[motor]) for name, motor in names.items()}, 0.4)
        bench.progress = 1.0

    def fit(self, recording: Recording) -> Found:
        seen = [swept(recording, f"pose/{i}") for i in range(len(self._poses))]
        fitted = [row for i, row in enumerate(seen) if i % HELD_OUT_EVERY]
        others = seen[::HELD_OUT_EVERY]
        fit = fit_gravity(self._model, fitted, self._robot.used, self._before)
        found = Found()
        unseen: dict[str, str] = {}
        for joint in self._joints:
            offset, width = float(fit.offset[joint.motor]), float(fit.half_width[joint.motor])
            if width > MOST_HALF_WIDTH_RAD:
                unseen[joint.name] = why_unseen(fit, joint.motor)
                continue
            for kind in ("encoder", "command"):
                found.values.append(Value(f"joints.{joint.name}.{kind}_offset_rad", offset, width))
        found.verdicts += self._verdicts(fit, others, unseen)
        found.facts["torque_scale"] = {j.name: round(float(fit.scale[j.motor]), 4) for j in self._joints}
        found.facts["friction_n_m"] = {
            j.name: round(float(np.median([row.friction[j.motor] for row in seen])), 3) for j in self._joints}
        found.facts["torso_tilt_rad"] = fit.tilt.tolist()
        if unseen:
            found.facts["not_observable"] = unseen
        for joint in self._joints[:6]:
            q = np.array([row.q[joint.motor] for row in seen])
            order = np.argsort(q)
            lines = {"measured": np.array([row.tau[joint.motor] for row in seen]),
                     "model": np.array([fit.torques(self._model, row)[joint.motor] for row in seen])}
            found.curves.append(Curve(f"{joint.name}: gravity in all poses", "q, rad", "torque, N m",
                                      {name: (q[order], tau[order]) for name, tau in lines.items()}))
        return found

    def _verdicts(self, fit: Fit, others: Sequence[Swept], unseen: dict[str, str]) -> list[Verdict]:
        told = [j for j in self._joints if j.name not in unseen]
        verdicts = [Verdict("joints that gravity tells of", bool(told), f"{len(told)} of {len(self._joints)}",
                            "one at least", "touch the hard stops of these joints, or use a jig")]
        verdicts += [Verdict(f"{name}: zero by gravity", True, f"not observable: {why}; left as it was",
                             f"written within +- {MOST_HALF_WIDTH_RAD} rad") for name, why in unseen.items()]
        neutral = replace(fit, offset=self._before, scale=np.ones(len(fit.scale)), tilt=np.zeros(3))
        expected = np.sqrt(np.mean([fit.expected_n_m(self._model, row) ** 2 for row in others], axis=0))
        for joint in told:
            before, after = (float(np.sqrt(np.mean([(row.tau - one.torques(self._model, row))[joint.motor] ** 2
                                                    for row in others]))) for one in (neutral, fit))
            limit = UNUSUAL * float(expected[joint.motor])
            verdicts.append(Verdict(
                f"{joint.name}: held-out poses", after <= max(limit, before), f"{after:.3f} N m, before {before:.3f}",
                f"<= {limit:.3f} N m, or better than before",
                "the robot swung, or carries what its model does not know: let it rest, take it off, repeat"))
        return verdicts


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Attributes:
        offset, scale, half_width, sigma, slope: (motors,) rad, -, rad, N m (of one pose), N m/rad (largest change of
            the own torque with the own angle).
        tilt: (3,) of the torso.
        covariance: (2 motors + 2,) squared, of offsets, scales and tilt.
    """

    offset: F64
    scale: F64
    tilt: F64
    half_width: F64
    sigma: F64
    slope: F64
    covariance: F64

    def torques(self, model: Hanging, row: Swept) -> F64:
        """(motors,) as the drives should report them."""
        return self.scale * model.torques(row.q - self.offset, self.tilt, row.ddq)

    def expected_n_m(self, model: Hanging, row: Swept) -> F64:
        """(motors,) standard deviation of what a pose that was not fitted should be off by.

        Its noise; the torso's give and the joints' play, which are new in each pose; and what the fit does not know.
        """
        _, slopes = _linear(model, row, self.offset, self.scale, self.tilt)
        n = len(self.offset)
        give = GIVE_RAD**2 * (slopes[:, 2 * n:] ** 2).sum(axis=1)
        play = PLAY_RAD**2 * (slopes[:, :n] ** 2).sum(axis=1)
        unknown = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes)
        return np.asarray(np.sqrt(self.sigma**2 + give + play + unknown))


def fit_gravity(model: Hanging, rows: Sequence[Swept], used: npt.NDArray[np.bool_], start: F64) -> Fit:
    """Offsets, torque scales and tilt from sweeps of many poses, by Gauss-Newton with reweighted joints.

    Args:
        used: (motors,) where a joint is.
        start: (motors,) offsets to start from, rad.
    """
    n, poses = len(start), len(rows)
    x = np.concatenate([start, np.ones(n), np.zeros(2)])
    known = np.concatenate([np.full(n, 1 / OFFSET_RAD**2), np.full(n, 1 / SCALE**2), np.full(2, 1 / LEVEL_RAD**2)])
    centre = np.concatenate([np.zeros(n), np.ones(n), np.zeros(2)])
    sigma, slope = np.full(n, 0.1), np.zeros(n)
    information = np.diag(known)
    for step in range(ROUNDS):
        offset, scale, tilt = x[:n], x[n: 2 * n], np.append(x[2 * n:], 0.0)
        residual, slopes = np.zeros((poses, n)), np.zeros((poses, n, 2 * n + 2))
        for p, row in enumerate(rows):
            torques, slopes[p] = _linear(model, row, offset, scale, tilt)
            residual[p] = row.tau - torques
            slope = np.maximum(slope, np.abs(np.diag(slopes[p, :, :n]) / scale))
        if step > 1:  # two numbers of each joint are its own; the torso's give counts apart
            own = (residual**2).sum(axis=0) / max(1, poses - 2)
            give = GIVE_RAD**2 * (slopes[:, :, 2 * n:] ** 2).sum(axis=2).mean(axis=0)
            sigma = np.sqrt(np.maximum(own - give, LEAST_N_M**2))
        weights = [_weight(tilts, sigma, used) for tilts in slopes[:, :, 2 * n:]]
        information = np.diag(known) + sum(s.T @ w @ s for s, w in zip(slopes, weights, strict=True))
        gradient = -known * (x - centre) + sum(
            s.T @ w @ r for s, w, r in zip(slopes, weights, residual, strict=True))
        change = np.linalg.solve(information, gradient)
        x = x + change
        if step > 3 and np.abs(change[:n]).max() < 1e-5:
            break
    covariance = np.linalg.inv(information)
    width = T95 * np.sqrt(np.diag(covariance)[:n] + PLAY_RAD**2)
    return Fit(x[:n], x[n: 2 * n], np.append(x[2 * n:], 0.0), width, sigma, slope, covariance)


def _linear(model: Hanging, row: Swept, offset: F64, scale: F64, tilt: F64) -> tuple[F64, F64]:
    """(motors,) N m that the drives should report, and its slopes (motors, 2 motors + 2) by offsets, scales, tilt."""
    n, q = len(offset), row.q - offset
    gravity, slopes = model.torques(q, tilt, row.ddq), np.zeros((len(offset), 2 * len(offset) + 2))
    slopes[:, :n] = -scale[:, None] * model.stiffness(q, tilt)
    slopes[np.arange(n), n + np.arange(n)] = gravity
    slopes[:, 2 * n:] = scale[:, None] * model.by_tilt(q, tilt)
    return scale * gravity, slopes


def _weight(tilts: F64, sigma: F64, used: npt.NDArray[np.bool_]) -> F64:
    """(motors, motors) inverse covariance of one pose's torques: each joint's noise, and the torso's give in all."""
    inverse = used / sigma**2
    scaled = inverse[:, None] * tilts
    inner = np.eye(2) / GIVE_RAD**2 + tilts.T @ scaled
    return np.asarray(np.diag(inverse) - scaled @ np.linalg.solve(inner, scaled.T))


def why_unseen(fit: Fit, motor: int) -> str:
    """For a person: why gravity does not tell a joint's zero."""
    slope, width = float(fit.slope[motor]), float(fit.half_width[motor])
    return (f"its own weight changes its torque by at most {slope:.2f} N m/rad in all poses (its axis stands along "
            f"gravity, or what hangs on it is light or balanced): +- {width:.3f} rad")
