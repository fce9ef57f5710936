"""Motions of any file for `check` and `show`, unchecked, so that what is wrong with them can be told."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.robot_motion import RobotMotion
from runtime import human_motion
from runtime.channels import CHANNELS, PREFIX
from runtime.clip import ALL_JOINTS, clip_names, find_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, human_motion_of
from runtime.npz_file import read_npz
from runtime.robot import JointOrder, Robot

FORMATS = "export.motion.formats"
F64 = npt.NDArray[np.float64]


def read_any(name_or_path: str, robot: Robot, source: str | None = None) -> HumanMotion | RobotMotion:
    """A file's motion, or a shipped clip's by its name.

    Args:
        source: the format, where the content leaves a choice.

    Raises:
        Refused: nothing there, unreadable, or no motion.
    """
    path = find_clip(name_or_path)
    if not path.exists():
        raise Refused("motion", expected=f"a file, or one of {', '.join(clip_names())}", found=f"nothing at {path}",
                      what_to_do="check the path")
    if source is None and path.is_file() and path.suffix == ".npz":
        motion = _npz(path)
        if motion is not None:
            return motion
    if importlib.util.find_spec(FORMATS) is None:
        raise Refused(f"motion {path.name}", expected="an npz clip of docs/clips.md, or a human's motion",
                      found="another file", what_to_do="convert it first")
    formats = importlib.import_module(FORMATS)
    options = importlib.import_module("export.motion.content").ReadOptions(robot=robot)
    read: HumanMotion | RobotMotion = formats.read_motion(path, source, options)
    return read


def _npz(path: Path) -> HumanMotion | RobotMotion | None:
    """Of the layouts of ours and of TWIST's npz form; None for others."""
    try:
        arrays = read_npz(path, f"motion {path.name}")
    except Refused as error:
        if error.found == "pickled objects":
            return None
        raise
    own = str(arrays.get("format", ""))
    if own == human_motion.FORMAT:
        return human_motion_of(path.stem, arrays)
    quat = next((key for key in ("root_quat_wxyz", "root_quat_xyzw", "root_rot") if key in arrays), None)
    joints = "joint_pos" if "format" in arrays else "dof_pos"
    if quat is None or any(key not in arrays for key in ("fps", "joint_names", joints, "root_pos")):
        return None
    return _robot_motion(path, arrays, joints, quat)


def _robot_motion(path: Path, arrays: dict[str, Any], joints: str, quat: str) -> RobotMotion:
    what = f"motion {path.name}"
    if arrays["joint_names"].dtype.kind != "U" or arrays["fps"].size != 1:
        raise Refused(what, expected="texts as `joint_names` and one `fps`",
                      found=f"{arrays['joint_names'].dtype} and {arrays['fps'].shape}", what_to_do="see docs/clips.md")
    order = JointOrder(tuple(str(name) for name in arrays["joint_names"].reshape(-1)))
    joint_pos = _real(what, arrays, joints, len(order), None)
    frames = len(joint_pos)
    fps = float(_real_one(what, arrays["fps"]))
    rotation = _real(what, arrays, quat, 4, frames)
    channels = {key.removeprefix(PREFIX): _real(what, arrays, key, CHANNELS[key.removeprefix(PREFIX)].width, frames)
                for key in arrays if key.startswith(PREFIX) and key.removeprefix(PREFIX) in CHANNELS}
    velocity = next((key for key in ("joint_vel", "dof_vel") if key in arrays), None)
    return RobotMotion(
        path.stem, fps, order, joint_pos, _real(what, arrays, "root_pos", 3, frames),
        rotation if quat == "root_quat_wxyz" else rotation[:, [3, 0, 1, 2]], channels,
        joint_vel=None if velocity is None else _real(what, arrays, velocity, len(order), frames),
        joints=str(arrays.get("joints", ALL_JOINTS)),
    )


def _real_one(what: str, value: npt.NDArray[Any]) -> float:
    if value.dtype.kind not in "fiu" or not 0 < float(value.reshape(-1)[0]) < np.inf:
        raise Refused(what, expected="`fps` above zero", found=f"{value}", what_to_do="correct `fps`")
    return float(value.reshape(-1)[0])


def _real(what: str, arrays: dict[str, Any], key: str, width: int, frames: int | None) -> F64:
    array = arrays[key]
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != width \
            or frames not in (None, len(array)):
        raise Refused(what, expected=f"`{key}` of real numbers ({frames or 'T'}, {width})",
                      found=f"{array.dtype} {array.shape}", what_to_do="export the motion again")
    with np.errstate(over="ignore"):
        out: F64 = array.astype(np.float64)
    return out
