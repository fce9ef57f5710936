"""Every flag on fake time, on both sides of its limit, and what it says was measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from firmware_bridge.motor_bus import Q, Reading
from firmware_bridge.remote import button_mask
from runtime.fault_table import FLAGS as TABLE
from runtime.faults import BIT, Fault, Machine, Mode, Request
from runtime.limits import Limits
from runtime.robot import Joint
from runtime.rotation import multiply
from tests.gate_ills import (
    FAST,
    SIDES,
    absurd_target,
    back,
    bad_target,
    crooked_quat,
    event,
    far_target,
    flailing,
    frozen,
    hot,
    jumping,
    no_state,
    not_finite,
    old_target,
    overspeed,
    spinning,
    tilt,
)
from tests.gate_rig import FLOATS, G1, Rig, press, tilted, with_limits

G1_STOP = button_mask(G1.estop_buttons[0])


def test_every_flag_of_the_table_has_its_test() -> None:
    assert list(SIDES) == [fault.flag for fault in TABLE]


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.flag)
def test_a_flag_rises_past_its_limit_and_brings_its_reaction(fault: Fault) -> None:
    rig = Rig().track()
    SIDES[fault.flag][0](rig)
    assert rig.gate.seen_flags & BIT[fault.flag]
    if fault.reaction is None:
        assert rig.gate.machine.mode is Mode.TRACK
    else:
        assert rig.has(fault.flag)
        assert rig.gate.machine.mode is fault.reaction
    if fault.reaction is Mode.DAMP and fault.flag != "STATE_LOST":
        assert rig.cause == fault.flag


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.flag)
def test_a_flag_stays_down_short_of_its_limit(fault: Fault) -> None:
    rig = Rig().track()
    SIDES[fault.flag][1](rig)
    assert not rig.gate.seen_flags & BIT[fault.flag]


@pytest.mark.parametrize(("flag", "measured"), [
    ("STATE_LATE", 0.012), ("STATE_STALE", 0.042), ("STATE_LOST", 0.102), ("STATE_FROZEN", 0.012),
    ("STATE_NON_FINITE", 3), ("TILT", math.radians(45.1)), ("OVERSPEED", 1.01 * FAST), ("MODE_MACHINE", 4),
    ("TARGET_STALE", 0.042), ("TARGET_NON_FINITE", 3), ("TARGET_LIMITED", 0.001), ("REMOTE_STOP", 1 << 5 | 1 << 9),
    ("STATE_REORDERED", 1), ("STATE_CRC", 1), ("ENCODER_JUMP", 2), ("FLAIL", 6), ("GATE_PAUSE", 0.006),
    ("TORQUE_HIGH", 1.21), ("ROBOT_RESTARTED", 1001), ("BATTERY_CRITICAL", 9.9), ("TEMPERATURE_HIGH", 91),
    ("JOINT_RANGE", 0.06), ("TORSO_IMU_FAR", math.radians(15.5)), ("IMU_NON_FINITE", 3), ("REMOTE_OFF", 3.002),
    ("STATE_LOSSY", 0.06), ("IMU_INCONSISTENT", 0.095), ("TORSO_IMU", math.radians(5.5)), ("IMU_FROZEN", 20),
    ("GYRO_SATURATED", 3), ("MOTOR_ERROR", 2), ("LEG_MOTOR_ERROR", 2), ("MOTOR_SILENT", 0.118),
    ("TEMPERATURE_WARN", 81), ("TEMPERATURE_CRITICAL", 111), ("TORQUE_SUSTAINED", 0.504), ("TARGET_FAR", 0.238),
    ("GATE_OVERRUN", 4), ("BATTERY_LOW", 19.9), ("BATTERY_NO_MOTION", 14.9),
])
def test_a_flag_says_what_was_measured(flag: str, measured: float) -> None:
    rig = Rig().track()
    SIDES[flag][0](rig)
    assert rig.measured(flag) == pytest.approx(measured, rel=1e-2 if flag in ROUGH else 2e-3)


ROUGH = {"STATE_LOSSY", "IMU_INCONSISTENT", "MOTOR_SILENT", "TARGET_FAR"}


def test_a_counter_that_stands_still_is_as_no_state() -> None:
    rig = Rig().track()
    rig.counts = False
    rig.sample.q[0] += 1
    assert rig.ticks(6) is Mode.TRACK
    assert rig.has("STATE_FROZEN")
    assert rig.ticks(15) is Mode.HOLD
    assert rig.ticks(30) is Mode.DAMP
    assert rig.cause == "STATE_LOST"
    assert rig.gate.state.q[0] == rig.pose[0], "a repeated sample is no new state"


def test_a_simulator_that_counts_nothing_may_be_excused() -> None:
    rig = Rig(checks_tick=False).track()
    rig.counts = False
    assert rig.ticks(100) is Mode.TRACK
    assert rig.gate.flags == 0


@pytest.mark.parametrize("back", [1, 2, 1000])
def test_a_sample_from_the_past_is_dropped(back: int) -> None:
    rig = Rig()
    rig.count = (1 << 31) + 50
    rig.track()
    before = rig.gate.state.sequence
    rig.sample.q[:] += 0.001
    rig.count -= back + 2
    rig.tick()
    assert rig.has("STATE_REORDERED")
    assert rig.gate.state.sequence == before
    np.testing.assert_array_equal(rig.gate.state.q, rig.pose)
    assert rig.gate.machine.mode is Mode.TRACK


@pytest.mark.parametrize(("before", "tick", "flag"), [
    (0, -1, "STATE_REORDERED"), (0, -1000, "STATE_REORDERED"), (0, -1001, "ROBOT_RESTARTED"),
    (5_000, 4_000, "STATE_REORDERED"), (1 << 31, 1, "ROBOT_RESTARTED"), (1 << 31, 0, ""), (0, 1, ""),
])
def test_a_counter_that_falls_back_is_told_from_one_that_wraps(before: int, tick: int, flag: str) -> None:
    rig = Rig()
    rig.count = before - 2
    rig.tick()
    taken = rig.gate.state.sequence
    rig.count = (tick - 2) % (1 << 32)
    rig.tick()
    told = BIT["STATE_REORDERED"] | BIT["ROBOT_RESTARTED"]
    assert rig.gate.flags & told == (BIT[flag] if flag else 0)
    assert rig.gate.state.sequence == taken + (flag != "STATE_REORDERED")


def test_a_counter_may_stand_for_a_moment_without_any_flag() -> None:
    rig = Rig().track()
    rig.counts = False
    rig.ticks(2)
    assert rig.gate.seen_flags == 0


def test_the_counter_may_wrap() -> None:
    rig = Rig()
    rig.count = (1 << 32) - 11
    rig.track()
    assert rig.ticks(20) is Mode.TRACK
    assert not rig.gate.seen_flags & (BIT["STATE_REORDERED"] | BIT["ROBOT_RESTARTED"])


def test_a_robot_that_restarts_its_counter_is_damped() -> None:
    rig = Rig()
    rig.count = 1_000_000
    rig.track()
    rig.count = 0
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "ROBOT_RESTARTED"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FLOATS)
def test_a_non_finite_number_anywhere_is_no_state_and_the_third_damps(name: str, bad: float) -> None:
    rig = Rig().track()
    state = rig.gate.state.record.copy()
    rig.trembles = False
    array = getattr(rig.sample, name)
    array[-1] = bad
    if name == "q":  # of the other sign as well, which a sum would turn to NaN or cancel
        array[0] = -bad
    assert rig.ticks(2) is Mode.TRACK
    np.testing.assert_array_equal(rig.gate.state.record, state)
    assert rig.tick() is Mode.DAMP
    assert rig.cause == ("STATE_NON_FINITE" if name in ("q", "dq", "tau") else "IMU_NON_FINITE")


def test_a_good_sample_ends_the_row_of_bad_ones() -> None:
    rig = Rig().track()
    for _ in range(10):
        rig.sample.q[2] = np.nan
        rig.ticks(2)
        rig.sample.q[2] = rig.pose[2]
        assert rig.tick() is Mode.TRACK


@pytest.mark.parametrize(
    "quat", [[0, 0, 0, 0], [2, 0, 0, 0], [1.2, 0, 0, 0], [0.9, 0, 0, 0], [1e20, 0, 0, 0], [3e38, 3e38, 0, 0]])
def test_a_quaternion_that_is_not_unit_is_no_state(quat: list[float]) -> None:
    rig = Rig().track()
    rig.sample.quat_wxyz[:] = quat
    assert rig.ticks(3) is Mode.DAMP
    assert rig.cause == "IMU_NON_FINITE"


def test_joints_and_imu_are_counted_apart() -> None:
    rig = Rig().track()
    for broken, ticks in ((rig.sample.dq, 1), (rig.sample.gyro, 2), (rig.sample.dq, 2)):
        whole = float(broken[0])
        broken[0] = np.nan
        rig.ticks(ticks)
        broken[0] = whole
    assert rig.gate.seen_flags == 0
    rig.tick()
    rig.sample.dq[0] = np.nan
    rig.ticks(3)
    assert rig.gate.flags == BIT["STATE_NON_FINITE"]
    rig.sample.gyro[0] = np.nan
    rig.ticks(3)
    assert rig.gate.flags & BIT["STATE_NON_FINITE"]
    assert rig.gate.flags & BIT["IMU_NON_FINITE"]


def test_what_is_worse_does_not_hide_what_is_also_wrong() -> None:
    rig = Rig().track()
    rig.sample.mode_machine[0] = 4
    press(rig.sample, G1_STOP)
    rig.tick()
    press(rig.sample, 0)
    rig.sends = False
    rig.ticks(60)
    both = BIT["MODE_MACHINE"] | BIT["REMOTE_STOP"]
    assert rig.gate.flags == both | BIT["STATE_LATE"] | BIT["STATE_STALE"] | BIT["STATE_LOST"]


def test_a_remote_that_went_off_does_not_hide_another_variant() -> None:
    rig = Rig().track()
    SIDES["REMOTE_OFF"][0](rig)
    rig.sample.mode_machine[0] = 4
    rig.tick()
    assert rig.has("REMOTE_OFF")
    assert rig.has("MODE_MACHINE")


def test_one_bad_target_is_no_flag() -> None:
    rig = Rig().track()
    bad_target(1)(rig)
    assert rig.gate.flags == 0


def test_a_target_far_beyond_its_limits_is_measured_before_it_is_judged() -> None:
    rig = Rig().track()
    absurd_target(1.5, 2)(rig)
    assert rig.gate.flags == BIT["TARGET_LIMITED"]
    assert rig.measured("TARGET_LIMITED") > G1.limits.target_far_rad


def test_an_event_from_outside_measures_nothing() -> None:
    rig = Rig()
    assert rig.gate.review.note("ESTOP") == BIT["ESTOP"]
    assert rig.measured("ESTOP") == 0


@pytest.mark.parametrize("scale", [0.96, 1.04])
@pytest.mark.parametrize("yaw", [0.0, 2.5])
def test_tilt_does_not_depend_on_heading_or_length(scale: float, yaw: float) -> None:
    for angle, flag in ((44.9, 0), (45.1, BIT["TILT"])):
        rig = Rig().track()
        quat = multiply(tilted(yaw, 3), tilted(math.radians(angle)))
        rig.sample.quat_wxyz[:] = [scale * part for part in quat]
        rig.tick()
        assert rig.gate.flags & BIT["TILT"] == flag


def test_the_six_fastest_joints_flail_while_the_others_rest() -> None:
    rig = Rig().track()
    fastest = sorted(G1.joints, key=lambda joint: -joint.velocity_rad_s)[: int(G1.limits.flail_joints)]
    for joint in fastest:
        rig.sample.dq[joint.motor] = 1.01 * G1.limits.flail_rad_s
    rig.ticks(20)
    assert rig.gate.seen_flags & BIT["FLAIL"]


def test_huge_but_finite_numbers_are_judged_as_what_they_are() -> None:
    """Their sum would overflow; a speed of 3e38 is too fast, not NaN."""
    rig = Rig().track()
    rig.sample.dq[:] = 3e38
    rig.sample.tau[:] = -3e38
    assert rig.ticks(2) is Mode.DAMP
    assert rig.cause == "OVERSPEED"


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_tilt_counts_about_both_axes_and_both_ways(axis: int, sign: int) -> None:
    rig = Rig().track()
    rig.sample.quat_wxyz[:] = tilted(sign * math.radians(44.9), axis)
    assert rig.tick() is Mode.TRACK
    rig.sample.quat_wxyz[:] = tilted(sign * math.radians(45.1), axis)
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TILT"


def test_turning_about_the_vertical_is_no_tilt() -> None:
    rig = Rig().track()
    for angle in np.linspace(-math.pi, math.pi, 30):
        rig.sample.quat_wxyz[:] = tilted(angle, 3)
        assert rig.tick() is Mode.TRACK


def test_upside_down_is_measured_as_half_a_turn() -> None:
    rig = Rig().track()
    rig.sample.quat_wxyz[:] = [0, 1.04, 0, 0]
    rig.tick()
    assert rig.measured("TILT") == pytest.approx(math.pi, abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("joint", G1.joints, ids=lambda joint: joint.name)
def test_each_joint_is_watched_for_speed_both_ways(joint: Joint, sign: int) -> None:
    rig = Rig().track()
    rig.sample.dq[joint.motor] = sign * joint.velocity_rad_s * FAST * 0.999
    assert rig.ticks(5) is Mode.TRACK
    rig.sample.dq[joint.motor] = sign * joint.velocity_rad_s * FAST * 1.001
    assert rig.tick() is Mode.TRACK, "one sample may be a glitch"
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "OVERSPEED"


def test_overspeed_samples_must_follow_each_other() -> None:
    rig = Rig().track()
    for i in range(20):
        rig.sample.dq[0] = 100 if i % 2 else 0
        assert rig.tick() is Mode.TRACK


@pytest.mark.parametrize("mode", [0, 1, 4, 255])
def test_another_variant_of_the_robot_is_damped(mode: int) -> None:
    rig = Rig().track()
    rig.sample.mode_machine[0] = mode
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "MODE_MACHINE"


@pytest.mark.parametrize(("mask", "stops"), [
    (1 << 5 | 1 << 9, True),  # L2 + B
    (1 << 3, True),  # select
    (0xFFFF, True),
    (1 << 5, False),
    (1 << 9, False),
    (0xFFFF & ~(1 << 3) & ~(1 << 9), False),
    (0, False),
])
def test_the_remotes_emergency_combination_damps(mask: int, stops: bool) -> None:
    rig = Rig().track()
    press(rig.sample, mask)
    assert rig.tick() is (Mode.DAMP if stops else Mode.TRACK)


@pytest.mark.parametrize(("field", "flag", "act"), [
    ("state_hold_s", "STATE_STALE", no_state), ("state_damp_s", "STATE_LOST", no_state),
    ("state_warn_s", "STATE_LATE", no_state), ("target_s", "TARGET_STALE", old_target),
    ("frozen_s", "STATE_FROZEN", frozen),
])
def test_time_limits_are_settings(field: str, flag: str, act: Callable[[int], Callable[[Rig], None]]) -> None:
    for ticks, up in ((8, True), (7, False)):
        rig = Rig(with_limits(**{field: 0.014})).track()
        act(ticks)(rig)
        assert bool(rig.gate.seen_flags & BIT[flag]) is up


@pytest.mark.parametrize(("limits", "flag", "over", "under"), [
    ({"tilt_rad": 0.3}, "TILT", tilt(0.31), tilt(0.29)),
    ({"overspeed_ratio": 0.5}, "OVERSPEED", overspeed(0.51, 2), overspeed(0.49, 5)),
    ({"overspeed_samples": 4}, "OVERSPEED", overspeed(1.1 * FAST, 4), overspeed(1.1 * FAST, 3)),
    ({"non_finite_samples": 1}, "STATE_NON_FINITE", not_finite(1), event(None)),
    ({"bad_targets": 5}, "TARGET_NON_FINITE", bad_target(5), bad_target(4)),
    ({"target_margin_rad": 0.2}, "TARGET_LIMITED", far_target(0.21), far_target(0.19)),
    ({"gyro_max_rad_s": 2.0}, "GYRO_SATURATED", spinning(2.1, 3), spinning(1.9, 3)),
    ({"flail_rad_s": 9.0}, "FLAIL", flailing(29, 11, 9.1), flailing(29, 11, 8.9)),
    ({"flail_s": 0.05}, "FLAIL", flailing(6, 26), flailing(6, 24)),
    ({"encoder_jump_ratio": 6.0}, "ENCODER_JUMP", jumping(0.44, 2), jumping(0.42, 2)),
    ({"target_far_rad": 0.3, "overspeed_samples": 9}, "TARGET_FAR", absurd_target(0.32, 110), absurd_target(0.28, 200)),
])
def test_other_limits_are_settings(
    limits: dict[str, float], flag: str, over: Callable[[Rig], None], under: Callable[[Rig], None]
) -> None:
    for act, up in ((over, True), (under, False)):
        rig = Rig(with_limits(**limits)).track()
        act(rig)
        assert bool(rig.gate.seen_flags & BIT[flag]) is up


def test_every_limit_has_a_test_on_both_sides() -> None:
    in_table = {fault.limit for fault in TABLE} | {fault.clears_at for fault in TABLE} - {None}
    here = {"overspeed_samples", "target_margin_rad", "gyro_max_rad_s", "flail_rad_s", "flail_s", "encoder_jump_ratio",
            "target_far_rad", "torque_ratio", "temperature_clear_c"}
    others = {"policy_share", "growth_mib", "log_silent_s", "clock_jump_s", "late_ratio", "preflight_pose_rad",
              "calibration_days"}
    elsewhere = {"target_rate_ratio", "damp_min_s", "spring_ratio"}  # the tests below; the gate's process
    assert set(Limits.__dataclass_fields__) | {None} == in_table | here | others | elsewhere | {None}


def test_a_hot_motor_is_too_hot_until_it_is_clearly_cooler() -> None:
    rig = Rig().track()
    hot(91)(rig)
    assert rig.gate.machine.mode is Mode.STAND
    rig.sample.temperature_c[:] = 0  # so fast that a filter of one second passes 85 degrees after 70 ms
    rig.ticks(30)
    assert rig.measured("TEMPERATURE_HIGH") == pytest.approx(91 * 0.98**3)
    assert rig.has("TEMPERATURE_HIGH")
    assert rig.tick(Request.TRACK) is Mode.STAND
    rig.ticks(9)
    assert not rig.has("TEMPERATURE_HIGH")
    assert rig.tick(Request.TRACK) is Mode.TRACK


def test_one_impossible_reading_is_dropped_and_the_state_stays() -> None:
    rig = Rig().track()
    for spoil, mend in ((jumping(2.0, 1), jumping(-2.0, 1)), (spinning(40, 1), spinning(0, 1))):
        before = rig.gate.state.record.copy()
        spoil(rig)
        np.testing.assert_array_equal(rig.gate.state.record, before)
        mend(rig)
        assert rig.ticks(5) is Mode.TRACK
        assert rig.gate.state.sequence > before["sequence"][0]


def test_a_joint_that_moved_while_states_were_lost_has_not_jumped() -> None:
    rig = Rig().track()
    rig.sends = False
    rig.ticks(9)
    rig.sends = True
    rig.sample.q[6] += 0.5  # within what it can turn in 20 ms
    assert rig.ticks(5) is Mode.TRACK
    assert not rig.gate.seen_flags & BIT["ENCODER_JUMP"]


def test_a_motor_that_repeats_itself_is_silent_only_when_it_is_told_to_move() -> None:
    rig = Rig().track()
    rig.trembles = False
    rig.sample.accel[1] = 0.1

    def wait(ticks: int, moving: bool) -> None:
        for i in range(ticks):
            rig.sample.accel[0] = i % 7  # only the IMU lives
            rig.target[9, Q] += 0.002 * moving
            rig.tick()

    wait(200, moving=False)
    assert rig.gate.machine.mode is Mode.TRACK
    wait(80, moving=True)
    assert rig.gate.machine.mode is Mode.STAND
    assert rig.cause == "MOTOR_SILENT"


@pytest.mark.parametrize(("flag", "act"), [
    ("STATE_CRC", lambda rig: rig.tick(reading=Reading.REJECTED)),
    ("STATE_REORDERED", back(1)),
    ("TARGET_NON_FINITE", bad_target(1)), ("STATE_NON_FINITE", not_finite(1)), ("IMU_NON_FINITE", crooked_quat(1)),
])
def test_a_flag_that_counts_says_how_many_there_were(flag: str, act: Callable[[Rig], object]) -> None:
    rig = Rig(with_limits(bad_targets=1, non_finite_samples=1)).track()
    for count in range(1, 4):
        rig.gate.machine = Machine(Mode.TRACK)
        act(rig)
        assert rig.measured(flag) == count
