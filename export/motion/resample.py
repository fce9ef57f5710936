"""Motions at another rate: rotations on the sphere, places in line, steps as steps; the clock is the motion's own.

A motion of T frames at f Hz lasts (T - 1) / f; frame k of the new one is where the old one is at k / rate, so a rate
that is no whole multiple (29.876 Hz, say) shifts nothing. What would lie beyond the last frame is left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.channels import CHANNELS
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, make_human_motion

F64 = npt.NDArray[np.float64]
RATE = 50.0
"""Of a reference."""
MOST_FRAMES = 5_000_000


def grid(frames: int, fps: float, rate: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], F64]:
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
        motion.name, rate, _turns(motion.local_wxyz, low, high, s),
        _linear(motion.pelvis_m, low, high, s), motion.skeleton, hand_states=None if hands is None else hands[low],
        has_place=motion.has_place, notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))


def robot_at(motion: RobotMotion, rate: float = RATE) -> RobotMotion:
    """A robot's motion at a rate; itself where it has it already. Channels of rotations keep their unit length."""
    if motion.fps == rate:
        return motion
    low, high, s = grid(motion.frames, motion.fps, rate)

    def line(values: F64 | None) -> F64 | None:
        return None if values is None else _linear(values, low, high, s)

    channels = {}
    for name, values in motion.channels.items():
        if name in CHANNELS and CHANNELS[name].stepped:
            channels[name] = values[low]
        elif name in CHANNELS and CHANNELS[name].rotations:
            channels[name] = _turns(values.reshape(len(values), -1, 4), low, high, s).reshape(len(s), -1)
        elif name == "smpl_pose":
            channels[name] = _vectors(values, low, high, s)
        else:
            channels[name] = _linear(values, low, high, s)
    return replace(
        motion, fps=rate, joint_pos=_linear(motion.joint_pos, low, high, s),
        root_pos=_linear(motion.root_pos, low, high, s),
        root_quat_wxyz=_turns(motion.root_quat_wxyz[:, None], low, high, s)[:, 0],
        channels=channels, joint_vel=line(motion.joint_vel), root_vel=line(motion.root_vel),
        root_ang_vel=line(motion.root_ang_vel),
        notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))


def _linear(values: F64, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], s: F64) -> F64:
    s = s.reshape(-1, *([1] * (values.ndim - 1)))
    return np.asarray(np.where(s == 0, values[low], values[low] + s * (values[high] - values[low])))


def _vectors(values: F64, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], s: F64) -> F64:
    """Rotation vectors by way of rotations: two vectors of nearly one rotation may be a turn apart."""
    turns = rotation.quat_from_vector_many(values.reshape(len(values), -1, 3))
    return rotation.rotation_vector_many(_turns(turns, low, high, s)).reshape(len(s), -1)


def _turns(quats: F64, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], s: F64) -> F64:
    """(T, n, 4) unit quaternions."""
    quats = rotation.continuous_many(quats)
    return rotation.slerp_many(quats[low], quats[high], np.repeat(s[:, None], quats.shape[1], axis=1))
