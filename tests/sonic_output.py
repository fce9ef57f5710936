"""SONIC's output topics by their description alone: keys, how many numbers, kinds."""

DEBUG = {
    "control_loop_type": None, "index": None, "ros_timestamp": None, "base_quat": 4, "base_ang_vel": 3,
    "body_torso_quat": 4, "body_torso_ang_vel": 3, "body_q": 29, "body_dq": 29, "left_hand_q": 7, "left_hand_dq": 7,
    "right_hand_q": 7, "right_hand_dq": 7, "last_action": 29, "last_left_hand_action": 7, "last_right_hand_action": 7,
    "token_state": 0, "motor_temperature": 58, "init_base_quat": 4, "delta_heading": None, "base_trans_target": 3,
    "base_quat_target": 4, "body_q_target": 29, "base_trans_measured": 3, "base_quat_measured": 4,
    "body_q_measured": 29, "left_hand_q_measured": 7, "right_hand_q_measured": 7, "vr_3point_position": 9,
    "vr_3point_orientation": 12, "vr_3point_compliance": 3,
}
"""Of `g1_debug`: key and how many numbers; None where it is one word or number."""
LATER = {"init_base_quat", "delta_heading"}
"""There from the moment the motion begins."""
CONFIG = {
    "model_path": str, "reference_motion_path": str, "planner_path": str, "obs_config_path": str, "encoder_file": str,
    "control_frequency": float, "planner_frequency": float, "is_using_encoder": bool, "policy_fp16": bool,
    "planner_fp16": bool,
}
