"""Keeps a robot at its reference's place while it walks, where its controller follows velocities and not places.

Such a tracker makes less way than it is told, the more so the slower the motion is: our own covered 0.1 m of a slow
walk of 1.6 m, stepping in time with it. How far it is behind the robot knows itself: the heading from its IMU, the way
from the estimated velocity of its base. That, and what such a tracker lacks anyhow, is added to the velocities that it
is told.

Where the reference hardly moves hardly anything is added: a robot that stands is not sent for a walk.
Constants were chosen with `g1-tracker` in simulation (docs/evaluate.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.reference import ReferenceFrame

F32 = npt.NDArray[np.float32]

LACK_M_S = 0.25
"""What is added along the reference's way: below some 0.3 m/s our tracker steps without coming along."""
FIRST_M_S, WHOLE_M_S, LAST_M_S = 0.12, (0.22, 0.3), 0.7
"""Speeds from which anything is added, at which all of it, and from which nothing again. Whose hips sway at less than
the first does not walk; at the last our tracker comes along by itself, and has nothing to spare."""
PLACE_PER_S, MOST_M_S = 1.5, 0.4
"""What is added for each metre behind, and at most."""
HEADING_PER_S, MOST_RAD_S, TURNING_M_S = 1.0, 0.5, 0.15
"""Yaw rate that is added for each radian, and at most; the whole of it at speeds from the last figure on."""
FAR_M, FAR_RAD = 1.0, 0.5
"""Further behind counts as so far: nobody runs after a reference that a robot could not follow."""
SMOOTH_S = 0.5
"""Over which the reference's speed is averaged: a pelvis sways at each step."""
LEAP_M, LEAP_RAD = 0.06, 0.2
"""Of a reference in one control period: another place, not a way to go (3 m/s and 10 rad/s at 50 Hz)."""


class RootFeedback:
    """What is added to the reference's velocities, from how far the robot is from it.

    Args:
        period_s: of control.
        velocity: (3,) estimated velocity of the base, in base, m/s; kept up to date by the caller.

    Attributes:
        behind: where the reference is: forwards and to the left, m, as the robot faces, and counter-clockwise, rad.
    """

    def __init__(self, period_s: float, velocity: F32) -> None:
        self._period_s, self._velocity = period_s, velocity
        self._fresh = period_s / (period_s + SMOOTH_S)
        self.reset()

    def reset(self) -> None:
        """The reference is where the robot is."""
        self.behind = (0.0, 0.0, 0.0)
        self._before: tuple[float, float, float, float] | None = None
        self._way = (0.0, 0.0)

    def apply(self, now: ReferenceFrame, frames: Sequence[ReferenceFrame], quat_wxyz: Sequence[float]) -> None:
        """One control period on, with the reference of this instant and the base's orientation in world; then add to
        the velocities of all frames.
        """
        self._look(now, quat_wxyz)
        vx, vy, _ = now.root_lin_vel.tolist()
        x, y = self._way
        self._way = x, y = x + self._fresh * (vx - x), y + self._fresh * (vy - y)
        speed = math.hypot(x, y)
        ahead, left, turn = self.behind
        share = _share(speed)
        pull = share * min(PLACE_PER_S, MOST_M_S / max(math.hypot(ahead, left), 1e-9))
        lack = share * LACK_M_S / max(speed, 1e-9)
        turning = min(1.0, speed / TURNING_M_S) * min(max(HEADING_PER_S * turn, -MOST_RAD_S), MOST_RAD_S)
        for frame in frames:
            vx, vy, _ = frame.root_lin_vel.tolist()
            vx, vy = _turned(vx, vy, turn)
            frame.root_lin_vel[:2] = vx + lack * x + pull * ahead, vy + lack * y + pull * left
            frame.root_ang_vel[2] += turning

    def _look(self, now: ReferenceFrame, quat_wxyz: Sequence[float]) -> None:
        """How far both have come since the last period."""
        x, y, _ = now.root_pos.tolist()
        facing, yaw = float(now.root_rpy[2]), rotation.heading_rad(quat_wxyz)
        before, self._before = self._before, (x, y, facing, yaw)
        if before is None:
            return
        way_x, way_y, turned = x - before[0], y - before[1], rotation.wrapped(facing - before[2])
        if math.hypot(way_x, way_y) > LEAP_M or abs(turned) > LEAP_RAD:
            way_x = way_y = turned = 0.0
        velocity = rotation.rotate_inverse(rotation.conjugate(quat_wxyz), self._velocity.tolist())
        gone_x, gone_y = _turned(velocity[0], velocity[1], -yaw)
        ahead, left, turn = self.behind
        moved = rotation.wrapped(yaw - before[3])
        ahead, left = _turned(ahead, left, -moved)
        turn = min(max(turn + turned - moved, -FAR_RAD), FAR_RAD)
        told_x, told_y = _turned(way_x, way_y, turn - facing)
        ahead += told_x - gone_x * self._period_s
        left += told_y - gone_y * self._period_s
        far = max(math.hypot(ahead, left) / FAR_M, 1.0)
        self.behind = (ahead / far, left / far, turn)


def _share(speed: float) -> float:
    slowest, fastest = WHOLE_M_S
    return max(0.0, min(1.0, (speed - FIRST_M_S) / (slowest - FIRST_M_S), (LAST_M_S - speed) / (LAST_M_S - fastest)))


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    c, s = math.cos(angle), math.sin(angle)
    return c * x - s * y, s * x + c * y
