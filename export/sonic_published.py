"""What is published of SONIC, as data: layouts, modes, tables of the robot, and which files belong together.

Sources: NVlabs/GR00T-WholeBodyControl @ 1983e88 (`policy/*/observation_config.yaml`, `policy_parameters.hpp`). The
hashes are those of huggingface.co/nvidia/GEAR-SONIC @ 6733128 as several public projects pin them; no file was at hand.
"""

from __future__ import annotations

import math
from typing import Any

DECODER = (
    "token_state", "his_base_angular_velocity_10frame_step1", "his_body_joint_positions_10frame_step1",
    "his_body_joint_velocities_10frame_step1", "his_last_actions_10frame_step1", "his_gravity_dir_10frame_step1",
)
_VR = ("vr_3point_local_target", "vr_3point_local_orn_target")


def _lower(step: int) -> tuple[str, str]:
    return (f"motion_joint_positions_lowerbody_10frame_step{step}",
            f"motion_joint_velocities_lowerbody_10frame_step{step}")


def _whole(step: int) -> tuple[str, str]:
    return f"motion_joint_positions_10frame_step{step}", f"motion_joint_velocities_10frame_step{step}"


def _smpl(frames: int, left: str = "") -> tuple[str, str, str]:
    return (f"smpl_joints_{frames}frame_step1", f"smpl_anchor_orientation{left}_{frames}frame_step1",
            f"motion_joint_positions_wrists_{frames}frame_step1")


# Layout -> the encoder's observations in their order.
ENCODERS: dict[str, tuple[str, ...]] = {
    "sonic/default": (
        "encoder_mode_4", *_whole(5), "motion_root_z_position_10frame_step5", "motion_root_z_position",
        "motion_anchor_orientation", "motion_anchor_orientation_10frame_step5", *_lower(5), *_VR, *_smpl(10),
    ),
    "sonic/v1_1": (
        "encoder_mode_4", *_whole(5), "motion_anchor_orientation_heading_10frame_step5",
        "motion_anchor_orientation_heading", *_lower(5), *_VR, *_smpl(10, "_heading"),
    ),
    "sonic/low_latency": (
        "encoder_mode_4", *_whole(1), "motion_anchor_orientation_10frame_step1", "motion_anchor_orientation",
        *_lower(1), *_VR, *_smpl(4),
    ),
    "sonic/release_python_names": (
        "encoder_index", "command_multi_future_nonflat", "motion_anchor_ori_b_mf_nonflat",
        "command_multi_future_lower_body", *_VR, "motion_anchor_ori_b", "smpl_joints_multi_future_local_nonflat",
        "smpl_root_ori_b_multi_future", "joint_pos_multi_future_wrist_for_smpl",
    ),
}

# Layout -> mode -> (id, the observations that count in it).
MODES: dict[str, dict[str, tuple[int, tuple[str, ...]]]] = {
    "sonic/default": {
        "g1": (0, ("encoder_mode_4", *_whole(5), "motion_anchor_orientation_10frame_step5")),
        "teleop": (1, ("encoder_mode_4", *_lower(5), *_VR, "motion_anchor_orientation")),
        "smpl": (2, ("encoder_mode_4", *_smpl(10))),
    },
    "sonic/v1_1": {
        "g1": (0, ("encoder_mode_4", *_whole(5), "motion_anchor_orientation_heading_10frame_step5")),
        "teleop": (1, ("encoder_mode_4", *_lower(5), *_VR, "motion_anchor_orientation_heading")),
        "smpl": (2, ("encoder_mode_4", *_smpl(10, "_heading"))),
    },
    "sonic/low_latency": {
        "g1": (0, ("encoder_mode_4", *_whole(1), "motion_anchor_orientation_10frame_step1")),
        "teleop": (1, ("encoder_mode_4", *_lower(1), *_VR, "motion_anchor_orientation")),
        "smpl": (2, ("encoder_mode_4", *_smpl(4))),
    },
    "sonic/release_python_names": {
        "g1": (0, ("encoder_index", "command_multi_future_nonflat", "motion_anchor_ori_b_mf_nonflat")),
        "teleop": (1, ("encoder_index", "command_multi_future_lower_body", *_VR, "motion_anchor_ori_b")),
        "smpl": (2, ("encoder_index", "smpl_joints_multi_future_local_nonflat", "smpl_root_ori_b_multi_future",
                     "joint_pos_multi_future_wrist_for_smpl")),
    },
}

PAIRS: tuple[dict[str, str], ...] = (
    {
        "layout": "sonic/default",
        "encoder": "013ab0287236aa2721e13f1e936d699db982302d0de0bfcdae76d5c3245362d3",
        "decoder": "c7241a123eaa36b5d64bad19540efde93cac1ad443bd4572fd12ca99898118ed",
        "config": "466d05947c78af6c76388adfb86e3a2a77b2a1d921a64883ed3d085ebf58de1b",
    },
    {
        "layout": "sonic/v1_1",
        "encoder": "fb97de22819b2057b41459802128d91723d91a25f0ad73e7bfc41a9cf8365bae",
        "decoder": "34bae8570d4a4421a5391a5c2befd745d4a02d182ec539e5f9da44c091c67509",
        "config": "4a67713b310932e50aca81f19188c8d76013148e98b15c8b5bbea995f12e59f0",
    },
    {
        "layout": "sonic/low_latency",
        "encoder": "60be43157f57d812f38bdbb740a5de5d5d070e8840d9edc16f02a91a6d06255b",
        "decoder": "c4ac2e74045e7cbfb568f15e6bf47ea7ce023df7a94322af50be223e0a628bab",
        "config": "582b9a273a3d69fbf49ae59b39295a3be2b4a295e195ef4cf674b5e2571c90ab",
    },
)

_OMEGA = 2 * 3.1415926535 * 10
# Motor: armature (kg m^2), effort (N m), joints, joints with doubled gains.
_MOTORS: tuple[tuple[float, float, tuple[str, ...], tuple[str, ...]], ...] = (
    (0.025101925, 139.0, ("hip_pitch", "hip_roll", "knee"), ()),
    (0.010177520, 88.0, ("hip_yaw", "waist_yaw"), ()),
    (0.003609725, 25.0, ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll"),
     ("ankle_pitch", "ankle_roll", "waist_roll", "waist_pitch")),
    (0.00425, 5.0, ("wrist_pitch", "wrist_yaw"), ()),
)
_POSE = {"hip_pitch": -0.312, "knee": 0.669, "ankle_pitch": -0.363, "shoulder_pitch": 0.2, "elbow": 0.6}
IDLE_HEIGHT_M = 0.78874
"""The planner's default height."""


def robot_tables(joints: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Per joint by name: kp, kd, action scale and default pose (`policy_parameters.hpp`).

    Stiffness puts each motor's armature at 10 Hz, damping ratio 2; a quarter of the effort over the stiffness is the
    scale, with the stiffness before doubling.
    """
    tables: dict[str, dict[str, Any]] = {"kp": {}, "kd": {}, "scale": {}, "pose": {}}
    for joint in joints:
        part = joint.removesuffix("_joint").removeprefix("left_").removeprefix("right_")
        armature, effort, times = next(
            (armature, effort, 2 if part in doubled else 1)
            for armature, effort, single, doubled in _MOTORS if part in single or part in doubled
        )
        kp, kd = armature * _OMEGA**2, 4 * armature * _OMEGA
        pose = _POSE.get(part, 0.0)
        if part == "shoulder_roll":
            pose = math.copysign(0.2, 1 if joint.startswith("left_") else -1)
        tables["kp"][joint], tables["kd"][joint] = kp * times, kd * times
        tables["scale"][joint], tables["pose"][joint] = 0.25 * effort / kp, pose
    return tables
