"""What the gate holds a robot to: every limit a setting of the robot's file, and which way each one loosens."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of one robot (key `limits` of its file); docs/safety.md says what each one means.

    Sources: state ages libfranka (20 ms) and moteus (100 ms); target age measured, two 50 Hz periods;
    tilt dimensionalOS/dimos#3621; over-speed 35 rad/s at the knee as NVlabs/GR00T-WholeBodyControl's guard has it, but
    on both sides (a walk that recovers from a 25 N s push was measured at 1.34 of the table's velocity); temperatures
    NVlabs/GR00T-WholeBodyControl (90, again below 85); operator's link PX4, Autoware and axol (0.5 s); battery PX4's
    three levels; gyro range 2000 deg/s of common MEMS sensors; the rest is this project's own and measured in
    simulation.
    """

    state_warn_s: float = 0.010
    state_hold_s: float = 0.040
    state_damp_s: float = 0.100
    state_loss_ratio: float = 0.05
    frozen_s: float = 0.010
    non_finite_samples: int = 3
    imu_drift_rad: float = math.radians(5)
    torso_warn_rad: float = math.radians(5)
    torso_rad: float = math.radians(15)
    imu_frozen_samples: int = 20
    gyro_max_rad_s: float = math.radians(2000)
    gyro_samples: int = 3
    motor_error_samples: int = 2
    motor_silent_s: float = 0.1
    temperature_warn_c: float = 80.0
    temperature_clear_c: float = 85.0
    temperature_high_c: float = 90.0
    temperature_max_c: float = 110.0
    torque_ratio: float = 1.2
    torque_s: float = 0.5
    encoder_jump_ratio: float = 3.0
    encoder_jumps: int = 2
    overspeed_ratio: float = 1.75
    overspeed_samples: int = 2
    flail_rad_s: float = 8.0
    flail_joints: int = 6
    flail_s: float = 0.02
    range_slack_rad: float = 0.05
    tilt_rad: float = math.radians(45)
    reference_hold_s: float = 0.096
    reference_stand_s: float = 0.296
    reference_jump_rad: float = 0.5
    bad_references: int = 3
    reference_limited_ratio: float = 0.1
    target_s: float = 0.040
    bad_targets: int = 3
    target_far_rad: float = 1.0
    target_far_s: float = 0.2
    target_rate_ratio: float = 10.0
    target_margin_rad: float = 0.0
    spring_ratio: float = math.inf
    policy_share: float = 0.75
    policy_misses: int = 2
    gate_overruns: int = 3
    pause_s: float = 0.005
    growth_mib: float = 256.0
    log_silent_s: float = 1.0
    clock_jump_s: float = 1.0
    late_ratio: float = 0.05
    battery_warn: float = 20.0
    battery_no_motion: float = 15.0
    battery_critical: float = 10.0
    operator_hold_s: float = 0.25
    operator_stand_s: float = 0.5
    estop_silent_s: float = 0.1
    remote_off_s: float = 3.0
    preflight_pose_rad: float = 0.5
    calibration_days: float = 365.0
    damp_min_s: float = 2.0


LOOSER_WHEN_SMALLER = frozenset({"battery_warn", "battery_no_motion", "battery_critical", "damp_min_s"})
"""The limits that forbid less when they are smaller; all others forbid less when they are larger."""


def loosened(limits: Limits) -> list[str]:
    """One line a limit that lets more pass than the default does; to be logged and shown at the start."""
    lines = []
    for field in fields(Limits):
        value, default = getattr(limits, field.name), field.default
        if value < default if field.name in LOOSER_WHEN_SMALLER else value > default:
            lines.append(f"limit {field.name} loosened: {value:g} instead of {default:g}")
    return lines
