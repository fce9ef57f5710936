"""A Berkeley Humanoid Lite `configs/policy_*.yaml` as a manifest.

HybridRobotics/Berkeley-Humanoid-Lite @ edc4738 `environments/mujoco.py` and its Lowlevel's `policy/rl_controller.py`:
observation command, gyro, gravity, joints minus default, joint velocities, last clipped action, unscaled, frames of
`history_length` + 1 oldest first; joints that `action_indices` leaves out get target 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.draft import Draft, find_robot, number, per_joint
from runtime.errors import Refused

NEEDED = {"policy_dt", "joints", "joint_kp", "joint_kd", "default_joint_positions", "action_indices", "action_scale",
          "action_limit_lower", "action_limit_upper", "num_observations"}
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
    what = "policy configuration"
    missing = sorted(NEEDED - set(data))
    if missing:
        raise Refused(what, expected="the keys of Berkeley Humanoid Lite's policy_*.yaml",
                      found=f"missing {', '.join(missing)}", what_to_do="give the file that belongs to the policy")
    all_joints, indices = [str(joint) for joint in data["joints"]], [int(i) for i in data["action_indices"]]
    if not all(0 <= i < len(all_joints) for i in indices) or len(set(indices)) < len(indices):
        raise Refused(f"{what}, action_indices", expected=f"different numbers below {len(all_joints)}",
                      found=f"{indices}", what_to_do="give the file that belongs to the policy")
    robot_file, robot = find_robot(robot_name, all_joints, what)

    def every(key: str) -> list[float]:
        found = data[key]
        values = [float(x) for x in found] if isinstance(found, Sequence) else [float(found)] * len(all_joints)
        if len(values) != len(all_joints):
            raise Refused(f"{what}, {key}", expected=f"{len(all_joints)} numbers, one a joint", found=f"{len(values)}",
                          what_to_do="give the file that belongs to the policy")
        return values

    kp, kd, pose = every("joint_kp"), every("joint_kd"), every("default_joint_positions")
    joints = [all_joints[i] for i in indices]
    if int(data["num_observations"]) != _FIXED + 3 * len(joints):
        raise Refused(f"{what}, num_observations", expected=f"{_FIXED + 3 * len(joints)} for {len(joints)} joints",
                      found=f"{data['num_observations']}", what_to_do="write this manifest by hand")
    rest = [i for i in range(len(all_joints)) if i not in indices]
    block: dict[str, Any] = {"terms": [{"term": term} for term in _TERMS]}
    frames = int(data.get("history_length", 0)) + 1
    if frames > 1:
        block["history"] = {"length": frames, "order": "oldest_first", "fill": "zeros"}
    content: dict[str, Any] = {
        "name": name, "source": "HybridRobotics/Berkeley-Humanoid-Lite layout, configs/policy_*.yaml",
        "kind": "velocity", "robot": robot_file, "rate_hz": number(1 / float(data["policy_dt"])), "joints": joints,
        "default_pose": per_joint([pose[i] for i in indices]),
        "gains": {"kp": per_joint([kp[i] for i in indices]), "kd": per_joint([kd[i] for i in indices])},
        "inputs": [{"blocks": [block]}],
        "action": {
            "scale": number(data["action_scale"]), "offset": "default_pose",
            "clip": [number(data["action_limit_lower"]), number(data["action_limit_upper"])], "observed": "clipped",
        },
        "command": COMMAND,
    }
    notes = ["command ranges are those of the training task, the file has none: check `command`"]
    unheld = [joint.name for joint in robot.joints if joint.name not in all_joints]
    if unheld:
        raise Refused(what, expected=f"every joint of {robot.name}", found=f"missing {', '.join(unheld)}",
                      what_to_do="choose the robot these joints are all of, with --robot")
    if rest:
        content["held"] = {all_joints[i]: {"q": 0, "kp": number(kp[i]), "kd": number(kd[i])} for i in rest}
    return Draft(content, notes)
