"""BeyondMimic's motions: joints and bodies in Isaac Lab's breadth-first order, w first, no names in the file.

Keys of HybridRobotics/whole_body_tracking `scripts/csv_to_npz.py` @ cd65172. holosoma's archives have the same keys and
another layout; theirs are told apart by `joint_names` and by a root among the joints.
"""

from __future__ import annotations

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from export.motion.tree_order import tree_order
from runtime.errors import Refused

SUMMARY = "npz of BeyondMimic: `joint_pos`, `body_pos_w`, `body_quat_w`, `fps`, without names (Isaac Lab's order)"
KEYS = {"joint_pos", "body_pos_w", "body_quat_w"}


def recognise(content: Content) -> bool:
    """By its keys, and that it names no joints."""
    return content.kind == "npz" and content.keys >= KEYS and not content.keys & {"joint_names", "format"}


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked; the root is the first body."""
    what, data = f"motion {content.path.name}", content.data
    order = tree_order(options.robot).joints
    joint_pos = real(what, data["joint_pos"], (None, None), "joint_pos")
    if joint_pos.shape[1] != len(order):
        raise Refused(what, expected=f"{len(order)} joints of {options.robot.name}",
                      found=f"{joint_pos.shape[1]} columns of joint_pos",
                      what_to_do="choose its robot with --robot; --from holosoma where a root is among the joints")
    frames = len(joint_pos)
    places = real(what, data["body_pos_w"], (frames, None, 3), "body_pos_w")
    turns = real(what, data["body_quat_w"], (frames, None, 4), "body_quat_w")
    given = {key: real(what, data[key], (frames, None, 3), key)[:, 0]
             for key in ("body_lin_vel_w", "body_ang_vel_w") if key in data}
    return RobotMotion(
        content.path.stem, rate_of(what, options, data.get("fps")), order, joint_pos, places[:, 0], turns[:, 0],
        joint_vel=real(what, data["joint_vel"], joint_pos.shape, "joint_vel") if "joint_vel" in data else None,
        root_vel=given.get("body_lin_vel_w"), root_ang_vel=given.get("body_ang_vel_w"),
        notes=("joints and bodies taken in Isaac Lab's breadth-first order",),
    )
