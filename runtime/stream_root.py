"""Where a streamed robot's root is, when the sender only says joints and orientation: the protocol has no positions.

The lowest foot stands still, on the ground. Height is the root's above that foot's lowest point; place goes on by what
that foot moves below it. A flight phase is not seen, slipping feet are believed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.legs import Legs, matrix_from_quat
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
OTHER_FOOT_M = 0.002
"""The other foot carries once it is this much lower. On our walks the velocity is then within 0.011 m/s (rms; 0.036
with 8 mm, for by then the old foot has begun to lift), and a clean stream no longer makes the tracker stumble."""
ROLL_M = 0.004
"""As in `leg_odometry`: how softly the ground point goes from one sole point to the next."""


class StreamRoot:
    """Root positions from joints and orientation, frame after frame.

    Args:
        robot: with feet; without, height and place stay as they are.
        height_m: where there are none.

    Attributes:
        place: (3,) the newest, m.
    """

    def __init__(self, robot: Robot, height_m: float) -> None:
        self._legs = Legs(robot) if robot.feet else None
        self.place: F64 = np.array([0.0, 0.0, height_m])
        if self._legs is None:
            return
        self._index = robot.order.index_of(self._legs.joints)
        self._zeros = np.zeros(len(self._index))
        self._before: F64 | None = None
        self._foot = 0

    def advance(self, joint_pos: Any, quat_wxyz: Any) -> F64:
        """The root of the next frame: joints in the order of the robot's table, the root's unit rotation in world."""
        legs = self._legs
        if legs is None:
            return self.place
        legs.update(joint_pos[self._index], self._zeros)
        soles = legs.sole @ matrix_from_quat(quat_wxyz).T
        height = soles[:, :, 2].min(axis=1) - legs.sole_radius_m
        lowest = int(height.argmin())
        if height[self._foot] > height[lowest] + OTHER_FOOT_M:
            self._foot = lowest
        if self._before is not None:
            sole, before = soles[self._foot], self._before[self._foot]
            weight = np.exp((sole[:, 2].min() - sole[:, 2]) / ROLL_M)
            moved = weight @ (sole - before) / weight.sum()
            self.place[:2] -= moved[:2]
        self.place[2] = -height[lowest]
        self._before = soles
        return self.place

    def forget(self) -> None:
        """What comes next does not go on from what came last."""
        if self._legs is not None:
            self._before = None


def turned(quat_wxyz: Any, heading_rad: float) -> Any:
    """A rotation turned further about the world's z."""
    return rotation.multiply(rotation.quat_about_z(heading_rad), quat_wxyz) if heading_rad else quat_wxyz


def turned_step(step: Any, heading_rad: float) -> tuple[float, float]:
    """A step on the ground, turned likewise."""
    cos, sin = math.cos(heading_rad), math.sin(heading_rad)
    return cos * step[0] - sin * step[1], sin * step[0] + cos * step[1]
