"""Our own clips."""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from runtime.channels import PREFIX, known_channel
from runtime.clip import ALL_JOINTS, FORMAT, WRISTS
from runtime.errors import Refused
from runtime.robot import JointOrder

SUMMARY = f"npz with `format` {FORMAT}"


def recognise(content: Content) -> bool:
    """Whether it says so."""
    return content.kind == "npz" and str(content.data.get("format")) == FORMAT


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The clip, unchecked."""
    what, data = f"clip {content.path.name}", content.data
    missing = [key for key in ("fps", "joint_names", "joint_pos", "root_pos", "root_quat_wxyz") if key not in data]
    if missing or np.asarray(data["joint_names"]).dtype.kind != "U":
        raise Refused(what, expected="fps, joint_names, joint_pos, root_pos, root_quat_wxyz",
                      found=f"no {', '.join(missing) or 'texts as joint_names'}", what_to_do="convert it again")
    names = tuple(str(name) for name in np.asarray(data["joint_names"]).reshape(-1))
    joint_pos = real(what, data["joint_pos"], (None, len(names)), "joint_pos")
    frames = len(joint_pos)
    channels = {}
    for key in data:
        if str(key).startswith(PREFIX):
            name = str(key).removeprefix(PREFIX)
            channels[name] = real(what, data[key], (frames, known_channel(name, f"{what}, {key}").width), str(key))
    joints = str(data.get("joints", ALL_JOINTS))
    if joints not in (ALL_JOINTS, WRISTS):
        raise Refused(what, expected=f"`joints` {ALL_JOINTS} or {WRISTS}", found=joints, what_to_do="convert it again")
    return RobotMotion(
        content.path.stem, rate_of(what, options, data["fps"]), JointOrder(names), joint_pos,
        real(what, data["root_pos"], (frames, 3), "root_pos"),
        real(what, data["root_quat_wxyz"], (frames, 4), "root_quat_wxyz"), channels,
        joints=joints,
    )
