"""Legs and arms of the human skeleton: rotations of its joints from where feet are and how arms are held."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, Skeleton

F64 = npt.NDArray[np.float64]
ANKLE_M = 0.09
"""Height of the ankle joint over the floor, the foot flat."""
LEG_REACH = 0.985
"""Of a leg's length a stance may use: beyond, knees snap straight."""


def _bones(skeleton: Skeleton, side: str) -> tuple[F64, F64, F64]:
    hip, thigh, shin = (skeleton.offsets_m[HUMAN_JOINTS.index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
    return hip, thigh, shin


def reach_height(skeleton: Skeleton, side: str, pelvis: F64, turn_wxyz: F64, ankle: F64, reach: float) -> F64:
    """(T,) highest z of the pelvis from which an ankle (T, 3) is within `reach` of the leg's length.

    Raises:
        Refused: an ankle that is too far aside for any height.
    """
    hip, thigh, shin = _bones(skeleton, side)
    arm = rotation.rotate_many(turn_wxyz, np.broadcast_to(hip, pelvis.shape))
    length = reach * float(np.linalg.norm(thigh + shin))
    aside = ((pelvis + arm - ankle)[:, :2] ** 2).sum(axis=1)
    if aside.max() >= length**2:
        raise Refused("motion", expected=f"feet within {length:.2f} m of the hips", found=f"{aside.max() ** 0.5:.2f} m",
                      what_to_do="take shorter steps")
    return np.asarray(ankle[:, 2] + np.sqrt(length**2 - aside) - arm[:, 2])


def leg_rotations(skeleton: Skeleton, side: str, pelvis: F64, local_wxyz: F64, ankle: F64, foot_wxyz: F64) -> None:
    """Fills a leg's joints in `local_wxyz` (T, 24, 4), its pelvis given, so that ankle (T, 3) and foot (T, 4) are met.

    The knee is a hinge about the rest x axis; the whole leg turns so that this axis lies as near as it can to the
    foot's own left.

    Raises:
        Refused: an ankle beyond the leg.
    """
    hip, thigh, shin = _bones(skeleton, side)
    base = local_wxyz[:, 0]
    way = ankle - (pelvis + rotation.rotate_many(base, np.broadcast_to(hip, pelvis.shape)))
    a = thigh[1] * shin[1] + thigh[2] * shin[2]
    b = thigh[2] * shin[1] - thigh[1] * shin[2]
    c = ((way**2).sum(axis=1) - thigh @ thigh - shin @ shin) / 2 - thigh[0] * shin[0]
    cosine = c / np.hypot(a, b)
    if np.abs(cosine).max() > 1:
        far = float(np.linalg.norm(way, axis=1).max())
        raise Refused("motion", expected="feet within the legs' reach", found=f"an ankle {far:.2f} m away",
                      what_to_do="lower the pelvis or take shorter steps")
    knee = np.zeros((len(way), 3))
    knee[:, 0] = np.arctan2(b, a) + np.arccos(cosine)
    bent = rotation.quat_from_vector_many(knee)
    drawn = thigh + rotation.rotate_many(bent, np.broadcast_to(shin, way.shape))
    left = np.broadcast_to(np.array([1.0, 0, 0]), way.shape)
    upper = rotation.quat_from_matrix_many(
        _frame(way, rotation.rotate_many(foot_wxyz, left)) @ _frame(drawn, left).transpose(0, 2, 1))
    lower = rotation.multiply_many(upper, bent)
    for part, values in (("hip", rotation.multiply_many(rotation.conjugate_many(base), upper)), ("knee", bent),
                         ("ankle", rotation.multiply_many(rotation.conjugate_many(lower), foot_wxyz))):
        local_wxyz[:, HUMAN_JOINTS.index(f"{side}_{part}")] = values


def _frame(first: F64, second: F64) -> F64:
    """(T, 3, 3) matrices of columns: the first direction, the second without it, and what is square to both."""
    x = first / np.linalg.norm(first, axis=1, keepdims=True)
    y = second - (second * x).sum(axis=1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=2)


def arm_rotations(side: str, local_wxyz: F64, swing: F64, out: F64, turn: F64, elbow: F64) -> None:
    """Fills an arm's shoulder and elbow in `local_wxyz`: (T,) rad each, all zero hangs straight down."""
    sign = 1.0 if side == "left" else -1.0

    def about(axis: int, angle: F64) -> F64:
        vector = np.zeros((len(angle), 3))
        vector[:, axis] = angle
        return rotation.quat_from_vector_many(vector)

    hung = rotation.multiply_many(about(0, -swing), about(2, -sign * (np.pi / 2 - out)))
    local_wxyz[:, HUMAN_JOINTS.index(f"{side}_shoulder")] = rotation.multiply_many(about(1, turn), hung)
    local_wxyz[:, HUMAN_JOINTS.index(f"{side}_elbow")] = about(1, -sign * elbow)
