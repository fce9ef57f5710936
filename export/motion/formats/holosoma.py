"""holosoma's motions: `joint_pos` with the root before the joints (MuJoCo's order, w first), or raw `qpos`.

amazon-far/holosoma @ fc600e7: `*_mj.npz` names joints and bodies; retargeted `qpos` (T, 36 and more) does not, and
OmniRetarget's published data put the quaternion before the position, and wrote the time of a frame under `fps`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from runtime.errors import Refused
from runtime.robot import JointOrder

SUMMARY = "npz of holosoma: `joint_pos` with root and `joint_names`; or of OmniRetarget: `qpos` of root and joints"
ROOT = 7
F64 = npt.NDArray[np.float64]


def recognise(content: Content) -> bool:
    """By its keys."""
    keys = content.keys
    return content.kind == "npz" and "format" not in keys and (
        {"joint_pos", "joint_names"} <= keys or "qpos" in keys)


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked."""
    what, data = f"motion {content.path.name}", content.data
    key = "joint_pos" if "joint_pos" in data else "qpos"
    rows = real(what, data[key], (None, None), key)
    order, notes = options.robot.order, []
    if "joint_names" in data:
        order = JointOrder(tuple(str(name) for name in np.asarray(data["joint_names"]).reshape(-1)))
    else:
        notes.append(f"joints taken in {options.robot.name}'s own order")
    if rows.shape[1] < ROOT + len(order):
        raise Refused(what, expected=f"a root (7) and {len(order)} joints", found=f"{rows.shape[1]} columns of {key}",
                      what_to_do="choose its robot with --robot, or another format with --from")
    root = rows[:, :ROOT]
    if key == "qpos" and _is_quat(root[:, :4]) and not _is_quat(root[:, 3:]):
        root = root[:, [4, 5, 6, 0, 1, 2, 3]]
        notes.append("the quaternion stood before the position")
    given = data.get("fps")
    if given is not None and np.asarray(given).size and 0 < float(np.asarray(given).reshape(-1)[0]) < 1:
        given = 1 / float(np.asarray(given).reshape(-1)[0])
        notes.append(f"`fps` held the time of a frame: {given:g} Hz")
    velocity = root_vel = None
    if key == "joint_pos" and "joint_vel" in data:
        speeds = real(what, data["joint_vel"], (len(rows), None), "joint_vel")
        if speeds.shape[1] >= 6 + len(order):
            root_vel, velocity = speeds[:, :3], speeds[:, 6 : 6 + len(order)]  # columns 3 to 5: in axes not told
    return RobotMotion(
        content.path.stem, rate_of(what, options, given), order, rows[:, ROOT : ROOT + len(order)], root[:, :3],
        root[:, 3:], joint_vel=velocity, root_vel=root_vel, notes=tuple(notes),
    )


def _is_quat(rows: F64) -> bool:
    """Whether most rows are of unit length: a few corrupt frames do not change a file's layout."""
    return float((np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2).mean()) > 0.5
