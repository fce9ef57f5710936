"""Which feet a clip stands on: by how high and how fast the lowest point of each sole is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.clip import Clip
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]
NEAR_M, SLOW_M_S = 0.04, 0.3
"""A sole stands when it is this near to the clip's ground and this slow: a swinging foot is faster even close to it."""


def soles(clip: Clip, robot: Robot) -> F64:
    """(T, feet, k, 3) the points each sole stands on, in world, m; no feet where the robot's file describes none."""
    frames = len(clip.joint_pos)
    out = []
    for foot in robot.feet:
        columns = clip.order.index_of(JointOrder(foot.joints))
        place, turn = clip.root_pos, clip.root_quat_wxyz
        for link, column in enumerate(columns):
            place = place + rotation.rotate_many(turn, np.broadcast_to(foot.offset_m[link], (frames, 3)))
            bend = rotation.quat_from_vector_many(clip.joint_pos[:, column, None] * foot.axis[link])
            fixed = np.broadcast_to(foot.turn_wxyz[link], (frames, 4))
            turn = rotation.multiply_many(rotation.multiply_many(turn, fixed), bend)
        points = np.broadcast_to(foot.sole_m, (frames, *foot.sole_m.shape))
        out.append(place[:, None] + rotation.rotate_many(turn[:, None], points))
    return np.stack(out, axis=1) if out else np.zeros((frames, 0, 1, 3))


def contacts(clip: Clip, robot: Robot) -> npt.NDArray[np.bool_]:
    """(T, feet) whether each foot stands; the clip's ground is its lowest sole's fifth percentile."""
    points = soles(clip, robot)
    if not points.shape[1]:
        return np.zeros(points.shape[:2], np.bool_)
    height = points[..., 2].min(axis=2)
    speed = np.linalg.norm(np.gradient(points.mean(axis=2), 1 / clip.fps, axis=0), axis=-1)
    ground = np.percentile(height.min(axis=1), 5)
    return np.asarray((height - ground < NEAR_M) & (speed < SLOW_M_S))
