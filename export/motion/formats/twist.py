"""GMR's, TWIST's and TWIST2's motions: `dof_pos` with a root whose quaternion is x, y, z, w; pickled, or as npz.

Keys of amazon-far/TWIST2 `pose/utils/motion_lib_pkl.py` @ d5c7108. The pickles name no joints: theirs is MuJoCo's
order, the robot's own table.
"""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from runtime.errors import Refused
from runtime.robot import JointOrder

SUMMARY = "pkl or npz of GMR, TWIST, TWIST2: `dof_pos`, `root_pos`, `root_rot` or `root_quat_xyzw`, `fps`"


def recognise(content: Content) -> bool:
    """By its keys."""
    keys = content.keys
    return content.kind in ("pickle", "npz") and {"dof_pos", "root_pos"} <= keys and bool(
        keys & {"root_rot", "root_quat_xyzw"})


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked."""
    what, data = f"motion {content.path.name}", content.data
    joint_pos = real(what, data["dof_pos"], (None, None), "dof_pos")
    frames, order, notes = len(joint_pos), options.robot.order, [f"joints taken in {options.robot.name}'s own order"]
    if "joint_names" in data:
        order, notes = JointOrder(tuple(str(name) for name in np.asarray(data["joint_names"]).reshape(-1))), []
    if joint_pos.shape[1] != len(order):
        raise Refused(what, expected=f"{len(order)} joints", found=f"{joint_pos.shape[1]} columns of dof_pos",
                      what_to_do="choose its robot with --robot")
    key = "root_quat_xyzw" if "root_quat_xyzw" in data else "root_rot"
    quat = real(what, data[key], (frames, 4), key)[:, [3, 0, 1, 2]]
    velocity = next((name for name in ("dof_vel", "joint_vel") if name in data), None)
    return RobotMotion(
        content.path.stem, rate_of(what, options, data.get("fps")), order, joint_pos,
        real(what, data["root_pos"], (frames, 3), "root_pos"), quat, notes=tuple(notes),
        joint_vel=None if velocity is None else real(what, data[velocity], joint_pos.shape, velocity),
    )
