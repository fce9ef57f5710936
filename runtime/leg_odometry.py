"""What the legs say of the base: how fast it moves and how high it is if a foot stands still, and which foot carries.

All from one robot state; nothing is remembered. In the base frame unless a name says otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.legs import Legs
from runtime.robot import Robot

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

ROLL_M = 0.004
"""Sole points this much above the lowest still count a good third: a foot rolls over, it does not jump from point to
point."""
DAMPING = 1e-5
"""Of `Legs.ground_force`. Measured on simulated walks: 1e-4 loses 30 % of the force of legs as straight as TWIST2 walks
with, 1e-6 lets it swing; bent legs do not mind either."""


class LegOdometry:
    """Odometry of each foot, f in all.

    Attributes:
        velocity: (f, 3) velocity of the base, m/s, if the lowest part of that foot's sole stood still.
        height: (f,) height of the base above that foot's lowest point, m.
        force: (f,) vertical force of the ground on each foot, N, from the motors' torques; about -20 in a swing, for
            the leg's own weight.
        up: (3,) unit vector against gravity.
        values: (5 f,) float32, velocity, height, force / 100 of each foot in turn: what a network is given.
    """

    def __init__(self, robot: Robot) -> None:
        self._legs = legs = Legs(robot)
        feet = len(legs.names)
        self.names = legs.names
        self._motor = legs.motor_index
        self._index = np.concatenate([self._motor + i * robot.motors for i in range(3)])
        self._imu = 3 * robot.motors
        self._joints = np.zeros(len(self._index))
        self._q, self._dq, self._tau = np.split(self._joints, 3)
        self._radius = legs.sole_radius_m
        self.velocity, self.height, self.force = np.zeros((feet, 3)), np.zeros(feet), np.zeros(feet)
        self.up = np.zeros(3)
        self._values64 = np.zeros((feet, 5))
        self.values: F32 = np.zeros(5 * feet, np.float32)

    def update(self, floats: F32) -> None:
        """Everything from one state, `RobotState.floats`."""
        legs, up = self._legs, self.up
        self._joints[:] = floats[self._index]
        legs.update(self._q, self._dq)
        w, x, y, z = floats[self._imu : self._imu + 4].tolist()
        up[:] = 2 * (x * z - w * y), 2 * (w * x + y * z), 1 - 2 * (x * x + y * y)
        above = legs.sole @ up
        lowest = above.min(axis=1)
        weight = np.exp((lowest[:, None] - above) / ROLL_M)
        weight /= weight.sum(axis=1, keepdims=True)
        # The spheres touch the ground below their centres.
        touch = np.matmul(weight[:, None], legs.sole)[:, 0] - self._radius[:, None] * up
        gx, gy, gz = floats[self._imu + 4 : self._imu + 7].tolist()
        moving = self.velocity
        for i, (linear, (tx, ty, tz), (px, py, pz)) in enumerate(
            zip(legs.twist.tolist(), touch.tolist(), legs.position.tolist(), strict=True)
        ):
            vx, vy, vz, wx, wy, wz = linear
            rx, ry, rz = tx - px, ty - py, tz - pz
            moving[i] = (
                -(vx + wy * rz - wz * ry + gy * tz - gz * ty),
                -(vy + wz * rx - wx * rz + gz * tx - gx * tz),
                -(vz + wx * ry - wy * rx + gx * ty - gy * tx),
            )
        np.subtract(self._radius, lowest, out=self.height)
        np.matmul(legs.ground_force(self._tau, DAMPING), up, out=self.force)
        values = self._values64
        values[:, :3], values[:, 3], values[:, 4] = moving, self.height, self.force / 100
        self.values[:] = values.reshape(-1)
