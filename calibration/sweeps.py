"""Slow sweeps of all joints at once around poses, forth and back: torques free of friction.

A joint that creeps forward shows gravity plus its friction, and creeping back gravity less it, whatever the friction is,
so half the sum is gravity's. All joints creep at once, for one that is held still hides what it does not report.
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
STIFF_KD, STIFF_RATIO = 4.0, 0.05
LEAD_RAD_S = 0.6


@dataclass(frozen=True)
class Swept:
    """Around one pose.

    Attributes:
        q, tau: (motors,) of half the sum of both ways, rad and N m.
        friction: (motors,) N m, half the difference.
        turn_wxyz, force: (4,) orientation and (3,) specific force of the base's IMU, as read.
    """

    q: F64
    tau: F64
    friction: F64
    turn_wxyz: F64
    force: F64


def stiffen(bench: Bench) -> None:
    """Gains that keep joints near their targets: as stiff as their effort at 0.05 rad, at most the envelope's."""
    robot = bench.robot
    effort = robot.column("effort_n_m")
    bench.target[:, KP] = np.clip(effort / np.float32(STIFF_RATIO), robot.column("kp"), robot.kp_max) * robot.used
    bench.target[:, KD] = np.minimum(np.maximum(robot.column("kd"), STIFF_KD * (effort > 20)), robot.kd_max)


def sweep(bench: Bench, pose: F64, reach_rad: float, speed_rad_s: float, name: str) -> Steps[None]:
    """To a pose (motors,) as the encoders read, then through it forth and back; recorded as `NAME/up`, `NAME/down`."""
    names = {row.name: row.motor for row in bench.robot.joints}
    yield from bench.move({joint: float(pose[motor]) - reach_rad for joint, motor in names.items()}, LEAD_RAD_S)
    used = bench.robot.used
    ticks = round(2 * reach_rad / speed_rad_s / bench.period_s)
    for way, sign in (("up", 1.0), ("down", -1.0)):
        bench.begin(f"{name}/{way}")
        for _ in range(ticks):
            bench.target[used, Q] += np.float32(sign * speed_rad_s * bench.period_s)
            yield
        bench.end()


def seconds(poses: Sequence[F64], reach_rad: float, speed_rad_s: float) -> float:
    """How long sweeps of these poses take."""
    ways = np.abs(np.diff(np.array(poses), axis=0)).max(axis=1) / LEAD_RAD_S
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
    return Swept(q.mean(axis=0), tau.mean(axis=0), (tau[0] - tau[1]) / 2, mean / np.linalg.norm(mean),
                 force.mean(axis=0))
