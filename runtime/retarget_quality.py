"""How well a retargeted motion follows its targets, moves smoothly and stands still: figures for reports and bench."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime import rotation

if TYPE_CHECKING:
    from runtime.retarget_table import RetargetTable

F64 = npt.NDArray[np.float64]
STANCE_M_S = 0.15
"""A human's foot joint slower than this stands."""
ROOT_Q = 7


def frame_costs(table: RetargetTable, points: Sequence[F64], targets: Sequence[F64]) -> F64:
    """(T,) sum of squared weighted distances and angles between points and targets."""
    weights = np.array([[row.position_weight, row.rotation_weight] for row in table.rows])
    distance = np.linalg.norm(points[0] - targets[0], axis=2)
    turn = rotation.multiply_many(points[1], rotation.conjugate_many(targets[1]))
    angle = np.linalg.norm(rotation.rotation_vector_many(turn), axis=2)
    return np.asarray(((weights[:, 0] * distance) ** 2 + (weights[:, 1] * angle) ** 2).sum(axis=1))


def jerk_rms(qs: F64, fps: float) -> float:
    """Root mean square of the joints' third differences, rad/s^3; of fewer than four frames, zero."""
    if len(qs) < 4:
        return 0.0
    return float(np.sqrt(((np.diff(qs[:, ROOT_Q:], 3, axis=0) * fps**3) ** 2).mean()))


def fastest_rad_s(qs: F64, fps: float) -> float:
    """Largest change of a joint from frame to frame."""
    return float(np.abs(np.diff(qs[:, ROOT_Q:], axis=0)).max() * fps)


def stance(feet: F64, fps: float) -> npt.NDArray[np.bool_]:
    """(T, feet) where the human's foot joints (T, feet, 3) are slow; frame t by its way from the one before."""
    speed = np.zeros(feet.shape[:2])
    speed[1:] = np.linalg.norm(np.diff(feet, axis=0), axis=2) * fps
    return np.asarray(speed < STANCE_M_S)


def skate_mm_s(points: F64, stands: npt.NDArray[np.bool_], fps: float) -> float:
    """Mean horizontal speed of the robot's feet (T, feet, 3) in the frames in which the human's stand."""
    speed = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=2) * fps * 1e3
    return float(speed[stands[1:]].mean()) if stands[1:].any() else 0.0
