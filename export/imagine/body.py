"""A human's motion as numbers that failures are measured in: levelled, at one rate, in the plain skeleton's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.motion.actor import REST_TO_WORLD
from export.motion.gait import moves
from export.motion.limbs import ANKLE_M
from export.motion.retarget import GROUND_PERCENTILE
from runtime import rotation
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion
from runtime.resample import human_at
from runtime.retarget_quality import stance
from runtime.tracking_bodies import headings

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
RATE_HZ = 50.0
AT = {name: i for i, name in enumerate(HUMAN_JOINTS)}
HANDS = (AT["left_hand"], AT["right_hand"])
SHOULDERS = (AT["left_shoulder"], AT["right_shoulder"])
ANKLES = (AT["left_ankle"], AT["right_ankle"])
TOES = (AT["left_foot"], AT["right_foot"])
SIDES = ("left", "right")
STANDING_M = float(-PLAIN.at_rest()[list(ANKLES), 1].mean()) + ANKLE_M
"""Height of the plain skeleton's pelvis, legs straight."""
_WORLD_TO_REST = rotation.conjugate_many(REST_TO_WORLD)


@dataclass(frozen=True)
class Body:
    """A motion, measured.

    Attributes:
        fps: frames a second.
        joints: (T, 24, 3) m in the world, the ground at 0, as large as the plain skeleton.
        turns: (T, 24, 4) rotations out of the rest axes.
        heading: (T,) rad of the pelvis, without jumps. pitch: (T,) rad it leans forwards.
        sink_m: how much the standing feet rose (or fell) over the motion, before it was levelled.
        hands: (T, 2) states, -1 not known; None where the source has none.
    """

    fps: float
    joints: F64
    turns: F64
    heading: F64
    pitch: F64
    sink_m: float
    hands: npt.NDArray[np.int8] | None

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.joints)

    @property
    def height(self) -> F64:
        """(T,) of the pelvis, of standing."""
        return np.asarray(self.joints[:, 0, 2] / STANDING_M)

    @property
    def lean(self) -> F64:
        """(T,) rad between pelvis to neck and the vertical."""
        up = self.joints[:, AT["neck"]] - self.joints[:, 0]
        return np.asarray(np.arctan2(np.linalg.norm(up[:, :2], axis=1), up[:, 2]))

    @property
    def stands(self) -> Flags:
        """(T,) both feet slow, the pelvis up."""
        return np.asarray(stance(self.joints[:, TOES], self.fps).all(axis=1) & (self.height > 0.85))

    @property
    def hand_places(self) -> F64:
        """(T, 2, 3) m of the hands from the pelvis, x in its heading, y to its left."""
        away = self.joints[:, HANDS] - self.joints[:, :1]
        cos, sin = np.cos(self.heading)[:, None], np.sin(self.heading)[:, None]
        return np.stack([cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0],
                         away[..., 2]], axis=-1)

    @property
    def hands_out(self) -> F64:
        """(T, 2) m of the hands from their shoulders, horizontally."""
        away = self.joints[:, HANDS, :2] - self.joints[:, SHOULDERS, :2]
        return np.asarray(np.linalg.norm(away, axis=-1))

    @property
    def path_m(self) -> float:
        """Length of the pelvis's way over the floor, its sway of a step smoothed away."""
        width = round(self.fps)
        xy = np.pad(self.joints[:, 0, :2], ((width // 2, width // 2), (0, 0)), mode="edge")
        smooth = np.stack([np.convolve(xy[:, axis], np.full(width, 1 / width), "valid") for axis in (0, 1)], axis=1)
        return float(np.linalg.norm(np.diff(smooth, axis=0), axis=1).sum())

    @property
    def way_m(self) -> float:
        """Straight from the pelvis's first place to its last."""
        return float(np.linalg.norm(self.joints[-1, 0, :2] - self.joints[0, 0, :2]))


def body_of(motion: HumanMotion) -> Body:
    """Measures a motion; one without a place in the world has a pelvis that stays where it is."""
    motion = human_at(motion, RATE_HZ)
    joints, turns = motion.in_world()
    joints = joints * (PLAIN.height_m / motion.skeleton.height_m)
    lowest = joints[:, ANKLES, 2].min(axis=1)
    joints[..., 2] -= np.percentile(lowest, GROUND_PERCENTILE) - ANKLE_M
    ahead = rotation.multiply_many(turns[:, 0], np.broadcast_to(_WORLD_TO_REST, turns[:, 0].shape))
    forward = rotation.rotate_many(ahead, np.array([1.0, 0.0, 0.0]))
    return Body(RATE_HZ, joints, turns, headings(ahead), np.asarray(-np.arcsin(np.clip(forward[:, 2], -1, 1))),
                _sink(joints[:, ANKLES], RATE_HZ), motion.hand_states)


def _sink(ankles: F64, fps: float) -> float:
    """What a line through the heights of ankles (T, 2, 3) that stand rises from the first frame to the last."""
    t, side = np.nonzero(stance(ankles, fps)[1:])
    heights = ankles[1:][t, side, 2]
    low = heights < np.percentile(heights, 60) + 0.1 if len(heights) else heights > 0
    if low.sum() < 10 or np.ptp(t[low]) < 0.5 * fps:
        return 0.0
    return float(np.polyfit(t[low] / len(ankles), heights[low], 1)[0])


def swings_m(body: Body) -> list[float]:
    """Horizontal length of each swing of a foot, from where it stood to where it stands again; of 0.1 m and more."""
    out = []
    for side in (0, 1):
        ankle = body.joints[:, ANKLES[side]]
        for start, end in moves(ankle, body.fps):
            length = float(np.linalg.norm(ankle[min(end, len(ankle) - 1), :2] - ankle[max(start - 1, 0), :2]))
            if length >= 0.1:
                out.append(length)
    return out


def laid_on(body: Body, truth: Body) -> Body:
    """The motion, as long as the truth where it is longer, turned and moved so that both begin at one place."""
    frames = min(body.frames, truth.frames)
    begin = slice(0, min(frames, round(0.2 * body.fps)))
    angle = rotation.wrapped(float(np.median(truth.heading[begin]) - np.median(body.heading[begin])))
    turn = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])
    joints = rotation.rotate_many(turn, body.joints[:frames])
    joints[..., :2] += np.median(truth.joints[begin, 0, :2] - joints[begin, 0, :2], axis=0)
    turns = rotation.multiply_many(np.broadcast_to(turn, body.turns[:frames].shape), body.turns[:frames])
    hands = None if body.hands is None else body.hands[:frames]
    return Body(body.fps, joints, turns, body.heading[:frames] + angle, body.pitch[:frames], body.sink_m, hands)
