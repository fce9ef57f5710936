"""Whether motors do what motors can: each check on its own, on both sides of its limit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.motor_bus import MotorSample
from runtime.fault_table import BIT, PLACE
from runtime.faults import flag_names
from runtime.findings import Findings
from runtime.motor_checks import MotorChecks, carrying_motors
from runtime.robot import Robot, load_robot
from runtime.state import RobotState
from tests.gate_rig import G1, G1_23, MS

DT_S = 0.002
ELBOW = next(joint.motor for joint in G1.joints if joint.name == "left_elbow_joint")
KNEE = next(joint.motor for joint in G1.joints if joint.name == "left_knee_joint")


class Motors:
    """The checks of one robot's motors, told by hand what they read; a healthy motor never repeats itself."""

    def __init__(self, robot: Robot = G1) -> None:
        self.robot, self.findings, self.state = robot, Findings(), RobotState(robot.motors)
        self.checks = MotorChecks(robot, self.state, self.findings)
        self.sample = MotorSample.zeros(robot.motors)
        self.state.q[:] = (robot.column("lower_rad") + robot.column("upper_rad")) / 2
        self.target = self.state.q.copy()
        self.trembles, self._sign = True, 1

    def look(self, dt_s: float = DT_S, *, tracks: bool = True) -> list[str]:
        if self.trembles:
            self.state.tau[:] += 1e-3 * self._sign
            self._sign = -self._sign
        return flag_names(self.checks.look(self.sample, self.target, dt_s, tracks=tracks))

    def looks(self, count: int, dt_s: float = DT_S, *, tracks: bool = True) -> list[str]:
        return [self.look(dt_s, tracks=tracks) for _ in range(count)][-1]

    def measured(self, flag: str) -> float:
        return float(self.findings.measured[PLACE[flag]])


def test_the_motors_of_the_feets_chains_and_those_named_like_them_carry() -> None:
    carries = carrying_motors(G1)
    for joint in G1.joints:
        is_of_the_body = any(part in joint.name for part in ("hip", "knee", "ankle", "waist"))
        assert carries[joint.motor] == is_of_the_body
    nameless = replace(G1, feet=(), joints=tuple(replace(joint, name=f"j{i}") for i, joint in enumerate(G1.joints)))
    assert carrying_motors(nameless).all(), "of a robot that names nothing, all"
    without = replace(G1_23, feet=(), joints=tuple(replace(j, name=f"j{i}") for i, j in enumerate(G1_23.joints)))
    np.testing.assert_array_equal(carrying_motors(without), G1_23.used)
    footed = replace(nameless, feet=(replace(G1.feet[0], joints=("j3",)),))
    assert np.flatnonzero(carrying_motors(footed)).tolist() == [3]


@pytest.mark.parametrize("part", ["hip", "knee", "ankle", "waist", "torso", "leg"])
def test_a_motor_named_for_a_leg_or_the_trunk_carries(part: str) -> None:
    joints = tuple(replace(joint, name=f"left_{part}_joint" if joint.motor == 4 else "j") for joint in G1.joints)
    assert np.flatnonzero(carrying_motors(replace(G1, feet=(), joints=joints))).tolist() == [4]


# Encoders


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("gap_ms", "factor", "jumps"), [
    (2, 0.99, False), (2, 1.01, True), (20, 0.99, False), (20, 1.01, True), (5000, 0.99, False), (5000, 1.01, True),
])
def test_how_far_a_joint_may_have_moved_depends_on_the_time_since(
    gap_ms: int, factor: float, jumps: bool, sign: int
) -> None:
    motors, q = Motors(), np.zeros(G1.motors, np.float32)
    assert not motors.checks.jumps(q, 10**9), "the first has none before it"
    reach = 3 * G1.joints[7].velocity_rad_s * min(gap_ms * 1e-3, 1.0) + 0.05
    q[7] = sign * factor * reach
    assert motors.checks.jumps(q, 10**9 + gap_ms * MS) is jumps


def test_the_first_sample_is_no_jump_wherever_it_is() -> None:
    motors = Motors()
    assert motors.checks.jumps(np.full(G1.motors, 2, np.float32), 2 * MS) is False
    assert motors.checks.jumps(np.full(G1.motors, 2, np.float32), 4 * MS) is False
    assert motors.checks.jumps(np.full(G1.motors, 1, np.float32), 6 * MS) is True


def test_many_joints_that_move_a_little_have_not_jumped() -> None:
    motors, q = Motors(), np.zeros(G1.motors, np.float32)
    motors.checks.jumps(q, 10**9)
    q[:] = 0.045
    assert not motors.checks.jumps(q, 10**9 + 1)
    q[:] = 0.045 - 0.051
    assert motors.checks.jumps(q, 10**9 + 2)


def test_a_jump_is_measured_from_the_last_that_was_none_and_the_second_is_believed() -> None:
    motors, q = Motors(), np.zeros(G1.motors, np.float32)
    now = 10**9
    motors.checks.jumps(q, now)
    far = q.copy()
    far[7] = 3
    assert motors.checks.jumps(far, now + 2 * MS)
    assert motors.checks.discontinuity() == 0
    assert not motors.checks.jumps(q, now + 4 * MS), "back where it was"
    assert motors.checks.jumps(far, now + 6 * MS)
    assert motors.checks.discontinuity() == 0, "the one before was good"
    assert motors.checks.jumps(far, now + 8 * MS)
    assert motors.checks.discontinuity() == BIT["ENCODER_JUMP"]
    assert motors.measured("ENCODER_JUMP") == 2
    assert not motors.checks.jumps(far, now + 10 * MS), "that is where it is now"
    assert motors.checks.discontinuity() == 0


# Speed


@pytest.mark.parametrize("sign", [1, -1])
def test_one_joint_at_its_speed_limit_while_all_others_move_fast_is_no_overspeed(sign: int) -> None:
    """The norm over all joints is far beyond the limit of one."""
    motors = Motors(replace(G1, limits=replace(G1.limits, flail_joints=40)))
    motors.state.dq[:] = sign * 1.7 * G1.column("velocity_rad_s")
    assert motors.looks(5) == []
    motors.state.dq[7] *= 1.76 / 1.7
    assert motors.look() == []
    assert motors.look() == ["OVERSPEED"]
    assert motors.measured("OVERSPEED") == pytest.approx(1.76, rel=1e-3)
    motors.state.dq[7] = 0
    assert motors.look() == []


def test_a_slow_and_weak_joint_is_watched_like_any_other() -> None:
    joints = (replace(G1.joints[0], velocity_rad_s=0.5, effort_n_m=0.5), *G1.joints[1:])
    motors = Motors(replace(G1, joints=joints))
    motors.state.dq[joints[0].motor], motors.state.tau[joints[0].motor] = 1, 1
    assert motors.looks(2) == ["TORQUE_HIGH", "OVERSPEED"]


def test_slots_without_a_joint_are_neither_fast_nor_strong() -> None:
    motors = Motors(G1_23)
    motors.state.dq[~G1_23.used], motors.state.tau[~G1_23.used] = 1, 1000
    assert motors.looks(20) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_six_joints_beyond_eight_rad_s_for_longer_than_20_ms_flail(sign: int) -> None:
    motors = Motors()
    motors.state.dq[:6] = sign * 8.01
    assert motors.looks(4, 0.005) == []
    assert motors.look(0.001) == ["FLAIL"]
    assert motors.measured("FLAIL") == 6
    motors.state.dq[0] = sign * 8.0
    assert motors.look() == []
    motors.state.dq[0] = sign * 8.01
    assert motors.looks(4, 0.005) == [], "the time begins anew"
    assert motors.look(0.001) == ["FLAIL"]


def test_a_robot_at_rest_does_not_flail_even_where_one_joint_would_do() -> None:
    motors = Motors(replace(G1, limits=replace(G1.limits, flail_joints=1)))
    assert motors.looks(20) == []
    motors.state.dq[5] = 8.1
    assert motors.looks(12) == ["FLAIL"]


def test_a_flailing_that_is_also_too_fast_says_both() -> None:
    motors = Motors()
    motors.state.dq[:] = 100
    assert motors.looks(12) == ["OVERSPEED", "FLAIL"]
    assert motors.measured("FLAIL") == 29


# Torque


@pytest.mark.parametrize("sign", [1, -1])
def test_torque_beyond_its_limit_counts_from_the_second_sample_and_names_the_joints(sign: int) -> None:
    motors = Motors()
    motors.state.tau[3] = sign * 1.21 * G1.joints[3].effort_n_m
    assert motors.look() == []
    assert motors.look() == ["TORQUE_HIGH"]
    assert motors.measured("TORQUE_HIGH") == pytest.approx(1.21, rel=1e-3)
    assert np.flatnonzero(motors.checks.too_strong).tolist() == [3]
    motors.state.tau[3] = sign * 1.19 * G1.joints[3].effort_n_m
    assert motors.look() == []
    motors.state.tau[3] = sign * 1.21 * G1.joints[3].effort_n_m
    assert motors.look() == [], "the count begins anew"


def test_every_joint_just_below_its_torque_limit_is_fine_and_ends_the_count() -> None:
    """Their norm is beyond the limit of one."""
    motors = Motors()
    for _ in range(5):
        motors.state.tau[:] = 1.1 * G1.column("effort_n_m")
        assert motors.look() == []
        motors.state.tau[3] = 1.3 * G1.joints[3].effort_n_m
        assert motors.look() == []


def test_torque_that_stays_longer_than_half_a_second_is_sustained() -> None:
    motors = Motors()
    motors.state.tau[3] = 1.3 * G1.joints[3].effort_n_m
    assert motors.looks(5, 0.1) == ["TORQUE_HIGH"]
    assert motors.look(0.001) == ["TORQUE_HIGH", "TORQUE_SUSTAINED"]
    assert motors.measured("TORQUE_SUSTAINED") == pytest.approx(0.501)
    motors.state.tau[3] = 0
    motors.look()
    motors.state.tau[3] = 1.3 * G1.joints[3].effort_n_m
    assert motors.looks(5, 0.1) == ["TORQUE_HIGH"], "the time begins anew"
    motors.state.tau[:] = 1.1 * G1.column("effort_n_m")
    motors.look()
    motors.state.tau[3] = 1.3 * G1.joints[3].effort_n_m
    assert motors.looks(5, 0.1) == ["TORQUE_HIGH"], "though all together pull hard in between"


# What motors report


@pytest.mark.parametrize(("motor", "flag"), [(ELBOW, "MOTOR_ERROR"), (KNEE, "LEG_MOTOR_ERROR")])
def test_an_error_counts_from_the_second_sample_and_by_what_the_motor_does(motor: int, flag: str) -> None:
    motors = Motors()
    for _ in range(2):
        motors.sample.motor_error[motor] = 1
        assert motors.look() == []
        assert motors.look() == [flag]
        assert motors.measured(flag) == 2
        motors.sample.motor_error[motor] = 0
        assert motors.look() == []


def test_errors_of_arm_and_leg_at_once_are_both_named() -> None:
    motors = Motors()
    motors.sample.motor_error[[ELBOW, KNEE]] = 1
    motors.look()
    assert motors.looks(2) == ["MOTOR_ERROR", "LEG_MOTOR_ERROR"]
    assert motors.measured("MOTOR_ERROR") == motors.measured("LEG_MOTOR_ERROR") == 3


# Slow things: looked at every tenth sample


@pytest.mark.parametrize("motor", [3, 5])
@pytest.mark.parametrize("end", ["lower_rad", "upper_rad"])
def test_a_joint_outside_its_range_is_seen_at_both_ends(end: str, motor: int) -> None:
    """A knee's range is not about zero, an ankle's is."""
    motors = Motors()
    sign = 1 if end == "upper_rad" else -1
    motors.state.q[motor] = getattr(G1.joints[motor], end) + sign * 0.06
    assert motors.looks(9) == []
    assert motors.look() == ["JOINT_RANGE"]
    assert motors.measured("JOINT_RANGE") == pytest.approx(0.06, abs=1e-5)
    motors.state.q[motor] = getattr(G1.joints[motor], end) + sign * 0.04
    assert motors.looks(9) == ["JOINT_RANGE"], "it stands until the next look"
    assert motors.look() == []


@pytest.mark.parametrize(("rate_s", "filtered"), [(0.002, 98.0), (0.01, 90.0), (0.1, 0.0), (0.5, 0.0)])
def test_heat_is_filtered_over_a_second_from_the_first_value_on(rate_s: float, filtered: float) -> None:
    motors = Motors()
    motors.sample.temperature_c[3] = 100
    motors.looks(10, rate_s)
    assert motors.measured("TEMPERATURE_HIGH") == 100
    motors.sample.temperature_c[3] = 0
    flags = motors.looks(10, rate_s)
    assert ("TEMPERATURE_WARN" in flags) is (filtered > 80)
    if flags:
        assert motors.measured("TEMPERATURE_WARN") == pytest.approx(filtered, rel=1e-5)


def test_after_more_than_a_second_without_a_look_the_filter_is_at_what_is_measured() -> None:
    motors = Motors()
    motors.looks(10)
    motors.sample.temperature_c[3] = 100
    motors.looks(10, 0.15)
    assert motors.measured("TEMPERATURE_HIGH") == 100


def test_the_hottest_motor_counts_and_three_levels_are_told_apart() -> None:
    for celsius, flags in ((79, []), (80, ["TEMPERATURE_WARN"]), (90, ["TEMPERATURE_WARN", "TEMPERATURE_HIGH"]),
                           (110, ["TEMPERATURE_WARN", "TEMPERATURE_HIGH", "TEMPERATURE_CRITICAL"])):
        motors = Motors()
        motors.sample.temperature_c[:] = 40
        motors.sample.temperature_c[11] = celsius
        assert motors.looks(10) == flags


def test_charge_is_filtered_likewise_and_a_robot_that_tells_none_has_none() -> None:
    motors = Motors()
    motors.sample.battery_percent[0] = math.nan
    assert motors.looks(20) == []
    motors.sample.battery_percent[0] = 10
    assert motors.looks(10) == ["BATTERY_LOW", "BATTERY_NO_MOTION", "BATTERY_CRITICAL"]
    motors.sample.battery_percent[0] = 100
    assert motors.looks(10) == ["BATTERY_LOW", "BATTERY_NO_MOTION"]
    assert motors.measured("BATTERY_NO_MOTION") == pytest.approx(11.8)


@pytest.mark.parametrize("dt_s", [0.002, 0.0025])
def test_words_that_are_lost_for_a_tenth_of_a_second_make_a_motor_silent(dt_s: float) -> None:
    motors = Motors()
    looks = round(0.1 / dt_s)
    for i in range(looks):
        motors.sample.motor_lost[4] += 1
        assert (motors.look(dt_s) == ["MOTOR_SILENT"]) is (i == looks - 1)
    assert motors.measured("MOTOR_SILENT") == pytest.approx(0.1)
    assert motors.looks(10, dt_s) == [], "none was lost since"


def test_a_motor_that_repeats_itself_is_silent_once_its_target_has_moved() -> None:
    motors = Motors()
    motors.state.dq[9] = 0.5
    motors.looks(10)
    motors.trembles = False
    assert motors.looks(100) == [], "it is told to stand still"
    motors.target[9] += 0.009
    assert motors.looks(10) == []
    motors.target[9] += 0.002
    assert motors.looks(20) == [], "it may not have been told yet"
    assert motors.looks(10) == ["MOTOR_SILENT"]
    assert motors.measured("MOTOR_SILENT") >= 0.2
    motors.target[9] -= 0.011
    assert motors.looks(10) == ["MOTOR_SILENT"], "a target that comes back has moved all the same"
    motors.state.dq[9] = 1e-3
    assert motors.looks(10) == []
    motors.state.tau[9] = 1e-3
    motors.target[9] -= 0.5
    assert motors.looks(10) == []
    motors.target[9] -= 0.5
    assert motors.looks(40) == [], "80 ms"
    assert motors.looks(10) == ["MOTOR_SILENT"]


def test_a_motor_that_stood_still_for_long_has_the_time_of_an_answer_until_it_moves() -> None:
    motors = Motors()
    motors.trembles = False
    assert motors.looks(500) == [], "a second of coarse states that repeat themselves"
    for _ in range(20):
        motors.target[:] += 0.02
        assert motors.looks(20) == [], "40 ms"
        motors.state.q[:] += 0.01
        assert motors.looks(500) == []


@pytest.mark.parametrize("field", ["q", "dq", "tau"])
def test_a_motor_that_tells_anything_new_is_not_silent(field: str) -> None:
    motors = Motors()
    motors.trembles = False
    for _ in range(20):
        getattr(motors.state, field)[9] += 1e-3
        motors.target[9] += 0.01
        assert motors.looks(10) == []


def test_nobody_misses_a_silent_motor_while_the_policy_does_not_drive() -> None:
    motors = Motors()
    motors.trembles = False
    for _ in range(20):
        motors.target[:] += 0.01
        assert motors.looks(10, tracks=False) == []
    assert motors.looks(10) == ["MOTOR_SILENT"]


def test_another_robots_motors_are_judged_by_its_own_table() -> None:
    robot = load_robot("g1_23dof")
    motors = Motors(robot)
    joint = robot.joints[-1]
    motors.state.dq[joint.motor] = 1.8 * joint.velocity_rad_s
    assert motors.looks(2) == ["OVERSPEED"]
