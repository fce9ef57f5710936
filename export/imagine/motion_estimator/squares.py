"""Squares cut out of pictures, in numpy: about a person, and about a hand with its arm pointing up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.imagine.motion_estimator.layout import BOX_MARGIN, FINDER_SIDE, HAND_AHEAD_M
from runtime.human_motion import HUMAN_JOINTS

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
MIRROR = np.diag([-1.0, 1.0, 1.0])
"""Left for right, in the rest axes and in a picture alike."""
_HANDS = tuple((HUMAN_JOINTS.index(f"{side}_wrist"), HUMAN_JOINTS.index(f"{side}_hand")) for side in ("left", "right"))


def cut(image: Image, middle: F64, axes: F64, side: int) -> F32:
    """(3, side, side), 0 to 1: the square about a middle, with two half axes.

    Args:
        middle: (2,) pixels. axes: (2, 2) columns: half the square's width and half its height, pixels.

    Between pixels by both neighbours, beyond the picture by its edge: what torch's `grid_sample` with "border" gives.
    """
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    x = middle[0] + axes[0, 0] * steps[None, :] + axes[0, 1] * steps[:, None] - 0.5
    y = middle[1] + axes[1, 0] * steps[None, :] + axes[1, 1] * steps[:, None] - 0.5
    rows, columns = image.shape[:2]
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    x0, y0 = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    a, b = (x - x0)[..., None], (y - y0)[..., None]
    upper = image[y0, x0] * (1 - a) + image[y0, x0 + 1] * a
    lower = image[y0 + 1, x0] * (1 - a) + image[y0 + 1, x0 + 1] * a
    return np.ascontiguousarray(((upper * (1 - b) + lower * b) / 255).transpose(2, 0, 1), np.float32)


def halved(image: Image) -> Image:
    """(h/2, w/2, 3): means of two by two pixels."""
    whole = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].astype(np.uint16)
    rows = whole[::2] + whole[1::2]
    return ((rows[:, ::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)


def small(image: Image) -> F32:
    """(3, 60, 80), 0 to 1: the whole picture, by means of blocks; its sides are multiples of these."""
    rows, columns = FINDER_SIDE
    h, w = image.shape[0] // rows, image.shape[1] // columns
    blocks = image.reshape(rows, h, columns, w, 3).mean(axis=(1, 3)) / 255
    return np.ascontiguousarray(blocks.transpose(2, 0, 1), np.float32)


def box_about(points: F64) -> tuple[F64, F64]:
    """Middle (..., 2) and side (...), pixels, of the square about points (..., n, 2)."""
    low, high = points.min(axis=-2), points.max(axis=-2)
    return (low + high) / 2, BOX_MARGIN * (high - low).max(axis=-1)


def hand_points(joints: F64, hand: int) -> tuple[F64, F64]:
    """Middle of a hand and its wrist, (..., 3) each, of joints (..., 24, 3); hand 0 left, 1 right."""
    wrist, end = (joints[..., joint, :] for joint in _HANDS[hand])
    way = end - wrist
    long = np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-6)
    return end + way / long * HAND_AHEAD_M, wrist


def hand_axes(middle: F64, wrist: F64, half_px: F64 | float, hand: int) -> F64:
    """(..., 2, 2) half axes of the square about a hand: the way from the wrist points up, a right hand is mirrored.

    Args:
        middle, wrist: (..., 2) pixels. half_px: (...).
    """
    way = middle - wrist
    angle = np.arctan2(way[..., 0], -way[..., 1])  # 0: points up
    c, s = half_px * np.cos(angle), half_px * np.sin(angle)
    sign = 1.0 if hand == 0 else -1.0
    return np.stack([np.stack([sign * c, -s], axis=-1), np.stack([sign * s, c], axis=-1)], axis=-2)


def hand_turn(turned: F64, axes: F64, hand: int) -> F64:
    """(..., 9) a hand's rotation out of the rest axes (..., 3, 3), in camera, as the square of (..., 2, 2) half axes
    shows it.

    What the mirror makes of a right hand is a left one: the rest axes are mirrored too.
    """
    unit = axes / np.linalg.norm(axes[..., 1], axis=-1)[..., None, None]
    into = np.zeros(turned.shape)
    into[..., :2, :2], into[..., 2, 2] = np.swapaxes(unit, -1, -2), 1.0
    return np.asarray(into @ turned @ (MIRROR if hand else np.eye(3))).reshape(*turned.shape[:-2], 9)
