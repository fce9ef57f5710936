"""Whether the IMU can be believed: range, repetition, and turn rates against orientation.

A non-unit or non-finite reading never gets here (`Review` drops it).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample
from runtime.bodies import Chain, Quat
from runtime.findings import Findings
from runtime.robot import Robot
from runtime.rotation import conjugate, gravity_in_base, multiply

F32 = npt.NDArray[np.float32]
WINDOW_S = 0.1
"""Over which turn rates are integrated and held against the orientation."""
GAP_S = 0.02
"""A longer gap between two samples spoils a window: it begins anew."""
TORSO_EVERY = 10
TORSO_BODY = "torso_link"
TORSO_LOOKS = 4
"""In a row that must disagree: 80 ms of a 500 Hz state."""


class ImuChecks:
    """Flags of the IMU of one robot."""

    def __init__(self, robot: Robot, findings: Findings) -> None:
        self._findings, self._limits = findings, robot.limits
        self._spikes = self._repeats = self._apart = self._looks = 0
        self._last = b""
        self._start: Quat | None = None
        self._turned: Quat = (1.0, 0.0, 0.0, 0.0)
        self._window_s = 0.0
        self._drift = 0
        self._torso = 0
        names = [""] * robot.motors
        for joint in robot.joints:
            names[joint.motor] = joint.name
        self._chain = Chain(robot.bodies, TORSO_BODY, names) if TORSO_BODY in robot.bodies else None

    def is_in_range(self, imu: list[float]) -> bool:
        """Whether the turn rates are ones the sensor can measure; counts those in a row that are not."""
        limit = self._limits.gyro_max_rad_s
        is_in = -limit < imu[4] < limit and -limit < imu[5] < limit and -limit < imu[6] < limit
        self._spikes = 0 if is_in else self._spikes + 1
        return is_in

    def saturation(self) -> int:
        """The flag of too many samples out of range in a row."""
        if self._spikes < self._limits.gyro_samples:
            return 0
        return self._findings.note("GYRO_SATURATED", self._spikes)

    def look(self, sample: MotorSample, q: F32, imu: list[float], dt_s: float, *, tracks: bool) -> int:
        """Flags of one accepted sample, `dt_s` after the one before; `q` and `imu` (10) are its calibrated numbers."""
        flags = self._repetition(sample, tracks) | self._integrate(imu, dt_s)
        self._looks += 1
        if self._chain is not None and self._looks % TORSO_EVERY == 0:
            self._torso = self._compare_torso(sample, q, imu[:4])
        return flags | self._torso

    def _repetition(self, sample: MotorSample, tracks: bool) -> int:
        """Frozen to the bit. A simulated robot on its gantry turns at exactly zero, which is no freeze."""
        now = sample.imu.tobytes()
        self._repeats = self._repeats + 1 if now == self._last and (tracks or sample.gyro.any()) else 0
        self._last = now
        if self._repeats < self._limits.imu_frozen_samples:
            return 0
        return self._findings.note("IMU_FROZEN", self._repeats)

    def _integrate(self, imu: list[float], dt_s: float) -> int:
        """The turn that the rates make in a window against the turn of the orientation."""
        if self._start is None or dt_s > GAP_S:
            self._begin(imu)
            return self._drift
        half = 0.5 * dt_s
        x, y, z = half * imu[4], half * imu[5], half * imu[6]
        w, a, b, c = self._turned  # times (1, x, y, z), written out: it runs at every sample
        self._turned = (w - a * x - b * y - c * z, a + w * x + b * z - c * y, b + w * y + c * x - a * z,
                        c + w * z + a * y - b * x)
        self._window_s += dt_s
        if self._window_s < WINDOW_S:
            return self._drift
        error = multiply(conjugate(self._turned), multiply(conjugate(self._start), imu[:4]))
        angle = 2 * math.atan2(math.sqrt(error[1] ** 2 + error[2] ** 2 + error[3] ** 2), abs(error[0]))
        is_apart = angle > self._limits.imu_drift_rad * self._window_s / WINDOW_S
        self._drift = self._findings.note("IMU_INCONSISTENT", angle) if is_apart else 0
        self._begin(imu)
        return self._drift

    def _begin(self, imu: list[float]) -> None:
        w, x, y, z = imu[:4]
        self._start, self._turned, self._window_s = (w, x, y, z), (1.0, 0.0, 0.0, 0.0), 0.0

    def _compare_torso(self, sample: MotorSample, q: F32, base_wxyz: list[float]) -> int:
        """Gravity as the torso's IMU sees it and as the pelvis' says through the waist; their yaws drift apart."""
        torso = sample.torso_quat_wxyz
        if self._chain is None or not np.isfinite(torso).all() or not 0.9 < float(torso.dot(torso)) < 1.1:
            return 0
        expected = multiply(base_wxyz, self._chain.orientation(q))
        cosine = sum(a * b for a, b in zip(gravity_in_base(torso.tolist()), gravity_in_base(expected), strict=True))
        angle = math.acos(min(max(cosine, -1.0), 1.0))
        self._apart = self._apart + 1 if angle > self._limits.torso_warn_rad else 0
        if self._apart < TORSO_LOOKS:
            return 0
        flags = self._findings.note("TORSO_IMU", angle)
        return flags | self._findings.note("TORSO_IMU_FAR", angle) if angle > self._limits.torso_rad else flags
