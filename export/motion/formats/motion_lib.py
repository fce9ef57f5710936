"""SONIC's training motions (`motion_lib`): a joblib file with `root_trans_offset`, `dof` in MuJoCo's order, `root_rot`.

NVlabs/GR00T-WholeBodyControl `docs/source/references/conventions.md` @ 1983e88: unlike the folder that its deployment
reads, joints are not in Isaac Lab's order; the quaternion is w first.
"""

from __future__ import annotations

from typing import Any

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.robot_motion import RobotMotion
from runtime.errors import Refused

SUMMARY = "pkl of SONIC's motion_lib: motions with `root_trans_offset`, `dof`, `root_rot`, `fps`"
KEYS = {"root_trans_offset", "dof", "root_rot"}


def recognise(content: Content) -> bool:
    """By the keys of a motion."""
    return content.kind == "pickle" and bool(_motions(content.data))


def _motions(data: Any) -> dict[str, dict[str, Any]]:
    if isinstance(data, dict) and set(data) >= KEYS:
        return {"": data}
    return {str(name): motion for name, motion in data.items() if isinstance(motion, dict) and set(motion) >= KEYS} \
        if isinstance(data, dict) else {}


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """One motion, unchecked."""
    what, motions = f"motion {content.path.name}", _motions(content.data)
    name = options.track or (next(iter(motions)) if len(motions) == 1 else None)
    if name not in motions:
        raise Refused(what, expected="one motion", found=", ".join(sorted(motions)[:20]),
                      what_to_do="choose with --track")
    data, order = motions[name], options.robot.order
    joint_pos = real(what, data["dof"], (None, len(order)), "dof")
    frames = len(joint_pos)
    return RobotMotion(
        name or content.path.stem, rate_of(what, options, data.get("fps")), order, joint_pos,
        real(what, data["root_trans_offset"], (frames, 3), "root_trans_offset"),
        real(what, data["root_rot"], (frames, 4), "root_rot"),
        notes=(f"joints taken in {options.robot.name}'s own order",),
    )
