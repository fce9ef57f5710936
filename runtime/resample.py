"""Rows of a motion at another rate: rotations on the sphere, places in line, steps as steps; the clock is its own.

A motion of T frames at f Hz lasts (T - 1) / f; frame k of the new one is where the old one is at k / rate, so a rate
that is no whole multiple (29.876 Hz, say) shifts nothing. What would lie beyond the last frame is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import CHANNELS
from runtime.clip import Clip, make_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, make_human_motion

F64 = npt.NDArray[np.float64]
STEPPED = frozenset(name for name, channel in CHANNELS.items() if channel.stepped)
"""What holds states: of two frames the earlier one's stands until the later."""
MOST_FRAMES = 5_000_000
RATE = 50.0
"""Of a reference."""


class Grid(NamedTuple):
    """For each new frame: the old ones before and after it, and how far it is from the first to the second, 0 to 1."""

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    s: F64


def grid(frames: int, fps: float, rate: float) -> Grid:
    """Where the frames of another rate lie.

    Raises:
        Refused: a rate out of range, or more than 5 million frames.
    """
    wanted = int(np.floor((frames - 1) / fps * rate + 1e-6)) + 1 if 1 <= rate <= 1000 else 0
    if not 0 < wanted <= MOST_FRAMES:
        raise Refused("resampling", expected=f"a rate between 1 and 1000, at most {MOST_FRAMES} frames",
                      found=f"{wanted} frames at {rate}", what_to_do="choose another rate, or cut the motion")
    at = np.minimum(np.arange(wanted) * (fps / rate), frames - 1)
    near = np.round(at)
    at = np.where(np.abs(at - near) < 1e-9 * frames, near, at)  # a frame that is there is taken as it is
    low = at.astype(np.int64)
    return Grid(low, np.minimum(low + 1, frames - 1), at - low)


def linear(values: F64, at: Grid) -> F64:
    """(T, ...) in line."""
    s = at.s.reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray(np.where(s == 0, values[at.low], values[at.low] + s * (values[at.high] - values[at.low])))


def turns(quats: F64, at: Grid) -> F64:
    """(T, n, 4) unit quaternions, on the sphere."""
    quats = rotation.continuous_many(quats)
    return rotation.slerp_many(quats[at.low], quats[at.high], np.repeat(at.s[:, None], quats.shape[1], axis=1))


def vectors(values: F64, at: Grid) -> F64:
    """Rotation vectors by way of rotations: two vectors of nearly one rotation may be a turn apart."""
    quats = rotation.quat_from_vector_many(values.reshape(len(values), -1, 3))
    return rotation.rotation_vector_many(turns(quats, at)).reshape(len(at.s), -1)


def channel_at(name: str, values: F64, at: Grid) -> F64:
    """(T, width) of a channel, as what it is; one that nobody knows in line."""
    if name in STEPPED:
        return values[at.low]
    channel = CHANNELS.get(name)
    if channel is not None and channel.rotations:
        return turns(values.reshape(len(values), -1, 4), at).reshape(len(at.s), -1)
    if channel is not None and channel.vectors:
        return vectors(values, at)
    return linear(values, at)


def at_rate(clip: Clip, rate_hz: float) -> Clip:
    """A clip at a rate; itself where it has it already."""
    if clip.fps == rate_hz:
        return clip
    at = grid(len(clip.joint_pos), clip.fps, rate_hz)
    channels = {name: channel_at(name, values, at) for name, values in clip.channels.items()}
    return make_clip(clip.name, rate_hz, clip.order, linear(clip.joint_pos, at), linear(clip.root_pos, at),
                     turns(clip.root_quat_wxyz[:, None], at)[:, 0], channels, joints=clip.joints)


def human_at(motion: HumanMotion, rate: float = RATE) -> HumanMotion:
    """A human's motion at a rate; itself where it has it already."""
    if motion.fps == rate:
        return motion
    at = grid(motion.frames, motion.fps, rate)
    hands = motion.hand_states
    return make_human_motion(
        motion.name, rate, turns(motion.local_wxyz, at), linear(motion.pelvis_m, at), motion.skeleton,
        hand_states=None if hands is None else hands[at.low], has_place=motion.has_place,
        notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))
