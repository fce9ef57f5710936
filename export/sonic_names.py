"""SONIC's observation names in our words: one name is one or two terms of a manifest.

Names, lengths and joint picks: NVlabs/GR00T-WholeBodyControl @ 1983e88, `g1_deploy_onnx_ref.cpp` L1704-1795 and
`policy_parameters.hpp`; the Python-side names of `observation_config_sonic_release.yaml`: its pull request 232.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from runtime.errors import Refused

Terms = list[dict[str, Any]]

JOINTS = tuple(f"{name}_joint" for name in (
    "left_hip_pitch", "right_hip_pitch", "waist_yaw", "left_hip_roll", "right_hip_roll", "waist_roll", "left_hip_yaw",
    "right_hip_yaw", "waist_pitch", "left_knee", "right_knee", "left_shoulder_pitch", "right_shoulder_pitch",
    "left_ankle_pitch", "right_ankle_pitch", "left_shoulder_roll", "right_shoulder_roll", "left_ankle_roll",
    "right_ankle_roll", "left_shoulder_yaw", "right_shoulder_yaw", "left_elbow", "right_elbow", "left_wrist_roll",
    "right_wrist_roll", "left_wrist_pitch", "right_wrist_pitch", "left_wrist_yaw", "right_wrist_yaw",
))
"""The policy's order (IsaacLab's)."""
LOWER_BODY = tuple(f"{side}_{name}_joint" for side in ("left", "right") for name in (
    "hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll",
))
"""Motor order on purpose, unlike everything else over joints."""
WRISTS = JOINTS[23:]
UPPER_BODY = tuple(name for name in JOINTS if name not in LOWER_BODY)
LOWER_SMPL_JOINTS = [0, 1, 2, 4, 5, 7, 8, 10, 11]
ELBOWS_AND_WRISTS = [17, 18, 19, 20]

STAGE, TOKEN, CHANNEL = "encoder", "encoded_tokens", "token"
TOKEN_SIZE = 64
_WINDOW = re.compile(r"_(\d+)frame_step(\d+)$")


def _joints(term: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"term": term, "joints": list(names)} if names else {"term": term, "override": list(UPPER_BODY)}


def _channel(name: str, parts: list[int] | None = None) -> dict[str, Any]:
    return {"term": "ref_channel", "channel": name, **({"parts": parts, "part_size": 3} if parts else {})}


def _anchor(left: str, of: str) -> dict[str, Any]:
    return {"term": "ref_anchor_6d", "left": left, "of": of}


# Per name without its window: the term, and numbers a frame.
_LOOKING_AHEAD: dict[str, tuple[dict[str, Any], int]] = {
    "motion_joint_positions": (_joints("sonic_joint_pos"), 29),
    "motion_joint_velocities": (_joints("sonic_joint_vel"), 29),
    "motion_joint_positions_lowerbody": (_joints("ref_joint_pos", LOWER_BODY), 12),
    "motion_joint_velocities_lowerbody": (_joints("ref_joint_vel", LOWER_BODY), 12),
    "motion_joint_positions_wrists": (_joints("ref_joint_pos", WRISTS), 6),
    "motion_joint_velocities_wrists": (_joints("ref_joint_vel", WRISTS), 6),
    "motion_anchor_orientation": (_anchor("base", "root"), 6),
    "motion_anchor_orientation_heading": (_anchor("heading", "root"), 6),
    "motion_anchor_orientation_refheading": (_anchor("refheading", "root"), 6),
    "motion_root_z_position": ({"term": "ref_root_height"}, 1),
    "smpl_joints": (_channel("smpl_joints"), 72),
    "smpl_joints_lower": (_channel("smpl_joints", LOWER_SMPL_JOINTS), 27),
    "smpl_pose": (_channel("smpl_pose"), 63),
    "smpl_elbow_wrist_poses": (_channel("smpl_pose", ELBOWS_AND_WRISTS), 12),
    "smpl_anchor_orientation": (_anchor("base", "smpl"), 6),
    "smpl_anchor_orientation_heading": (_anchor("heading", "smpl"), 6),
    "smpl_anchor_orientation_refheading": (_anchor("refheading", "smpl"), 6),
    "smpl_root_z": ({"term": "ref_root_height"}, 1),
    "vr_3point_local_target": (_channel("vr_position"), 9),
    "vr_3point_local_target_compliant": (_channel("vr_position"), 9),
    "vr_3point_local_orn_target": (_channel("vr_orientation"), 12),
    "vr_3point_compliance": (_channel("vr_compliance"), 3),
    "vr_5point_local_target": (_channel("vr5_position"), 15),
    "vr_5point_local_orn_target": (_channel("vr5_orientation"), 20),
}
_LOOKING_BACK: dict[str, tuple[str, int]] = {
    "base_angular_velocity": ("base_ang_vel", 3),
    "body_joint_positions": ("joint_pos_rel", 29),
    "body_joint_velocities": ("joint_vel", 29),
    "last_actions": ("last_action", 29),
    "gravity_dir": ("projected_gravity", 3),
}
_PYTHON_SIDE: dict[str, tuple[str, ...]] = {
    "encoder_index": ("encoder_mode_4",),
    "command_multi_future_nonflat": (
        "motion_joint_positions_10frame_step5", "motion_joint_velocities_10frame_step5",
    ),
    "motion_anchor_ori_b_mf_nonflat": ("motion_anchor_orientation_10frame_step5",),
    "command_multi_future_lower_body": (
        "motion_joint_positions_lowerbody_10frame_step5", "motion_joint_velocities_lowerbody_10frame_step5",
    ),
    "motion_anchor_ori_b": ("motion_anchor_orientation",),
    "smpl_joints_multi_future_local_nonflat": ("smpl_joints_10frame_step1",),
    "smpl_root_ori_b_multi_future": ("smpl_anchor_orientation_10frame_step1",),
    "joint_pos_multi_future_wrist_for_smpl": ("motion_joint_positions_wrists_10frame_step1",),
}


def terms_of_name(name: str, *, has_encoder: bool = True) -> tuple[Terms, int]:
    """The terms of one observation, labelled with its name, and how many numbers they are.

    Args:
        name: as in an `observation_config.yaml`; any number of frames and any step.
        has_encoder: the token is an encoder's, else it comes from outside.

    Raises:
        Refused: a name nobody knows.
    """
    if name in _PYTHON_SIDE:
        parts = [terms_of_name(part) for part in _PYTHON_SIDE[name]]
        return [{**term, "label": f"{name}: {term['label']}" if len(parts) > 1 else name}
                for terms, _ in parts for term in terms], sum(size for _, size in parts)
    window = _WINDOW.search(name)
    frames, step = (int(window[1]), int(window[2])) if window else (1, 1)
    base = _WINDOW.sub("", name)
    for read in _READERS:
        found = read(base, frames, step, window is not None, has_encoder)
        if found is not None and 1 <= frames <= 1000:
            return [{**found[0], "label": name}], found[1]
    raise Refused("observation config", expected="a name of SONIC's observation registry", found=name,
                  what_to_do="see docs/sonic.md for the names; a new kind of observation needs a new term")



def _token_or_mode(base: str, frames: int, step: int, windowed: bool, has_encoder: bool) -> Any:
    if windowed:
        return None
    if base == "token_state":
        made = {"term": "stage_output", "stage": STAGE, "output": TOKEN}
        return (made if has_encoder else _channel(CHANNEL)), TOKEN_SIZE
    sizes = {"encoder_mode": 3, "encoder_mode_4": 4}
    return ({"term": "mode_id", "size": sizes[base]}, sizes[base]) if base in sizes else None


def _ahead(base: str, frames: int, step: int, windowed: bool, has_encoder: bool) -> Any:
    if base not in _LOOKING_AHEAD:
        return None
    term, size = _LOOKING_AHEAD[base]
    return {**term, "frames": [i * step for i in range(frames)]}, size * frames


def _back(base: str, frames: int, step: int, windowed: bool, has_encoder: bool) -> Any:
    plain = base.removeprefix("his_")
    if plain not in _LOOKING_BACK or (plain != base) != windowed or step != 1:
        return None
    term, size = _LOOKING_BACK[plain]
    history = {"history": {"length": frames, "order": "oldest_first", "fill": "zeros"}} if windowed else {}
    return {"term": term, **history}, size * frames


def _heading(base: str, frames: int, step: int, windowed: bool, has_encoder: bool) -> Any:
    return ({"term": "ref_heading_6d"}, 6) if base == "heading_diff_robot_ref" and not windowed else None


_READERS: tuple[Callable[[str, int, int, bool, bool], Any], ...] = (_token_or_mode, _ahead, _back, _heading)
