"""Motions at another rate, as `runtime/resample.py` says what each quantity is; the clock is the motion's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.motion.robot_motion import RobotMotion
from runtime.resample import RATE, channel_at, grid, linear, turns

F64 = npt.NDArray[np.float64]


def robot_at(motion: RobotMotion, rate: float = RATE) -> RobotMotion:
    """A robot's motion at a rate; itself where it has it already."""
    if motion.fps == rate:
        return motion
    at = grid(motion.frames, motion.fps, rate)

    def line(values: F64 | None) -> F64 | None:
        return None if values is None else linear(values, at)

    return replace(
        motion, fps=rate, joint_pos=linear(motion.joint_pos, at), root_pos=linear(motion.root_pos, at),
        root_quat_wxyz=turns(motion.root_quat_wxyz[:, None], at)[:, 0],
        channels={name: channel_at(name, values, at) for name, values in motion.channels.items()},
        joint_vel=line(motion.joint_vel), root_vel=line(motion.root_vel), root_ang_vel=line(motion.root_ang_vel),
        notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))
