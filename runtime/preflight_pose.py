"""Whether what a robot's sensors say can be true of a robot that hangs or stands: IMU, joints, motors, battery."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from firmware_bridge.motor_bus import MotorSample
from runtime.manifest import Manifest
from runtime.motor_checks import carrying_motors
from runtime.preflight import Check
from runtime.robot import Robot
from runtime.rotation import gravity_in_base

if TYPE_CHECKING:
    from runtime.preflight_robot import Watch

GRAVITY_RAD = math.radians(10)
GRAVITY_M_S2, GRAVITY_SLACK_M_S2 = 9.81, 1.0
GYRO_BIAS_RAD_S = 0.05
"""Twice what a MEMS gyro of this class drifts to; a robot that swings on its gantry is above it."""
RANGE_SLACK_RAD = 0.1
MIRROR_RAD = 0.5
REST_RAD_S = 1.0


def gravity_angle(a: Any, b: Any) -> float:
    """Angle between "down" as two orientations (w, x, y, z) have it, rad; their headings do not matter."""
    cosine = sum(x * y for x, y in zip(gravity_in_base(a), gravity_in_base(b), strict=True))
    return math.acos(min(max(cosine, -1.0), 1.0))


def check_imu(watch: Watch, robot: Robot) -> Iterator[Check]:
    """Orientation, specific force, turn rates and the torso's IMU against one another."""
    accel = watch.accel.tolist()
    size = math.sqrt(sum(x * x for x in accel))
    down = gravity_in_base(watch.sample.quat_wxyz.tolist())
    cosine = -sum(a * b for a, b in zip(accel, down, strict=True)) / max(size, 1e-9)
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    is_right = abs(size - GRAVITY_M_S2) <= GRAVITY_SLACK_M_S2 and angle <= GRAVITY_RAD
    yield Check("IMU against gravity", is_right, f"{math.degrees(angle):.1f} deg at {size:.2f} m/s^2",
                f"<= {math.degrees(GRAVITY_RAD):.0f} deg, {GRAVITY_M_S2} +- {GRAVITY_SLACK_M_S2:.0f} m/s^2",
                "let the robot hang still; else axes, units or quaternion order are not as assumed")
    bias = max(abs(x) for x in watch.gyro.tolist())
    yield Check("gyro at rest", bias <= GYRO_BIAS_RAD_S, f"{bias:.3f} rad/s", f"<= {GYRO_BIAS_RAD_S} rad/s",
                "let the robot hang still; a gyro that drifts needs the robot's own IMU calibration")
    tilt = math.acos(min(max(-down[2], -1.0), 1.0))
    yield Check("upright", tilt <= robot.limits.tilt_rad, f"{math.degrees(tilt):.1f} deg",
                f"<= {math.degrees(robot.limits.tilt_rad):.0f} deg", "hang or stand the robot upright")
    yield _check_torso(watch, robot)


def _check_torso(watch: Watch, robot: Robot) -> Check:
    apart, limits = watch.torso_rad, robot.limits
    if apart != apart:
        return Check("torso IMU", False, "not heard", f"<= {math.degrees(limits.torso_warn_rad):.0f} deg",
                     "it is not looked at in this run; a G1 publishes it on rt/secondary_imu", False)
    return Check("torso IMU", apart <= limits.torso_warn_rad, f"{math.degrees(apart):.1f} deg from the pelvis'",
                 f"<= {math.degrees(limits.torso_warn_rad):.0f} deg (red from {math.degrees(limits.torso_rad):.0f})",
                 "check the waist joints' zeros and both IMUs", apart > limits.torso_rad)


def check_pose(sample: MotorSample, manifest: Manifest) -> Iterator[Check]:
    """Joint order, signs and zeros as far as a pose tells them.

    A hanging robot's legs are between straight and the start pose, and so are a standing one's: a joint that carries
    and reads something else has a wrong zero, sign or place. Arms may hang anywhere within their range.
    """
    robot, q = manifest.robot, sample.q
    beyond = [
        f"{joint.name} {float(q[joint.motor]):.2f}" for joint in robot.joints
        if not joint.lower_rad - RANGE_SLACK_RAD <= float(q[joint.motor]) <= joint.upper_rad + RANGE_SLACK_RAD
    ]
    yield Check("joints within range", not beyond, ", ".join(beyond) or "all", f"range + {RANGE_SLACK_RAD} rad",
                "check joint order and zero positions")
    limit = robot.limits.preflight_pose_rad
    legs, arms = _off_the_start_pose(sample, manifest)
    yield Check("legs at the start pose", not legs, ", ".join(legs) or "all",
                f"{limit:g} rad around straight to the start pose",
                "straighten them; a joint that reads wrong has lost its zero: power the robot up in its zero pose")
    yield Check("arms at the start pose", not arms, ", ".join(arms) or "all",
                f"{limit:g} rad around straight to the start pose",
                "let them hang; they will move to the start pose from where they are", False)
    crooked = _crooked(sample, robot)
    yield Check("left and right alike", not crooked, ", ".join(crooked) or "all", f"{MIRROR_RAD} rad",
                "if the robot hangs symmetrically, check joint order and signs", False)


def _off_the_start_pose(sample: MotorSample, manifest: Manifest) -> tuple[list[str], list[str]]:
    """Joints further than the limit from all between zero and the start pose: those that carry, and the others."""
    robot, limit = manifest.robot, manifest.robot.limits.preflight_pose_rad
    carries = carrying_motors(robot)
    off: tuple[list[str], list[str]] = ([], [])
    motors = robot.motor_index(manifest.order)
    for name, motor, start in zip(manifest.order.names, motors, manifest.default_pose.tolist(), strict=True):
        q = float(sample.q[motor])
        if not min(start, 0.0) - limit <= q <= max(start, 0.0) + limit:
            off[0 if carries[motor] else 1].append(f"{name} {q:.2f} (start {start:.2f})")
    return off


def _crooked(sample: MotorSample, robot: Robot) -> list[str]:
    """Pairs of joints that do not mirror each other: rolls and yaws have opposite signs, pitches the same."""
    motor = {joint.name.lower(): joint.motor for joint in robot.joints}
    pairs = []
    for name, left in motor.items():
        right = motor.get(name.replace("left", "right", 1)) if "left" in name else None
        if right is None:
            continue
        sign = -1 if "roll" in name or "yaw" in name else 1
        apart = abs(float(sample.q[left]) - sign * float(sample.q[right]))
        if not apart <= MIRROR_RAD:
            pairs.append(f"{name} {float(sample.q[left]):.2f}, right {float(sample.q[right]):.2f}")
    return pairs


def check_motors(watch: Watch, robot: Robot, unchecked: bool) -> Iterator[Check]:
    """Variant, rest, heat, errors, battery. `unchecked`: a simulator that leaves the variant zero."""
    sample, limits = watch.sample, robot.limits
    mode = int(sample.mode_machine[0])
    modes = ", ".join(map(str, robot.mode_machine))
    yield Check("mode_machine", unchecked or not robot.mode_machine or mode in robot.mode_machine, f"{mode}",
                f"{modes} ({robot.description})" if modes else "any", "choose the controller of this variant")
    yield Check("joints at rest", watch.moving_rad_s < REST_RAD_S, f"{watch.moving_rad_s:.2f} rad/s",
                f"< {REST_RAD_S:g} rad/s", "let the robot come to rest")
    hottest = int(sample.temperature_c.max())
    yield Check("motor temperature", hottest < limits.temperature_warn_c, f"{hottest} C",
                f"< {limits.temperature_warn_c:g} C", "let the motors cool")
    errors = [f"{joint.name} {int(sample.motor_error[joint.motor]):#x}" for joint in robot.joints
              if int(sample.motor_error[joint.motor])]
    yield Check("motor errors", not errors, ", ".join(errors) or "none", "none", "clear the motors' errors")
    yield _check_battery(float(sample.battery_percent[0]), limits.battery_no_motion)


def _check_battery(percent: float, limit: float) -> Check:
    if percent != percent:
        return Check("battery", False, "not heard", f">= {limit:g} %", "look at the robot's own display", False)
    return Check("battery", percent >= limit, f"{percent:.0f} %", f">= {limit:g} %", "charge it")
