"""Files as publishers ship them beside a policy, with figures of our own."""

from __future__ import annotations

ISAAC_OF_MOTOR = (
    0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 22, 4, 10, 16, 23, 5, 11, 17, 24, 18, 25, 19, 26, 20, 27, 21, 28,
)
"""`joint_ids_map` of a 29-joint G1: policy index -> motor index."""


def row(values: object) -> str:
    """A YAML list."""
    return f"[{', '.join(str(value) for value in values)}]"  # type: ignore[attr-defined]


def deploy_yaml(*, switches: str = "", history: int = 5, extra: str = "", joint_ids: str | None = None) -> str:
    """unitree_rl_lab's layout for a velocity policy: pose, scale and offset by policy, gains by motor."""
    pose = [round(0.01 * k, 3) for k in range(29)]
    slice_tag = "!!python/object/apply:builtins.slice\n    - null\n    - null\n    - null"

    def term(name: str, size: int, scale: float) -> str:
        return (f"  {name}:\n    params: {{}}\n    clip: null\n    scale: {row([scale] * size)}\n"
                f"    history_length: {history}\n")

    return f"""joint_ids_map: {row(ISAAC_OF_MOTOR)}
step_dt: 0.02
stiffness: {row(100.0 + k for k in range(29))}
damping: {row(1.0 + 0.1 * k for k in range(29))}
default_joint_pos: {row(pose)}
commands:
  base_velocity:
    ranges:
      lin_vel_x: [-0.5, 1.0]
      lin_vel_y: [-0.3, 0.3]
      ang_vel_z: [-0.2, 0.2]
      heading: null
actions:
  JointPositionAction:
    clip: null
    joint_names: [.*]
    scale: {row([0.25] * 29)}
    offset: {row(pose)}
    joint_ids: {joint_ids or slice_tag}
observations:
{switches}{term("base_ang_vel", 3, 0.2)}{term("projected_gravity", 3, 1.0)}{term("velocity_commands", 3, 1.0)}\
{term("joint_pos_rel", 29, 1.0)}{term("joint_vel_rel", 29, 0.05)}{term("last_action", 29, 1.0)}{extra}"""


def berkeley_yaml(joints: tuple[str, ...], indices: list[int], *, policy_dt: float = 0.04, history: int = 0) -> str:
    """Berkeley Humanoid Lite's layout: 10 and 20 N m/rad, bent legs, some of the joints driven."""
    bend = {"hip_pitch": -0.2, "knee_pitch": 0.4, "ankle_pitch": -0.2}
    pose = [next((angle for part, angle in bend.items() if part in name), 0.0) for name in joints]
    return "\n".join([
        'policy_checkpoint_path: "checkpoints/policy.onnx"', "control_dt: 0.004", f"policy_dt: {policy_dt}",
        "physics_dt: 0.0005", f"num_joints: {len(joints)}", f"joints: {row(joints)}",
        f"joint_kp: {row(10.0 if name.startswith('arm') else 20.0 for name in joints)}",
        f"joint_kd: {row(2.0 for _ in joints)}", f"effort_limits: {row(6.0 for _ in joints)}",
        f"default_joint_positions: {row(pose)}", f"num_observations: {9 + 3 * len(indices)}",
        f"history_length: {history}", f"num_actions: {len(indices)}", "action_scale: 0.25",
        f"action_indices: {row(indices)}", "action_limit_lower: -10000", "action_limit_upper: 10000", "",
    ])
