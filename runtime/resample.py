"""A human's motion at another rate: rotations on the sphere, places in line, states of hands as steps.

The clock is the motion's own. A motion of T frames at f Hz lasts (T - 1) / f; frame k of the new one is where the old
one is at k / rate, so a rate that is no whole multiple (29.876 Hz, say) shifts nothing. What would lie beyond the last
frame is left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, make_human_motion

F64 = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
RATE = 50.0
"""Of a reference."""
MOST_FRAMES = 5_000_000


def grid(frames: int, fps: float, rate: float) -> tuple[Places, Places, F64]:
    """For each new frame: the old ones before and after it, and how far it is from the first to the second, 0 to 1.

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
    return low, np.minimum(low + 1, frames - 1), at - low


def human_at(motion: HumanMotion, rate: float = RATE) -> HumanMotion:
    """A human's motion at a rate; itself where it has it already."""
    if motion.fps == rate:
        return motion
    low, high, s = grid(motion.frames, motion.fps, rate)
    hands = motion.hand_states
    return make_human_motion(
        motion.name, rate, turns(motion.local_wxyz, low, high, s),
        linear(motion.pelvis_m, low, high, s), motion.skeleton, hand_states=None if hands is None else hands[low],
        has_place=motion.has_place, notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))


def linear(values: F64, low: Places, high: Places, s: F64) -> F64:
    """Values (T, ...) in line between two frames each, `s` of the way."""
    s = s.reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray(np.where(s == 0, values[low], values[low] + s * (values[high] - values[low])))


def turns(quats: F64, low: Places, high: Places, s: F64) -> F64:
    """Unit quaternions (T, n, 4) on the sphere between two frames each."""
    quats = rotation.continuous_many(quats)
    return rotation.slerp_many(quats[low], quats[high], np.repeat(s[:, None], quats.shape[1], axis=1))
