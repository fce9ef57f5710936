"""SONIC's reference folders: CSV files with a header row, 50 Hz, Isaac Lab's order, quaternions w first.

Layout: NVlabs/GR00T-WholeBodyControl `docs/source/references/motion_reference.md` @ 1983e88. The root is the first
group of columns of the body files. Files that a human's motion brings are `smpl_joint.csv` and `smpl_pose.csv`; its
root stands in `smpl_quat.csv`, which is ours, else the robot's root stands for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.motion.content import Content, ReadOptions, rate_of, read_table
from export.motion.robot_motion import RobotMotion
from export.motion.tree_order import tree_order
from runtime.clip import ALL_JOINTS, WRISTS
from runtime.errors import Refused

SUMMARY = "folder of SONIC: joint_pos.csv, joint_vel.csv, body_pos.csv, body_quat.csv, metadata.txt"
FPS = 50.0
INFO, METADATA = "info.txt", "metadata.txt"
_NEEDED = ("joint_pos.csv", "body_quat.csv")
F64 = npt.NDArray[np.float64]


def recognise(content: Content) -> bool:
    """By its files."""
    return content.kind == "folder" and set(_NEEDED) <= content.keys


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked."""
    what, files = f"motion {content.path.name}", content.data
    order = tree_order(options.robot).joints
    joint_pos = _table(what, files["joint_pos.csv"], len(order), None)
    frames, notes = len(joint_pos), []
    _check_root(what, files.get(METADATA))
    quats = _table(what, files["body_quat.csv"], 4, frames)
    places = _table(what, files["body_pos.csv"], 3, frames) if "body_pos.csv" in files else np.zeros((frames, 3))
    if not places.any():
        notes.append("its body_pos is all zeros: where the root is, is not known")
    channels = {}
    for file, name, width in (("smpl_joint.csv", "smpl_joints", 72), ("smpl_pose.csv", "smpl_pose", 63),
                              ("smpl_quat.csv", "smpl_quat_wxyz", 4)):
        if file in files:
            channels[name] = _table(what, files[file], width, frames)
    if "smpl_joints" in channels and "smpl_quat_wxyz" not in channels:
        channels["smpl_quat_wxyz"] = quats[:, :4]
        notes.append("the human's root is taken from body_quat")
    optional = {key: _table(what, files[file], width, frames)[:, :width] for key, file, width in (
        ("joint_vel", "joint_vel.csv", len(order)), ("root_vel", "body_lin_vel.csv", 3),
        ("root_ang_vel", "body_ang_vel.csv", 3)) if file in files}
    return RobotMotion(
        content.path.name, rate_of(what, options, None, FPS), order, joint_pos, places[:, :3], quats[:, :4], channels,
        joints=_joints(files.get(INFO)), notes=tuple(notes), **optional,
    )


def _check_root(what: str, metadata: Path | None) -> None:
    """The list of bodies, where there is one, begins with the root."""
    text = "" if metadata is None else metadata.read_text("utf-8", errors="replace")
    listed = text.partition("Body part indexes:")[2].partition("[")[2].partition("]")[0].replace(",", " ").split()
    if listed and listed[0] != "0":
        raise Refused(f"{what}, {METADATA}", expected="body 0, the root, first", found=f"body {listed[0][:20]}",
                      what_to_do="export the folder with the root as its first body")


def _joints(info: Path | None) -> str:
    text = "" if info is None else info.read_text("utf-8", errors="replace")
    return WRISTS if f"joints: {WRISTS}" in text else ALL_JOINTS


def _table(what: str, path: Path, width: int, frames: int | None) -> F64:
    """A file's numbers: a header row, groups of `width` columns, as many rows as the others."""
    table = read_table(path.name, path.read_text("utf-8-sig", errors="replace"))
    if not table.header:
        raise Refused(f"{what}, {path.name}", expected="a header row", found="numbers in the first row",
                      what_to_do="write the header: without it the first frame would be lost")
    if table.values.shape[1] % width or (width > 4 and table.values.shape[1] != width):
        raise Refused(f"{what}, {path.name}", expected=f"columns by {width}", found=f"{table.values.shape[1]}",
                      what_to_do="check that the robot is the folder's, and export it again")
    if frames not in (None, len(table.values)):
        raise Refused(f"{what}, {path.name}", expected=f"{frames} rows, as joint_pos.csv", found=f"{len(table.values)}",
                      what_to_do="export the folder again: its files do not belong together")
    return table.values
