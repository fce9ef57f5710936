"""Where a motion meets its scene: who walks up to a thing ends before it, and the hand that acts comes to it.

An estimate is off by a hand's breadth, which misses what stands in the scene; places in the scene are known. So the way
is led to where the action ends, and the arm to where its thing is, both measured on the robot that is to do it. What is
farther off than an estimate usually is was meant otherwise, or seen wrongly: it stays as it is, and is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.evaluation.reference import length_ratio, palm_path
from export.evaluation.trial import reference_bodies
from export.imagine.acting import STOP_M, before
from export.imagine.actions import Action
from export.imagine.body import AT, SIDES, Body, body_of
from export.imagine.measures import acting
from export.imagine.signs import acting_hands
from export.motion import gait
from export.motion.actor import eased, smoothed
from export.motion.retarget import retarget
from firmware_bridge.scene import Scene, Thing
from runtime import rotation
from runtime.clip import Clip
from runtime.errors import Refused
from runtime.human_motion import HUMAN_PARENTS, HumanMotion
from runtime.robot import Robot
from runtime.tracking_bodies import WRISTS, headings

F64 = npt.NDArray[np.float64]
MOST_WAY, LEAST_WAY_M = 0.15, 0.15
"""A walk's end is led by so much of its way at most, or so far where it is short."""
MOST_TURN_RAD = 0.35
"""Of its heading at the end: less than half of what the report refuses."""
MOST_HAND_M = 0.2
"""In the median over the frames in which it acts; our own estimator's hands are off by as much towards the camera."""
FARTHEST_M = 0.3
"""Of a single frame."""
NEAR_M, PASSES = 0.01, 3
"""Near enough, and how often a hand is led: what a human's arm does the robot's does in part only."""
SMOOTH_S = 0.06
"""Of the Gaussian over what hands are moved by, as over an estimate's rotations."""
PALM_M = 0.04
"""From the middle of the robot's palm down to what it rubs."""
EDGE_M = 0.05
"""So far within the edges of a thing a hand meets it."""
_ARMS = tuple(tuple(AT[f"{side}_{part}"] for part in ("shoulder", "elbow", "hand")) for side in SIDES)
_STRETCHED, _BENT_M = 0.99, 0.05
"""Of an arm's length, and from the shoulder: a hand is neither farther nor nearer."""


@dataclass(frozen=True)
class Spot:
    """Where the robot stands before an action: m in the scene, rad about +z."""

    x: float = 0.0
    y: float = 0.0
    heading: float = 0.0


@dataclass(frozen=True)
class Grounded:
    """A motion that meets its scene, where it ends, and what was moved, in words."""

    motion: HumanMotion
    end: Spot
    notes: tuple[str, ...]


def ground(motion: HumanMotion, step: Action, scene: Scene, start: Spot, robot: Robot) -> Grounded:
    """One action's motion, led to its thing.

    Args:
        scene: in the robot's lengths. start: where the action before has ended.

    Raises:
        Refused: a motion that cannot be retargeted.
    """
    thing = next((thing for thing in scene.things if thing.name == step.object), None)
    clip, notes, given = _clip_of(motion, robot), [], motion
    if thing is not None and step.verb == "walk to":
        motion, note = _led(motion, clip, thing, start)
        clip, notes = clip if motion is given else _clip_of(motion, robot), [note]
    if thing is not None and step.verb in _MISSED:
        for k in range(PASSES):
            off = _MISSED[step.verb](_Hands(clip, step, start, body_of(motion)), thing)
            far = float(np.median(np.linalg.norm(off, axis=1)))
            if k == 0:
                notes.append(f"hands {_said(np.median(off, axis=0))} off the {thing.name}: " + (
                    "left as they are, too far" if far > MOST_HAND_M else "led to it"))
            if not NEAR_M < far <= MOST_HAND_M:
                break
            motion = _reaching(motion, step, _turned(off, _yaw(clip) - start.heading) / length_ratio(), clip.fps)
            clip = _clip_of(motion, robot)
    place, yaw = _in_scene(clip.root_pos[-1:], clip, start)[0], float(headings(clip.root_quat_wxyz)[-1])
    return Grounded(motion, Spot(float(place[0]), float(place[1]), start.heading + yaw - _yaw(clip)), tuple(notes))


def _clip_of(motion: HumanMotion, robot: Robot) -> Clip:
    return retarget(motion, robot)[0]


def _yaw(clip: Clip) -> float:
    """The heading that a clip begins with."""
    return float(headings(clip.root_quat_wxyz[:1])[0])


def _turned(points: F64, angle: float) -> F64:
    """Points (..., 3) about +z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))


def _in_scene(points: F64, clip: Clip, start: Spot) -> F64:
    """Points (..., 3) of a clip's world in the scene, where the clip begins at `start`."""
    first = np.array([*clip.root_pos[0, :2], 0.0])
    out: F64 = _turned(points - first, start.heading - _yaw(clip)) + np.array([start.x, start.y, 0.0])
    return out


def _said(off: F64) -> str:
    return f"{np.linalg.norm(off[:2]):.2f} m aside and {off[2]:+.2f} m up"


def _led(motion: HumanMotion, clip: Clip, thing: Thing, start: Spot) -> tuple[HumanMotion, str]:
    """A walk whose end is before the thing and faces it; what is missing is spread over its way."""
    way = _in_scene(clip.root_pos, clip, start)
    goal = np.array(before((start.x, start.y), thing, STOP_M * length_ratio()))
    off = goal - way[-1, :2]
    turn = rotation.wrapped(float(np.arctan2(thing.position_m[1] - goal[1], thing.position_m[0] - goal[0]))
                            - (start.heading + float(headings(clip.root_quat_wxyz)[-1]) - _yaw(clip)))
    far = float(np.linalg.norm(goal - [start.x, start.y]))
    what = f"walk ends {np.linalg.norm(off):.2f} m and {np.degrees(turn):+.0f} deg off the {thing.name}"
    if np.linalg.norm(off) > max(LEAST_WAY_M, MOST_WAY * far) or abs(turn) > MOST_TURN_RAD:
        return motion, f"{what}: left as it is, too far"
    away = _turned(np.array([*off, 0.0]), _yaw(clip) - start.heading) / length_ratio()
    try:
        local, pelvis = gait.led(motion.local_wxyz, motion.pelvis_m, motion.skeleton, motion.fps, away, turn)
    except Refused:
        return motion, f"{what}: left as it is, legs would not reach"
    return replace(motion, pelvis_m=pelvis, local_wxyz=local), f"{what}: led there"


class _Hands:
    """The palms of an action's hands in the scene, (T, 3) each, and the frames in which all of them act."""

    def __init__(self, clip: Clip, step: Action, start: Spot, body: Body) -> None:
        bodies, hands = reference_bodies(clip), list(acting_hands(step))
        self.palms = [_in_scene(palm_path(bodies, WRISTS[hand]), clip, start) for hand in hands]
        self.frames = np.flatnonzero(acting(body, step)[:, hands].all(axis=1))
        if not len(self.frames):
            self.frames = np.array([len(bodies) // 2])

    def always(self, off: F64) -> F64:
        """(T, 3) of the same (3,)."""
        return np.broadcast_to(off, self.palms[0].shape)


def _missed_side(hands: _Hands, thing: Thing) -> F64:
    """From where the palm comes nearest, seen from above, to the thing's middle, where it has a side."""
    palm, place = hands.palms[0][hands.frames], np.array(thing.position_m)
    at = palm[np.argmin(np.linalg.norm(palm[:, :2] - place[:2], axis=1))]
    half = max(thing.size_m[-1] / 2 - EDGE_M, 0.0)
    return hands.always(np.array([*(place - at)[:2], np.clip(at[2], place[2] - half, place[2] + half) - at[2]]))


def _missed_top(hands: _Hands, thing: Thing) -> F64:
    """From the palm to over the thing and down to its top, in each frame: who wipes stays on it."""
    away = _turned(hands.palms[0] - np.array(thing.position_m), -thing.yaw_rad)
    half = np.maximum(np.array([thing.size_m[0], thing.size_m[-2 if len(thing.size_m) > 1 else 0]]) / 2 - EDGE_M, 0.0)
    inside = np.column_stack([np.clip(away[:, :2], -half, half),
                              np.full(len(away), thing.size_m[-1] / 2 + PALM_M)])
    off, every = _turned(inside - away, thing.yaw_rad), np.arange(len(away))
    off = np.stack([np.interp(every, hands.frames, off[hands.frames, axis]) for axis in range(3)], axis=1)
    far = np.linalg.norm(off, axis=1, keepdims=True)
    return np.asarray(off * np.minimum(1.0, FARTHEST_M / np.maximum(far, 1e-9)))


def _missed_middle(hands: _Hands, thing: Thing) -> F64:
    """From between both palms, while they close, to the thing's middle."""
    frame = hands.frames[len(hands.frames) // 2]
    return hands.always(np.array(thing.position_m) - np.mean([palm[frame] for palm in hands.palms], axis=0))


_MISSED = {"sweep": _missed_side, "wipe": _missed_top, "lift": _missed_middle}
"""By verb: how far its hands are off the thing, (T, 3) m in the scene."""


def _reaching(motion: HumanMotion, step: Action, by_m: F64, fps: float) -> HumanMotion:
    """The hands of an action elsewhere by (T, 3) m in the motion's world, T of `fps`, as far as they are out."""
    body = body_of(motion)
    times, grid = np.arange(motion.frames) / motion.fps, np.arange(len(by_m)) / fps
    for hand in acting_hands(step):
        out = body.hands_out[:, hand]
        share = np.clip((out - out[0]) / max(0.8 * float(out.max() - out[0]), 1e-6), 0.0, 1.0)
        way = smoothed(eased(share)[:, None] * by_m, SMOOTH_S * fps)
        motion = moved_hand(motion, hand, np.stack([np.interp(times, grid, way[:, axis]) for axis in range(3)], axis=1))
    return motion


def moved_hand(motion: HumanMotion, hand: int, by_m: F64) -> HumanMotion:
    """A motion with one hand elsewhere by (T, 3) m: the elbow bends or stretches, then the arm turns at its shoulder.

    A hand that the arm cannot bring so far goes as far as it does.
    """
    shoulder, elbow, tip = _ARMS[hand]
    joints, turns = motion.in_world()
    root, goal = joints[:, shoulder], joints[:, tip] + by_m
    upper, lower = joints[:, elbow] - root, joints[:, tip] - joints[:, elbow]
    a, b = np.linalg.norm(upper, axis=1), np.linalg.norm(lower, axis=1)
    far = np.clip(np.linalg.norm(goal - root, axis=1), np.abs(a - b) + _BENT_M, _STRETCHED * (a + b))
    bent = np.arccos(np.clip((upper * lower).sum(axis=1) / (a * b), -1, 1))
    wanted = np.arccos(np.clip((far**2 - a**2 - b**2) / (2 * a * b), -1, 1))
    at_elbow = rotation.quat_from_vector_many(_unit(np.cross(upper, lower)) * (wanted - bent)[:, None])
    way = upper + rotation.rotate_many(at_elbow, lower)
    at_shoulder = _between(way, goal - root)
    new_upper = rotation.multiply_many(at_shoulder, turns[:, shoulder])
    new_lower = rotation.multiply_many(at_shoulder, rotation.multiply_many(at_elbow, turns[:, elbow]))
    local = motion.local_wxyz.copy()
    local[:, shoulder] = rotation.multiply_many(rotation.conjugate_many(turns[:, HUMAN_PARENTS[shoulder]]), new_upper)
    local[:, elbow] = rotation.multiply_many(rotation.conjugate_many(new_upper), new_lower)
    return replace(motion, local_wxyz=rotation.continuous_many(local))


def _unit(vectors: F64) -> F64:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _between(first: F64, second: F64) -> F64:
    """(T, 4) the shortest rotations of vectors (T, 3) onto others' directions."""
    axis = np.cross(_unit(first), _unit(second))
    angle = np.arctan2(np.linalg.norm(axis, axis=1), (_unit(first) * _unit(second)).sum(axis=1))
    return rotation.quat_from_vector_many(_unit(axis) * angle[:, None])
