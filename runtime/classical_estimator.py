"""Base velocity, height and foot contacts from the IMU and the legs: a Kalman filter with contact-weighted odometry.

Orientation is the IMU's own. In the world frame the velocity of the IMU integrates its specific force (a strap-down),
and every foot that carries corrects it with its leg's odometry; the weight of a correction is the foot's contact
probability. That is the filter of Bloesch et al., "State estimation for legged robots", RSS 2012, with orientation and
foot positions taken out of the state, as Flayols et al., "Experimental evaluation of simple estimators for humanoid
robots", Humanoids 2017, found to lose little. What is left has the same noise along every axis, so one variance serves
three velocities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.leg_odometry import LegOdometry
from runtime.robot import Robot
from runtime.state import RobotState

F32 = npt.NDArray[np.float32]

GRAVITY_M_S2 = 9.81
ACCEL_STD = 1.5
"""m/s^2. What one sample a period is wrong by; heel strikes are shorter than a 20 ms period."""
BLIND_STD = 4.0
"""The same without an accelerometer: how a walking base accelerates."""
ODOMETRY_STD = 0.1
"""m/s. Of a carrying foot; measured in simulation, joint velocities with 0.25 rad/s of uniform noise."""
HEIGHT_STD = 0.003
"""m. Of the height above a carrying foot."""
SLIP_STDS = 2.5
"""Odometry this far from what is expected counts half (Cauchy's weight): a foot that slips is soon heard no more, and a
filter that was wrong is still set right, since what is not corrected grows uncertain."""
FORCE_N = 20.0
LEVEL_M = 0.005
LEVEL_LOGIT = 5.0
"""Contact log-odds: force / FORCE_N, and up to LEVEL_LOGIT / 2 for a foot as low as the lowest, down to minus that for
one far above it (LEVEL_M is where 1/e of the way is left). A foot on a step carries by its force alone."""
AIR_N, TOUCH_N = -20.0, 20.0
"""What a nominal robot's legs say of a foot in the air, for the leg's own weight, and the force from which one rather
carries than not: together the zero of `FORCE_N`'s scale. `exoactor calibrate contacts` measures a robot's own."""
SUPPORT_M_S2 = 5.0
"""Vertical specific force from which some foot must carry; in free flight it is zero and levels say nothing."""
SUPPORT_S = 0.04
CONTACT_MIN = 0.02
"""Feet less likely to carry than this are not looked at."""


class ClassicalEstimator:
    """The filter for one robot at one rate.

    Args:
        robot: with `feet`.
        rate_hz: how often `update` is called.
        feet: name of a foot -> what its leg says of it in the air, N, and how much more than true it says; of a
            calibration. Feet left out are nominal.

    Attributes:
        odometry: of the last state.
        values: (4 + feet,) float32: base velocity in base (m/s), base height above the carrying foot (m), contacts (0
            to 1).
    """

    name = "classical"

    def __init__(
        self, robot: Robot, rate_hz: float, feet: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        self.odometry = LegOdometry(robot)
        own = [(feet or {}).get(name, (AIR_N, 1.0)) for name in self.odometry.names]
        self._touch = [(air + scale * TOUCH_N, scale * FORCE_N) for air, scale in own]
        self._feet = len(self.odometry.names)
        self._imu = 3 * robot.motors
        self._arm = robot.imu_in_base_m
        self._period_s = 1 / rate_hz
        self._smooth = self._period_s / (self._period_s + SUPPORT_S)
        self.values: F32 = np.zeros(4 + self._feet, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next state is the first."""
        self.values[:] = 0
        self._velocity = [0.0, 0.0, 0.0]
        self._variance = self._height_variance = 1.0
        self._height = 0.0
        self._felt: rotation.Vector3 | None = None
        self._support = GRAVITY_M_S2
        self._started = False

    def update(self, state: RobotState) -> None:
        """One period on from the last call. Numbers that are not finite leave the estimate as it was."""
        if math.isfinite(float(state.floats.dot(state.floats))):
            self.filter(state.floats)

    def filter(self, floats: F32) -> None:
        """The same for finite numbers in the order of `RobotState.floats`."""
        odometry = self.odometry
        odometry.update(floats)
        quat = floats[self._imu : self._imu + 4].tolist()
        gyro = floats[self._imu + 4 : self._imu + 7].tolist()
        self._predict(quat, floats[self._imu + 7 : self._imu + 10].tolist())
        contact = self._contacts()
        arm = _cross(gyro, self._arm)
        for i in range(self._feet):
            if contact[i] > CONTACT_MIN:
                planted = odometry.velocity[i].tolist()
                self._correct(contact[i], _rotate(quat, [v + a for v, a in zip(planted, arm, strict=True)]))
                self._correct_height(contact[i], float(odometry.height[i]))
        base = rotation.rotate_inverse(quat, self._velocity)
        self.values[:3] = [v - a for v, a in zip(base, arm, strict=True)]
        self.values[3], self.values[4:] = self._height, contact

    def _predict(self, quat: list[float], accel: list[float]) -> None:
        """Trapezoid over the last two specific forces; exact zeros are a lost accelerometer, not a fall."""
        lost = accel[0] == accel[1] == accel[2] == 0
        x, y, z = (0.0, 0.0, GRAVITY_M_S2) if lost else _rotate(quat, accel)
        felt = (x, y, z - GRAVITY_M_S2)
        before = self._felt or felt
        self._felt = felt
        self._support += self._smooth * (z - self._support)
        period, velocity = self._period_s, self._velocity
        self._height += period * velocity[2]
        for axis in range(3):
            velocity[axis] += period * (felt[axis] + before[axis]) / 2
        self._variance += (period * (BLIND_STD if lost else ACCEL_STD)) ** 2
        self._height_variance += period * period * self._variance

    def _contacts(self) -> list[float]:
        """Probability of each foot to carry."""
        odometry = self.odometry
        heights = odometry.height.tolist()
        highest = max(heights)
        carried = min(max(self._support / SUPPORT_M_S2, 0.0), 1.0)
        out = []
        forces = odometry.force.tolist()
        for height, force, (threshold, width) in zip(heights, forces, self._touch, strict=True):
            level = carried * math.exp((height - highest) / LEVEL_M) - 0.5
            logit = (force - threshold) / width + LEVEL_LOGIT * level
            out.append(1 / (1 + math.exp(-min(max(logit, -30.0), 30.0))))
        return out

    def _correct(self, contact: float, measured: rotation.Vector3) -> None:
        """One foot's odometry, the less trusted the further it is from what was expected."""
        velocity = self._velocity
        noise = (ODOMETRY_STD / contact) ** 2
        apart = [m - v for m, v in zip(measured, velocity, strict=True)]
        far = sum(a * a for a in apart) / (SLIP_STDS * SLIP_STDS * (self._variance + noise))
        noise *= 1 + far
        gain = self._variance / (self._variance + noise)
        for axis in range(3):
            velocity[axis] += gain * apart[axis]
        self._variance *= 1 - gain

    def _correct_height(self, contact: float, measured: float) -> None:
        if not self._started:
            self._started, self._height, self._height_variance = True, measured, HEIGHT_STD**2
            return
        noise = (HEIGHT_STD / contact) ** 2
        gain = self._height_variance / (self._height_variance + noise)
        self._height += gain * (measured - self._height)
        self._height_variance *= 1 - gain


def _rotate(q: list[float], v: list[float]) -> rotation.Vector3:
    """A base vector in the world: R(q) v."""
    return rotation.rotate_inverse((q[0], -q[1], -q[2], -q[3]), v)


def _cross(a: list[float], b: tuple[float, float, float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
