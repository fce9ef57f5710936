"""A robot's motion at another rate, by the clock of `runtime/resample.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.channels import CHANNELS
from runtime.resample import RATE, Places, grid, linear, turns

F64 = npt.NDArray[np.float64]
STEPPED = frozenset({"hand_states"})
"""Channels that hold states: of two frames the earlier one's stands until the later."""


def robot_at(motion: RobotMotion, rate: float = RATE) -> RobotMotion:
    """A robot's motion at a rate; itself where it has it already. Channels of rotations keep their unit length."""
    if motion.fps == rate:
        return motion
    low, high, s = grid(motion.frames, motion.fps, rate)

    def line(values: F64 | None) -> F64 | None:
        return None if values is None else linear(values, low, high, s)

    channels = {}
    for name, values in motion.channels.items():
        if name in STEPPED:
            channels[name] = values[low]
        elif name in CHANNELS and CHANNELS[name].rotations:
            channels[name] = turns(values.reshape(len(values), -1, 4), low, high, s).reshape(len(s), -1)
        elif name == "smpl_pose":
            channels[name] = _vectors(values, low, high, s)
        else:
            channels[name] = linear(values, low, high, s)
    return replace(
        motion, fps=rate, joint_pos=linear(motion.joint_pos, low, high, s),
        root_pos=linear(motion.root_pos, low, high, s),
        root_quat_wxyz=turns(motion.root_quat_wxyz[:, None], low, high, s)[:, 0],
        channels=channels, joint_vel=line(motion.joint_vel), root_vel=line(motion.root_vel),
        root_ang_vel=line(motion.root_ang_vel),
        notes=(*motion.notes, f"resampled from {motion.fps:g} to {rate:g} Hz"))


def _vectors(values: F64, low: Places, high: Places, s: F64) -> F64:
    """Rotation vectors by way of rotations: two vectors of nearly one rotation may be a turn apart."""
    quats = rotation.quat_from_vector_many(values.reshape(len(values), -1, 3))
    return rotation.rotation_vector_many(turns(quats, low, high, s)).reshape(len(s), -1)
