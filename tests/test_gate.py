"""The gate's tick on fake time: both sides of every limit, every flag, and what may ever be written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q, Reading
from runtime.enforce import READY_RATE_RAD_S, Enforcer
from runtime.fault_table import FLAGS as TABLE
from runtime.faults import BIT, Fault, Machine, Mode, Request
from runtime.gate import Gate
from runtime.limits import Limits
from runtime.robot import Joint, Robot
from runtime.state import Calibration
from tests.gate_rig import (
    FAST,
    FLOATS,
    G1,
    G1_23,
    PERIOD,
    SIDES,
    Rig,
    absurd_target,
    bad_target,
    charged,
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
    pauses,
    press,
    spinning,
    tilt,
    tilted,
    with_limits,
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """As in the gate's process: a non-finite number is judged, not warned of."""
    with np.errstate(all="ignore"):
        yield


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
    ("TORQUE_HIGH", 1.21), ("ROBOT_RESTARTED", 1001), ("BATTERY_CRITICAL", 9.9), ("TEMPERATURE_HIGH", 90.9),
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


ROUGH = {"STATE_LOSSY", "IMU_INCONSISTENT", "MOTOR_SILENT", "TEMPERATURE_WARN", "TEMPERATURE_CRITICAL", "TARGET_FAR"}


# State


def test_nothing_can_be_armed_before_a_state_has_come() -> None:
    rig = Rig()
    rig.sends = False
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.DISARMED
    assert rig.has("STATE_LOST")
    rig.sends = True
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.READY


def test_nothing_can_be_armed_on_a_state_that_is_not_finite() -> None:
    rig = Rig()
    rig.sample.q[0] = np.nan
    rig.ticks(5)
    assert rig.tick(Request.ARM) is Mode.DISARMED


def test_a_stale_state_holds_then_damps_and_names_both() -> None:
    rig = Rig().track()
    rig.sends = False
    modes = [rig.tick() for _ in range(60)]
    assert modes.index(Mode.HOLD) == 20  # the 21st tick without a state: 42 ms
    assert modes.index(Mode.DAMP) == 50
    assert rig.cause == "STATE_LOST"


def test_a_state_that_returns_in_time_does_not_release_the_hold() -> None:
    rig = Rig().track()
    rig.sends = False
    assert rig.ticks(25) is Mode.HOLD
    rig.sends = True
    assert rig.ticks(10) is Mode.HOLD
    assert rig.tick(Request.TRACK) is Mode.TRACK


def test_a_stale_state_while_ready_holds_too() -> None:
    rig = Rig()
    rig.tick()
    rig.tick(Request.ARM)
    rig.sends = False
    assert rig.ticks(21) is Mode.HOLD
    assert rig.ticks(30) is Mode.DAMP


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
    rig.sample.q[:] = 1
    rig.count -= back + 2
    rig.tick()
    assert rig.has("STATE_REORDERED")
    assert rig.gate.state.sequence == before
    np.testing.assert_array_equal(rig.gate.state.q, rig.pose)
    assert rig.gate.machine.mode is Mode.TRACK


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


@pytest.mark.parametrize("quat", [[0, 0, 0, 0], [2, 0, 0, 0], [0.9, 0, 0, 0], [1e20, 0, 0, 0], [3e38, 3e38, 0, 0]])
def test_a_quaternion_that_is_not_unit_is_no_state(quat: list[float]) -> None:
    rig = Rig().track()
    rig.sample.quat_wxyz[:] = quat
    assert rig.ticks(3) is Mode.DAMP
    assert rig.cause == "IMU_NON_FINITE"


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


@pytest.mark.parametrize(("ratio", "is_capped"), [(0.1, True), (math.inf, False)])
def test_a_capped_spring_asks_for_no_more_than_its_share_of_the_effort(ratio: float, is_capped: bool) -> None:
    """For a calibration: a target far beyond an obstacle presses on it with so much, without a cap with all of it."""
    rig = Rig(with_limits(spring_ratio=ratio)).track()
    rig.target[:, Q] += 0.3
    rig.ticks(50)
    assert rig.command is not None
    block, effort, used = rig.command.block, rig.robot.column("effort_n_m"), rig.robot.used
    torque = np.abs(block[:, KP] * (block[:, Q] - rig.gate.state.q))[used]
    assert bool((torque <= 0.1 * effort[used] + 1e-3).all()) is is_capped
    assert torque.max() > 1


def test_a_hot_motor_is_too_hot_until_it_is_clearly_cooler() -> None:
    rig = Rig().track()
    hot(91)(rig)
    assert rig.gate.machine.mode is Mode.STAND
    hot(86)(rig)
    assert rig.has("TEMPERATURE_HIGH")
    assert rig.tick(Request.TRACK) is Mode.STAND
    hot(84)(rig)
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


def test_a_joint_beyond_its_torque_is_held_back_to_what_its_effort_allows() -> None:
    rig = Rig().track()
    rig.target[2, Q] = rig.pose[2] + 2
    rig.target[2, KP] = 200
    rig.ticks(5)
    rig.sample.tau[2] = 1.3 * G1.joints[2].effort_n_m
    rig.ticks(5)
    assert rig.command is not None
    assert rig.has("TORQUE_HIGH")
    assert rig.command.block[2, Q] == pytest.approx(rig.pose[2] + G1.joints[2].effort_n_m / 200, abs=1e-5)
    assert rig.command.block[3, Q] == pytest.approx(rig.pose[3])


def test_holding_back_touches_only_stiff_joints_that_are_too_strong_and_works_both_ways() -> None:
    enforcer, n = Enforcer(G1, PERIOD * 1e-9), G1.motors
    effort, q = G1.column("effort_n_m"), np.zeros(n, np.float32)
    target = np.zeros((n, 5), np.float32)
    target[:, Q], target[:, KP] = 3, 100
    target[1, Q], target[2, KP], target[3, KP], target[5, Q] = -3, 0, 0.5, 0.01
    joints = np.zeros(n, np.bool_)
    joints[[0, 1, 2, 3, 5]] = True
    before = target.copy()
    q[0] = 0.25
    enforcer.hold_back(joints, q, target)
    assert target[0, Q] == pytest.approx(0.25 + effort[0] / 100)
    assert target[1, Q] == pytest.approx(-effort[1] / 100)
    assert target[2, Q] == 3, "without stiffness there is no torque to hold back"
    assert target[3, Q] == pytest.approx(min(3, effort[3] / 0.5))
    assert target[5, Q] == pytest.approx(0.01), "what it may do it may do"
    np.testing.assert_array_equal(target[~joints], before[~joints])
    np.testing.assert_array_equal(target[:, DQ:], before[:, DQ:])


def test_a_joint_whose_torque_is_within_its_limit_again_is_no_longer_held_back() -> None:
    rig = Rig().track()
    rig.target[2, Q], rig.target[2, KP] = rig.pose[2] + 1, 200
    rig.sample.tau[2] = 1.3 * G1.joints[2].effort_n_m
    rig.ticks(5)
    rig.sample.tau[2] = 0
    rig.ticks(20)
    assert rig.command is not None
    assert rig.command.block[2, Q] == pytest.approx(rig.pose[2] + 1, abs=1e-5)


def test_the_flags_of_the_whole_run_and_the_moment_of_each_mode_are_kept() -> None:
    rig = Rig().track()
    rig.tick(reading=Reading.REJECTED)
    rig.ticks(3)
    assert not rig.has("STATE_CRC")
    assert rig.gate.seen_flags & BIT["STATE_CRC"]
    rig.tick(Request.STAND)
    assert rig.gate.machine.since_ns == rig.now


def test_targets_that_were_never_good_age_from_the_moment_of_arming() -> None:
    rig = Rig(with_limits(bad_targets=1000))
    rig.tick()
    rig.target[:] = np.nan
    rig.tick(Request.ARM)
    assert rig.ticks(20) is Mode.READY
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_STALE"


def test_pauses_are_no_fault_without_the_rights_of_a_real_time_loop() -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9)
    pauses(10, 8)(rig.track())
    assert rig.gate.seen_flags & BIT["GATE_PAUSE"]
    assert not rig.gate.seen_flags & BIT["GATE_OVERRUN"]


@pytest.mark.parametrize(("needs", "flag"), [(True, True), (False, False)])
def test_a_remote_that_was_never_on_forbids_arming_only_where_one_is_needed(needs: bool, flag: bool) -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9, needs_remote=needs)
    rig.ticks(1510)
    assert rig.has("REMOTE_OFF") is flag
    assert rig.tick(Request.ARM) is (Mode.DISARMED if flag else Mode.READY)


def test_a_low_battery_forbids_arming_and_does_not_stop_what_moves() -> None:
    rig = Rig()
    charged(14)(rig)
    assert rig.tick(Request.ARM) is Mode.DISARMED
    moving = Rig().track()
    charged(14)(moving)
    assert moving.gate.machine.mode is Mode.TRACK


# Targets


def test_the_last_good_target_is_used_while_bad_ones_come_and_the_third_damps() -> None:
    rig = Rig().track()
    rig.target[4, KP] = 70
    rig.tick()
    rig.target[4] = np.nan
    for _ in range(2):
        assert rig.tick() is Mode.TRACK
        assert rig.command is not None
        assert rig.command.block[4, KP] == 70
        assert np.isfinite(rig.command.block).all()
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_NON_FINITE"


def test_one_bad_target_seen_many_times_counts_once() -> None:
    rig = Rig().track()
    rig.target[4] = np.nan
    rig.tick()
    rig.thinks = False
    assert rig.ticks(15) is Mode.TRACK


def test_huge_but_finite_targets_are_limited_not_dropped() -> None:
    rig = Rig().track()
    rig.target[:] = 3e38
    assert rig.ticks(10) is Mode.TRACK
    assert rig.has("TARGET_LIMITED")
    assert rig.command is not None
    assert rig.command.block[3, Q] == pytest.approx(G1.joints[3].upper_rad)


def test_without_any_target_the_armed_robot_is_damped_then_faulted() -> None:
    rig = Rig()
    rig.thinks = False
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.READY
    assert rig.command is not None
    assert not rig.command.block[:, KP].any()
    assert rig.ticks(20) is Mode.READY
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_STALE"


def test_a_target_from_before_arming_is_not_followed() -> None:
    rig = Rig()
    rig.ticks(5)
    rig.thinks = False
    rig.tick(Request.ARM)
    rig.tick()
    assert rig.command is not None
    assert not rig.command.block[:, KP].any()


def test_offsets_of_the_calibration_come_in_and_go_out() -> None:
    calibration = Calibration(29)
    calibration.encoder_offset_rad[3], calibration.command_offset_rad[3] = 0.1, 0.05
    rig = Rig(calibration=calibration).track()
    rig.ticks(50)
    assert rig.gate.state.q[3] == pytest.approx(rig.pose[3] - 0.1)
    assert rig.command is not None
    assert rig.command.block[3, Q] == pytest.approx(rig.pose[3] + 0.05)


# What is written


def test_nothing_is_written_while_disarmed() -> None:
    rig = Rig()
    for request in (Request.NONE, Request.TRACK, Request.STAND, Request.ZERO):
        for flag in (None, "SECOND_WRITER", "OPERATOR_STOP"):
            event(flag)(rig)
            rig.tick(request)
            assert rig.command is None


@pytest.mark.parametrize("robot", [G1, G1_23], ids=lambda robot: robot.name)
def test_damping_is_no_stiffness_and_the_tables_damping(robot: Robot) -> None:
    rig = Rig(robot).track()
    rig.target[:, DQ:KP] = 1
    rig.tick()
    rig.tick(Request.DAMP)
    for _ in range(2000):
        command = rig.command
        assert command is not None
        assert command.enabled
        assert not command.block[:, [Q, DQ, TAU, KP]].any()
        np.testing.assert_array_equal(command.block[:, KD], robot.column("damping_kd"))
        rig.tick()


def test_damp_now_needs_no_state() -> None:
    command = Gate(G1, 0.002).damp_now()
    np.testing.assert_array_equal(command.block[:, KD], G1.column("damping_kd"))
    assert not command.block[:, [Q, DQ, TAU, KP]].any()


def test_damping_is_sent_whatever_comes_afterwards() -> None:
    rig = Rig().track()
    rig.tick(Request.DAMP)
    rig.sends = rig.thinks = False
    rig.sample.q[:], rig.target[:] = np.nan, np.nan
    for request in (Request.ARM, Request.TRACK, Request.STAND, Request.NONE):
        assert rig.tick(request) is Mode.DAMP
        assert rig.command is not None
        assert np.isfinite(rig.command.block).all()


def test_zero_turns_the_drives_off() -> None:
    rig = Rig().track()
    rig.tick(Request.DAMP)
    assert rig.tick(Request.ZERO) is Mode.ZERO
    assert rig.command is not None
    assert rig.command.enabled is False
    assert not rig.command.block.any()


def test_on_the_way_to_the_start_pose_targets_move_slowly_from_the_measured_pose() -> None:
    rig = Rig()
    rig.tick()
    rig.target[:, Q] += 0.2
    rig.tick(Request.ARM)
    last = rig.pose.copy()
    for _ in range(40):
        rig.tick()
        assert rig.command is not None
        q = rig.command.block[:, Q].copy()
        assert np.abs(q - last).max() <= READY_RATE_RAD_S * PERIOD * 1e-9 + 1e-6
        last = q
    np.testing.assert_allclose(last, rig.target[:, Q], atol=1e-6)


def test_a_pose_beyond_the_range_starts_from_the_range() -> None:
    rig = Rig()
    rig.sample.q[0] = G1.joints[0].upper_rad + 0.5
    rig.tick()
    rig.tick(Request.ARM)
    rig.tick()
    assert rig.command is not None
    assert rig.command.block[0, Q] <= G1.joints[0].upper_rad


def test_slots_without_a_joint_are_never_driven() -> None:
    rig = Rig(G1_23).track()
    unused = ~G1_23.used
    assert unused.sum() == 4
    rig.target[:] = 100
    for request in (Request.NONE, Request.STAND, Request.DAMP, Request.ZERO):
        rig.tick(request)
        assert rig.command is not None
        assert not rig.command.block[unused].any()


def test_the_gate_starts_disarmed() -> None:
    assert Gate(G1, 0.002).machine == Machine()
