"""Gyro bias and mounting of the IMU; its accelerometer's attitudes, of which nothing is asked, are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration import imu
from calibration.bench import Recording
from calibration.imu import Imu
from calibration.routine import Found
from runtime.rotation import quat_from_vector_many, rotation_vector_many
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import carried_out, mounting, truth_of

MOUNTING, BIAS = "mounting of the IMU, about each axis", "gyro bias"
MOST_DEGREES = 0.5
ASKED = {MOUNTING: Asked(MOST_DEGREES, "degrees"), BIAS: Asked(0.002, "rad/s")}
WAIST = ("waist_yaw_joint", "waist_roll_joint", "waist_pitch_joint")
ZERO_RAD = 0.002
"""Standard deviation of what joint-zero has left of the waist's offsets."""


class Swings(Imu):
    """The routine without its attitudes."""

    def _fit_accelerometer(self, recording: Recording, found: Found) -> None:
        pass


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """Up to 6 degrees about any axis, a bias and noise of a MEMS gyro, and a waist that is not quite at its zero."""
    random = np.random.default_rng(2000 + seed)
    wxyz = mounting(random, float(np.radians(random.uniform(1, 6))))
    bias = random.uniform(-0.03, 0.03, 3).tolist()
    joints = {name: {"encoder_offset_rad": float(random.normal(0, ZERO_RAD)), "coulomb_n_m": 0.5} for name in WAIST}
    kept = imu.TILTS, imu.HELD_OUT
    imu.TILTS, imu.HELD_OUT = (), ()  # type: ignore[assignment]
    try:
        found, stopped = carried_out(Swings(), truth_of(seed, joints=joints, imu={
            "mounting_wxyz": wxyz, "gyro_bias_rad_s": bias, "gyro_noise_rad_s": 0.003, "gyro_walk_rad_s2": 1e-5,
            "accel_noise_m_s2": 0.03}))
    finally:
        imu.TILTS, imu.HELD_OUT = kept
    yield Check("imu ends", found is not None, stopped)
    if found is None:
        return
    true = rotation_vector_many(np.array([wxyz]))[0]
    values = {value.key: value for value in found.values}
    seen = np.array([values[f"imu.mounting_rad.{axis}"].value for axis in range(3)])
    apart = _degrees_between(true, seen)
    yield Check("mounting of the IMU within 0.5 degrees", apart <= MOST_DEGREES, f"seed {seed}: {apart:.2f} degrees")
    for axis in range(3):
        half = np.degrees(values[f"imu.mounting_rad.{axis}"].half_width)
        yield Measured(MOUNTING, float(np.degrees(true[axis])), float(np.degrees(seen[axis])), float(half), str(axis))
        value = values[f"imu.gyro_bias_rad_s.{axis}"]
        yield Measured(BIAS, bias[axis], value.value, value.half_width, str(axis))


def _degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    """The angle of the turn from one rotation vector to the other."""
    first, second = quat_from_vector_many(np.array([a, b]))
    return float(np.degrees(2 * np.arccos(min(1.0, abs(float(first @ second))))))
