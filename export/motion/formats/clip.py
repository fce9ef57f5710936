"""Our own clips."""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from runtime.channels import CHANNELS, PREFIX
from runtime.clip import ALL_JOINTS, FORMAT
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
        name = str(key).removeprefix(PREFIX)
        if str(key).startswith(PREFIX) and name in CHANNELS:
            channels[name] = real(what, data[key], (frames, CHANNELS[name].width), str(key))
    return RobotMotion(
        content.path.stem, rate_of(what, options, data["fps"]), JointOrder(names), joint_pos,
        real(what, data["root_pos"], (frames, 3), "root_pos"),
        real(what, data["root_quat_wxyz"], (frames, 4), "root_quat_wxyz"), channels,
        joints=str(data.get("joints", ALL_JOINTS)),
    )
