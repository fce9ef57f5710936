"""A Berkeley Humanoid Lite `configs/policy_*.yaml` as a manifest.

HybridRobotics/Berkeley-Humanoid-Lite @ edc4738 `environments/mujoco.py` and its Lowlevel's `policy/rl_controller.py`:
observation command, gyro, gravity, joints minus default, joint velocities, last clipped action, unscaled, frames of
`history_length` + 1 oldest first; joints that `action_indices` leaves out get target 0.
"""

from __future__ import annotations

from typing import Any

from export.draft import Draft, find_robot, number, per_joint
from export.published import Published
from runtime.errors import Refused

NEEDED = {"policy_dt", "joints", "joint_kp", "joint_kd", "default_joint_positions", "action_indices", "action_scale"}
COMMAND = {"vx": [-1, 1], "vy": [-0.5, 0.5], "yaw_rate": [-1.5, 1.5]}
"""Ranges of its velocity training tasks (`tasks/locomotion/velocity/config/biped/env_cfg.py`)."""
_TERMS = ("velocity_command", "base_ang_vel", "projected_gravity", "joint_pos_rel", "joint_vel", "last_action")
_FIXED = 9
"""Numbers of an observation that are not one a joint; the others come three times a joint."""


def is_berkeley_yaml(data: dict[str, Any]) -> bool:
    """Whether this is a policy configuration of that robot."""
    return {"policy_dt", "action_indices", "joint_kp"} <= set(data)


def draft_from(data: dict[str, Any], name: str, robot_name: str | None) -> Draft:
    """A manifest from the file's content.

    Raises:
        Refused: keys that are missing or have other sizes, joints of no known robot, an observation of another size.
    """
    file = Published("policy configuration")
    missing = sorted(NEEDED - set(data))
    if missing:
        raise file.refuse("top level", "the keys of Berkeley Humanoid Lite's policy_*.yaml",
                          f"missing {', '.join(missing)}")
    if not isinstance(data["joints"], list) or not data["joints"]:
        raise file.refuse("joints", "a list of names", data["joints"])
    all_joints = [str(joint) for joint in data["joints"]]
    indices = file.indices("action_indices", data["action_indices"], f"numbers below {len(all_joints)}")
    if max(indices) >= len(all_joints):
        raise file.refuse("action_indices", f"different numbers below {len(all_joints)}", indices)
    robot_file, robot = find_robot(robot_name, all_joints, file.what)
    kp, kd, pose = (file.numbers(key, data[key], len(all_joints))
                    for key in ("joint_kp", "joint_kd", "default_joint_positions"))
    joints = [all_joints[i] for i in indices]
    size = _FIXED + 3 * len(joints)
    if file.whole("num_observations", data.get("num_observations", size)) != size:
        raise file.refuse("num_observations", f"{size} for {len(joints)} joints", data["num_observations"])
    period_s = file.number("policy_dt", data["policy_dt"])
    if not 0.001 <= period_s <= 1:
        raise file.refuse("policy_dt", "seconds from 0.001 to 1", data["policy_dt"])
    scale = file.numbers("action_scale", data["action_scale"], len(joints))
    clip = file.bounds("action limits", [data.get("action_limit_lower", -10000), data.get("action_limit_upper", 10000)])
    rest = [i for i in range(len(all_joints)) if i not in indices]
    block: dict[str, Any] = {"terms": [{"term": term} for term in _TERMS]}
    frames = file.whole("history_length", data.get("history_length") or 0) + 1
    if frames > 1:
        block["history"] = {"length": frames, "order": "oldest_first", "fill": "zeros"}
    content: dict[str, Any] = {
        "name": name, "source": "HybridRobotics/Berkeley-Humanoid-Lite layout, configs/policy_*.yaml",
        "kind": "velocity", "robot": robot_file, "rate_hz": number(1 / period_s), "joints": joints,
        "default_pose": per_joint([pose[i] for i in indices]),
        "gains": {"kp": per_joint([kp[i] for i in indices]), "kd": per_joint([kd[i] for i in indices])},
        "inputs": [{"blocks": [block]}],
        "action": {
            "scale": per_joint(scale), "offset": "default_pose", "clip": [number(bound) for bound in clip or ()],
            "observed": "clipped",
        },
        "command": COMMAND,
    }
    notes = ["command ranges are those of the training task, the file has none: check `command`"]
    unheld = [joint.name for joint in robot.joints if joint.name not in all_joints]
    if unheld:
        raise Refused(file.what, expected=f"every joint of {robot.name}", found=f"missing {', '.join(unheld)}",
                      what_to_do="choose the robot these joints are all of, with --robot")
    if rest:
        content["held"] = {all_joints[i]: {"q": 0, "kp": number(kp[i]), "kd": number(kd[i])} for i in rest}
    return Draft(content, notes)
