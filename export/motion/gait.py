"""Walks mended on their feet: the sway of who walks, which single pictures do not show, and a way that ends elsewhere.

A camera beside a walk sees a pelvis's way across the picture well and towards it badly: a sway of four centimetres
came out as one. A robot that was told to step without it made three quarters of its way.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.motion.actor import REST_TO_WORLD, SMOOTH_S, SWAY_M, about, lowered, smoothed
from export.motion.limbs import LEG_REACH, leg_rotations, reach_height
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, Skeleton, pose_in_world
from runtime.tracking_bodies import headings

F64 = npt.NDArray[np.float64]
SIDES = ("left", "right")
ANKLES = [HUMAN_JOINTS.index(f"{side}_ankle") for side in SIDES]
SWINGS_M_S, SHORTEST_S, SHORTEST_M = 0.25, 0.2, 0.08
"""Of a swing: the foot's speed over the floor, how long it lasts at least, and how far it goes."""
SLOW_S, HEADING_S = 0.5, 0.3
"""Of Gaussians: what is slower than the one is no sway but a way; over the other a heading is averaged."""
_WORLD_TO_REST = rotation.conjugate_many(REST_TO_WORLD)


def moves(ankle: F64, fps: float) -> npt.NDArray[np.intp]:
    """(n, 2) frames in which a foot begins to move over the floor, and the first in which it no longer does."""
    speed = np.linalg.norm(np.gradient(ankle[:, :2], axis=0), axis=1) * fps
    edges = np.diff(np.concatenate([[0], speed > SWINGS_M_S, [0]]).astype(np.int8))
    return np.flatnonzero(edges).reshape(-1, 2)


def swings(ankle: F64, fps: float) -> list[tuple[int, int]]:
    """First and last frame of each swing of a foot, by its ankle (T, 3)."""
    return [(int(start), int(end) - 1) for start, end in moves(ankle, fps) if end - start >= SHORTEST_S * fps
            and np.linalg.norm(ankle[end - 1, :2] - ankle[start, :2]) >= SHORTEST_M]


def swaying(local_wxyz: F64, pelvis_m: F64, skeleton: Skeleton, fps: float) -> tuple[F64, F64]:
    """Rotations (T, 24, 4) and pelvis (T, 3) of somebody who walks, with the sway that our mannequin walks with, feet
    where they were; unchanged of who does not walk, and where a leg would not reach.
    """
    placed, turned = pose_in_world(local_wxyz, pelvis_m, skeleton.offsets_m)
    lifted = np.zeros((len(pelvis_m), 2))
    for column, joint in enumerate(ANKLES):
        for start, end in swings(placed[:, joint], fps):
            lifted[start:end + 1, column] = 1.0
    if not lifted.any():
        return local_wxyz, pelvis_m
    ahead = rotation.multiply_many(local_wxyz[:, 0], np.broadcast_to(_WORLD_TO_REST, local_wxyz[:, 0].shape))
    heading = smoothed(headings(ahead), HEADING_S * fps)
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    up = smoothed(lifted, SMOOTH_S * fps)
    wanted = SWAY_M * (up[:, 1] - up[:, 0])
    wanted -= smoothed(wanted, SLOW_S * fps)
    found = ((pelvis_m[:, :2] - smoothed(pelvis_m[:, :2], SLOW_S * fps)) * left).sum(axis=1)
    walks = np.minimum(3 * smoothed(lifted.max(axis=1), SLOW_S * fps), 1.0)
    pelvis = pelvis_m.copy()
    pelvis[:, :2] += (walks * (wanted - found))[:, None] * left
    try:
        return on_feet(local_wxyz, pelvis, skeleton, fps, placed[:, ANKLES], turned[:, ANKLES])
    except Refused:
        return local_wxyz, pelvis_m


def led(local_wxyz: F64, pelvis_m: F64, skeleton: Skeleton, fps: float, off_m: F64, turn_rad: float
        ) -> tuple[F64, F64]:
    """Rotations and pelvis of somebody whose way ends elsewhere by (3,) m, and turned: both grow along the way, of each
    foot while it swings only.

    Raises:
        Refused: a leg would not reach.
    """
    placed, turned = pose_in_world(local_wxyz, pelvis_m, skeleton.offsets_m)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(pelvis_m[:, :2], axis=0), axis=1))])
    share = along / max(float(along[-1]), 1e-6)
    local, feet, feet_wxyz = local_wxyz.copy(), placed[:, ANKLES], turned[:, ANKLES]
    local[:, 0] = rotation.multiply_many(about(2, turn_rad * share), local[:, 0])
    for column, joint in enumerate(ANKLES):
        own = _of_foot(share, swings(placed[:, joint], fps))
        feet[:, column] += own[:, None] * off_m
        feet_wxyz[:, column] = rotation.multiply_many(about(2, turn_rad * own), feet_wxyz[:, column])
    return on_feet(local, pelvis_m + share[:, None] * off_m, skeleton, fps, feet, feet_wxyz)


def _of_foot(share: F64, rows: list[tuple[int, int]]) -> F64:
    """(T,) of a foot, which changes while it swings only, from what it was in the mean to what it will be."""
    if not rows:
        return np.full(len(share), float(share.mean()))
    edges = [0, *(frame for row in rows for frame in row), len(share) - 1]
    holds = [float(share[start:end + 1].mean()) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    holds[0], holds[-1] = 0.0, 1.0
    return np.asarray(np.interp(np.arange(len(share)), edges, np.repeat(holds, 2)))


def on_feet(local_wxyz: F64, pelvis_m: F64, skeleton: Skeleton, fps: float, ankles_m: F64, feet_wxyz: F64
            ) -> tuple[F64, F64]:
    """Rotations and pelvis whose ankles are at (T, 2, 3) m and feet turned by (T, 2, 4), left and right, the pelvis
    lowered where a leg is too short.

    Raises:
        Refused: a leg would not reach from any height.
    """
    local, pelvis = local_wxyz.copy(), pelvis_m.copy()
    reach = [reach_height(skeleton, side, pelvis, local[:, 0], ankles_m[:, column], LEG_REACH)
             for column, side in enumerate(SIDES)]
    pelvis[:, 2] = np.minimum(pelvis[:, 2], lowered(np.min(reach, axis=0), SMOOTH_S * fps))
    for column, side in enumerate(SIDES):
        leg_rotations(skeleton, side, pelvis, local, ankles_m[:, column], feet_wxyz[:, column])
    return rotation.continuous_many(local), pelvis
