"""A body's bones from a few numbers, and rotations from what a network says of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.imagine.motion_estimator.layout import GROUP, JOINTS, SHAPE, TURNED
from runtime.human_motion import HUMAN_JOINTS, PLAIN, Skeleton

F64 = npt.NDArray[np.float64]


def shaped(shape: F64) -> Skeleton:
    """The plain skeleton with (4,) SHAPE's groups of bones made so much longer, as logarithms."""
    factors = dict(zip(SHAPE, np.exp(shape), strict=True))
    by: list[float] = [factors[GROUP.get(name.partition("_")[2], "trunk")] for name in HUMAN_JOINTS]
    return Skeleton(PLAIN.offsets_m * np.array(by)[:, None], "the plain skeleton, stretched")


def rotations(turns: F64) -> F64:
    """(..., 6) first and second column, of any length and angle, to rotations (..., 3, 3).

    Zhou et al. 2019, "On the continuity of rotation representations in neural networks", section 4.2.
    """
    x: F64 = turns[..., :3] / np.maximum(np.linalg.norm(turns[..., :3], axis=-1, keepdims=True), 1e-9)
    y = turns[..., 3:] - (turns[..., 3:] * x).sum(axis=-1, keepdims=True) * x
    y = y / np.maximum(np.linalg.norm(y, axis=-1, keepdims=True), 1e-9)
    return np.asarray(np.stack([x, y, np.cross(x, y)], axis=-1))


def local_rotations(turns: F64) -> F64:
    """(24, 3, 3) of every joint of (22, 6) told ones; hands are as their wrists."""
    out = np.broadcast_to(np.eye(3), (JOINTS, 3, 3)).copy()
    out[:TURNED] = rotations(turns)
    return np.asarray(out)


def nearest_rotations(means: F64) -> F64:
    """(..., 3, 3) the rotations nearest to any matrices, such as means of rotations."""
    u, _, vt = np.linalg.svd(means)
    sign = np.ones(u.shape[:-1])
    sign[..., 2] = np.linalg.det(u @ vt)
    return np.asarray((u * sign[..., None, :]) @ vt)
