"""From what is seen in each picture of a video to one motion in a level world: smooth, with feet that stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.imagine.motion_estimator.body import nearest_rotations, shaped
from export.imagine.motion_estimator.layout import HIDDEN
from export.imagine.motion_estimator.pinhole import level
from export.imagine.motion_estimator.sight import Seen
from export.motion.actor import smoothed
from export.motion.gait import swaying
from export.motion.limbs import ANKLE_M
from runtime import rotation
from runtime.human_motion import HUMAN_JOINTS, HumanMotion, make_human_motion, pose_in_world

F64 = npt.NDArray[np.float64]
SMOOTH_S = 0.06
"""Of the Gaussian over rotations."""
HAND_LASTS_S, SIGHT_LASTS_S, ALIKE_S = 1.5, 0.2, 0.4
"""How long a hand keeps a state, how long it stays in sight or out of it, and for how long pictures err alike.
Chosen on 40 videos of another seed than those that judge, as is SURELY_HIDDEN."""
SURELY_HIDDEN = 5.0
"""So many times likelier than to be seen a hand must be to count as hidden: what half a hand shows is mostly right."""
ASIDE_RAD, ALONG = 0.002, 0.05
"""How far a pelvis is wrong across the ray through it (half a pixel) and along it, both of its distance."""
STAND_M, SLIDE_M, FLOOR_M, JERKY_M = 0.02, 0.01, 0.02, 0.005
"""A foot stands if it is no higher than so above the lower one; how far it then slides in a frame and is off the
floor; and how far a pelvis is, of a frame, from where its last two frames lead. Chosen for 25 frames a second."""
STEADY_M, STEADY_S = 0.004, 0.4
"""By how much feet of a steady estimate leave the line of their neighbours in time, and over how long that is told:
hidden legs are guessed anew in each picture. Chosen on 48 videos of another seed than those that judge."""
UPRIGHT_KNEE_RAD, UPRIGHT_BACK_RAD, STILL_M_S = 0.5, 0.25, 0.25
"""Who stands: knees and back bend less, and the pelvis moves slower."""
OWN_LEAN_RAD = -0.03
"""How our mannequin stands, from its ankles to its neck: measured in its own motions."""
FEWEST_UPRIGHT = 5
"""Frames of standing without which nothing is said about a bias."""
MOST_BIAS_RAD = 0.15
"""A larger one is no bias but another posture: it is told, not taken out."""
_ANKLES = tuple(HUMAN_JOINTS.index(f"{side}_ankle") for side in ("left", "right"))
_KNEES = tuple(HUMAN_JOINTS.index(f"{side}_knee") for side in ("left", "right"))
_BACK = tuple(HUMAN_JOINTS.index(name) for name in ("spine1", "spine2", "spine3"))
_NECK = HUMAN_JOINTS.index("neck")


@dataclass(frozen=True)
class Settled:
    """A motion, and what was found on the way.

    Attributes:
        down_rad: how far down the camera looks. pitch_bias_rad: by how much who stands leaned forwards, None where
            nobody stood. is_corrected: whether that was taken out.
    """

    motion: HumanMotion
    down_rad: float
    pitch_bias_rad: float | None
    is_corrected: bool


def camera_and_body(videos: Sequence[Sequence[Seen]]) -> tuple[float, F64]:
    """How far down the camera looks and (4,) the body's shape, both the same in all of a film's pictures: medians."""
    every = [seen for video in videos for seen in video]
    return (float(np.median([seen.down_rad for seen in every])),
            np.asarray(np.median([seen.shape for seen in every], axis=0)))


def settle(name: str, fps: float, video: Sequence[Seen], down_rad: float, shape: F64) -> Settled:
    """The motion of a video's pictures; the world's x is where the camera looks, its floor is at z = 0."""
    up, skeleton = level(down_rad), shaped(shape)
    local = np.stack([seen.local for seen in video])
    local[:, 0] = up @ local[:, 0]
    doubt = _doubt(_feet(rotation.quat_from_matrix_many(local), skeleton.offsets_m), fps)
    local = nearest_rotations(smoothed(local, SMOOTH_S * fps))
    wxyz = rotation.continuous_many(rotation.quat_from_matrix_many(local))
    seen = np.stack([seen.pelvis for seen in video]) @ up.T
    bias = pitch_bias(wxyz, seen, skeleton.offsets_m, fps)
    corrected = bias is not None and abs(bias) <= MOST_BIAS_RAD
    if bias is not None and corrected:
        back = np.broadcast_to(rotation.quat_from_vector_many(np.array([-bias, 0.0, 0.0])), wxyz[:, 0].shape)
        wxyz[:, 0] = rotation.multiply_many(wxyz[:, 0], back)
    pelvis = settle_pelvis(seen, _feet(wxyz, skeleton.offsets_m), doubt)
    wxyz, pelvis = swaying(wxyz, pelvis, skeleton, fps)
    hands = likeliest_states(np.stack([seen.hands for seen in video]), fps)
    motion = make_human_motion(name, fps, wxyz, pelvis, skeleton, hand_states=hands,
                               notes=("seen by the project's own estimator, which knows only our mannequin",))
    return Settled(motion, down_rad, bias, corrected)


def likeliest_states(shares: F64, fps: float) -> npt.NDArray[np.int8]:
    """(T, 2) the likeliest course of each hand's states, of (T, 2, 4) shares in single pictures; -1 while hidden.

    Viterbi's way through a chain of states in sight and the same out of it, so that a state outlasts what hides it;
    pictures within ALIKE_S count as one.
    """
    frames, hands, _ = shares.shape
    out_of_sight = np.repeat(shares[..., HIDDEN:] / (SURELY_HIDDEN * HIDDEN), HIDDEN, axis=-1)
    seen = np.log(np.maximum(np.concatenate([shares[..., :HIDDEN], out_of_sight], axis=-1), 1e-5))
    seen /= max(ALIKE_S * fps, 1.0)
    state, sight = np.arange(2 * HIDDEN) % HIDDEN, np.arange(2 * HIDDEN) // HIDDEN
    cost = (math.log(max(HAND_LASTS_S * fps, 2.0) * (HIDDEN - 1)) * (state[:, None] != state)
            + math.log(max(SIGHT_LASTS_S * fps, 2.0)) * (sight[:, None] != sight))
    score, before = seen[0].copy(), np.zeros((frames, hands, 2 * HIDDEN), np.int8)
    for t in range(1, frames):
        ways = score[:, :, None] - cost
        before[t] = ways.argmax(axis=1)
        score = ways.max(axis=1) + seen[t]
    way = np.zeros((frames, hands), np.int64)
    way[-1] = score.argmax(axis=1)
    for t in range(frames - 1, 0, -1):
        way[t - 1] = before[t, np.arange(hands), way[t]]
    return np.where(sight[way] > 0, -1, state[way]).astype(np.int8)


def pitch_bias(wxyz: F64, pelvis: F64, offsets_m: F64, fps: float) -> float | None:
    """How far who stands still and straight leans forwards, rad, in the median; None if nobody stands.

    From the middle of the ankles to the neck, as seen along the pelvis's own left. A person who stands is in balance,
    so this line is nearly upright; a robot that is told otherwise walks off forwards.
    """
    def angle(joints: Sequence[int]) -> F64:
        return np.asarray(np.linalg.norm(rotation.rotation_vector_many(wxyz[:, list(joints)]), axis=-1))

    placed, turned = pose_in_world(wxyz, np.zeros_like(pelvis), offsets_m)
    speed = np.linalg.norm(np.gradient(smoothed(pelvis, 0.2 * fps), axis=0), axis=1) * fps
    stands = ((angle(_KNEES).max(axis=1) < UPRIGHT_KNEE_RAD) & (angle(_BACK).sum(axis=1) < UPRIGHT_BACK_RAD)
              & (speed < STILL_M_S))
    if stands.sum() < FEWEST_UPRIGHT:
        return None
    line = (placed[:, _NECK] - placed[:, _ANKLES].mean(axis=1))[stands]
    ahead = rotation.rotate_many(turned[stands, 0], np.broadcast_to([0.0, 0.0, 1.0], line.shape))
    ahead[:, 2] = 0
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-9)
    return float(np.median(np.arctan2((line * ahead).sum(axis=1), line[:, 2]))) - OWN_LEAN_RAD


def _feet(wxyz: F64, offsets_m: F64) -> F64:
    """(T, 2, 3) ankles from the pelvis."""
    return np.asarray(pose_in_world(wxyz, np.zeros((len(wxyz), 3)), offsets_m)[0][:, _ANKLES])


def _doubt(feet: F64, fps: float) -> F64:
    """(T,) by how much less than usually feet (T, 2, 3) can be trusted, from 1: the square of their unsteadiness."""
    if len(feet) < 3:
        return np.ones(len(feet))
    off = np.linalg.norm(feet[1:-1] - (feet[:-2] + feet[2:]) / 2, axis=(1, 2))
    wide = max(1, round(STEADY_S * fps))
    padded = np.pad(off, (1 + wide, 1 + wide), mode="edge")
    usual = np.lib.stride_tricks.sliding_window_view(padded, 2 * wide + 1).mean(axis=1)
    return np.asarray(np.maximum(1.0, usual / STEADY_M) ** 2)


def settle_pelvis(seen: F64, feet: F64, doubt: F64 | None = None) -> F64:
    """(T, 3) a pelvis that agrees with where it was seen, with feet that stand, and with the floor.

    Least squares over the whole video at once, the floor's height among the unknowns; a Kalman smoother with the same
    figures would give the same.

    Args:
        seen: (T, 3) in level axes, the camera at the origin. feet: (T, 2, 3) ankles from the pelvis, in the same.
        doubt: (T,) how many times as wrong as usually the feet are; None: never.

    Returns:
        The floor is at z = 0.
    """
    frames = len(seen)
    size = 3 * frames + 1
    matrix, right = np.zeros((size, size)), np.zeros(size)

    def add(columns: Sequence[int], factors: Sequence[float], value: float, sigma: float) -> None:
        row = np.array(factors) / sigma
        matrix[np.ix_(columns, columns)] += np.outer(row, row)
        right[list(columns)] += row * value / sigma

    distance = np.linalg.norm(seen, axis=1)
    for t in range(frames):
        ray = seen[t] / distance[t]
        across = (np.eye(3) - np.outer(ray, ray)) / (ASIDE_RAD * distance[t]) ** 2
        block = across + np.outer(ray, ray) / (ALONG * distance[t]) ** 2
        at = slice(3 * t, 3 * t + 3)
        matrix[at, at] += block
        right[at] += block @ seen[t]
    for t, foot, share in _standing(feet):
        worse = (1.0 if doubt is None else doubt[t]) / math.sqrt(share)
        add([3 * t + 2, size - 1], [1.0, -1.0], ANKLE_M - feet[t, foot, 2], FLOOR_M * worse)
        if t + 1 < frames:
            for axis in range(3):
                add([3 * t + axis, 3 * t + 3 + axis], [-1.0, 1.0], feet[t, foot, axis] - feet[t + 1, foot, axis],
                    SLIDE_M * worse)
    for t in range(1, frames - 1):
        for axis in range(3):
            add([3 * (t + k) + axis for k in (-1, 0, 1)], [1.0, -2.0, 1.0], 0.0, JERKY_M)
    found = np.linalg.solve(matrix, right)
    return np.asarray(found[:-1].reshape(frames, 3) - [0.0, 0.0, found[-1]])


def _standing(feet: F64) -> list[tuple[int, int, float]]:
    """(frame, foot, share): which feet stand in a frame and until the next, and how surely."""
    above = feet[..., 2] - feet[..., 2].min(axis=1, keepdims=True)
    above[:-1] = np.maximum(above[:-1], above[1:])
    share = np.exp(-((above / STAND_M) ** 2))
    return [(int(t), int(foot), float(share[t, foot])) for t, foot in zip(*np.nonzero(share > 0.02), strict=True)]
