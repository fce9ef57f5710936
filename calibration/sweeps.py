"""Slow sweeps of all joints at once around poses, forth and back: torques free of friction.

A joint that creeps forward shows gravity plus its friction, and creeping back gravity less it, whatever it is, so half
the sum is gravity's. All joints creep at once, for one that is held still hides what it does not report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from firmware_bridge.motor_bus import KD, KP, Q

F64 = npt.NDArray[np.float64]
TURNING_SHARE = 0.45
"""Of a way, until friction has turned round at every joint."""
STIFF_RAD, DAMPED_S = 0.05, 0.065
END_TICKS = 20
"""Whose mean is the speed at either end of a way."""
LEAD_RAD_S, LEAD_S = 0.6, 0.8
"""From pose to pose: the fastest joint's mean speed, and the least time, lest light limbs be shaken."""


@dataclass(frozen=True)
class Swept:
    """Around one pose.

    Attributes:
        q, tau, ddq: (motors,) of half the sum of both ways: rad, N m, and rad/s^2 of what still swings.
        friction: (motors,) N m, half the difference.
        turn_wxyz, force: (4,) orientation and (3,) specific force of the base's IMU, as read.
    """

    q: F64
    tau: F64
    ddq: F64
    friction: F64
    turn_wxyz: F64
    force: F64


def stiffen(bench: Bench) -> None:
    """Gains that keep joints near their targets without swinging: their effort at 0.05 rad, at most the envelope's."""
    robot = bench.robot
    effort = robot.column("effort_n_m")
    bench.target[:, KP] = np.clip(effort / np.float32(STIFF_RAD), robot.column("kp"), robot.kp_max) * robot.used
    bench.target[:, KD] = np.clip(DAMPED_S * bench.target[:, KP], robot.column("kd"), robot.kd_max)


def sweep(bench: Bench, pose: F64, reach_rad: float, speed_rad_s: float, name: str) -> Steps[None]:
    """To a pose (motors,) as the encoders read, then through it forth and back; recorded as `NAME/up`, `NAME/down`."""
    names = {row.name: row.motor for row in bench.robot.joints}
    used = bench.robot.used
    way = float(np.abs(pose - reach_rad - bench.target[:, Q])[used].max())
    yield from bench.move({joint: float(pose[motor]) - reach_rad for joint, motor in names.items()},
                          max(1e-3, min(LEAD_RAD_S, way / LEAD_S)))
    ticks = round(2 * reach_rad / speed_rad_s / bench.period_s)
    for label, sign in (("up", 1.0), ("down", -1.0)):
        bench.begin(f"{name}/{label}")
        for _ in range(ticks):
            bench.target[used, Q] += np.float32(sign * speed_rad_s * bench.period_s)
            yield
        bench.end()


def seconds(poses: Sequence[F64], reach_rad: float, speed_rad_s: float) -> float:
    """How long sweeps of these poses take."""
    ways = np.maximum(np.abs(np.diff(np.array(poses), axis=0)).max(axis=1) / LEAD_RAD_S, LEAD_S)
    return float(ways.sum() + len(poses) * 4 * reach_rad / speed_rad_s)


def swept(recording: Recording, name: str) -> Swept:
    """What a recording shows of one sweep."""
    ways = []
    for way in ("up", "down"):
        rows = recording.of(f"{name}/{way}")
        ways.append(rows[round(len(rows) * TURNING_SHARE):])
    q, tau, force, turn = (
        np.array([rows[key].astype(np.float64).mean(axis=0) for rows in ways]) for key in
        ("q", "tau", "accel", "quat_wxyz"))
    mean = turn.mean(axis=0)
    ddq = np.mean([_mean_acceleration(rows) for rows in ways], axis=0)
    return Swept(q.mean(axis=0), tau.mean(axis=0), ddq, (tau[0] - tau[1]) / 2, mean / np.linalg.norm(mean),
                 force.mean(axis=0))


def _mean_acceleration(rows: npt.NDArray[np.void]) -> F64:
    """(motors,) rad/s^2: what the speed gained from one end to the other, over the time between."""
    dq = rows["dq"].astype(np.float64)
    took_s = (len(rows) - END_TICKS) / len(rows) * float(rows["received_ns"][-1] - rows["received_ns"][0]) * 1e-9
    return np.asarray((dq[-END_TICKS:].mean(axis=0) - dq[:END_TICKS].mean(axis=0)) / took_s)
