"""What may be written: every command within every limit of the robot, whatever was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from runtime.enforce import READY_RATE_RAD_S, Enforcer
from runtime.faults import Mode, Request
from runtime.gate import Gate
from runtime.robot import Robot
from runtime.state import Calibration
from tests.gate_rig import G1, G1_23, PERIOD, Rig, with_limits


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
    target[3, Q] = 1000
    joints = np.zeros(n, np.bool_)
    joints[[0, 1, 2, 3, 5]] = True
    before = target.copy()
    q[0] = 0.25
    enforcer.hold_back(joints, q, target)
    assert target[0, Q] == pytest.approx(0.25 + effort[0] / 100)
    assert target[1, Q] == pytest.approx(-effort[1] / 100)
    assert target[2, Q] == 3, "without stiffness there is no torque to hold back"
    assert target[3, Q] == pytest.approx(effort[3] / 0.5)
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


def test_huge_but_finite_targets_are_limited_not_dropped() -> None:
    rig = Rig().track()
    rig.target[:] = 3e38
    assert rig.ticks(10) is Mode.TRACK
    assert rig.has("TARGET_LIMITED")
    assert rig.command is not None
    assert rig.command.block[3, Q] == pytest.approx(G1.joints[3].upper_rad)


def test_offsets_of_the_calibration_come_in_and_go_out() -> None:
    calibration = Calibration(29)
    calibration.encoder_offset_rad[3], calibration.command_offset_rad[3] = 0.1, 0.05
    rig = Rig(calibration=calibration).track()
    rig.ticks(50)
    assert rig.gate.state.q[3] == pytest.approx(rig.pose[3] - 0.1)
    assert rig.command is not None
    assert rig.command.block[3, Q] == pytest.approx(rig.pose[3] + 0.05)


@pytest.mark.parametrize("robot", [G1, G1_23], ids=lambda robot: robot.name)
def test_damping_is_no_stiffness_and_the_tables_damping(robot: Robot) -> None:
    rig = Rig(robot).track()
    rig.target[:, DQ:KP] = 1
    rig.tick()
    rig.tick(Request.DAMP)
    for _ in range(50):
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


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("margin_rad", [0.0, 0.2])
def test_every_number_of_a_command_is_within_its_limit_at_both_ends(sign: int, margin_rad: float) -> None:
    enforcer = Enforcer(with_limits(target_margin_rad=margin_rad), PERIOD * 1e-9)
    enforcer.start_from(np.zeros(G1.motors, np.float32))
    for _ in range(100):
        command = enforcer.follow(np.full((G1.motors, 5), sign * 1e6, np.float32), Mode.TRACK)
    end = G1.column("upper_rad") if sign > 0 else G1.column("lower_rad")
    np.testing.assert_allclose(command.block[:, Q], end + sign * margin_rad, atol=1e-6)
    np.testing.assert_allclose(command.block[:, DQ], sign * G1.column("velocity_rad_s"))
    np.testing.assert_allclose(command.block[:, TAU], sign * G1.column("effort_n_m"))
    np.testing.assert_allclose(command.block[:, KP], np.full(G1.motors, G1.kp_max) * (sign > 0))
    np.testing.assert_allclose(command.block[:, KD], np.full(G1.motors, G1.kd_max) * (sign > 0))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_pose_beyond_the_range_is_left_from_its_end(sign: int) -> None:
    """A joint that stands 0.5 rad outside is not told to stay there while the rate limit brings it back."""
    enforcer = Enforcer(G1, PERIOD * 1e-9)
    end = G1.joints[0].upper_rad if sign > 0 else G1.joints[0].lower_rad
    enforcer.start_from(np.full(G1.motors, end + sign * 0.5, np.float32))
    step = READY_RATE_RAD_S * PERIOD * 1e-9
    target = np.zeros((G1.motors, 5), np.float32)
    assert enforcer.follow(target, Mode.READY).block[0, Q] == pytest.approx(end - sign * step, abs=1e-6)


def test_drives_that_were_off_are_on_again_when_they_are_to_damp_or_follow() -> None:
    enforcer = Enforcer(G1, PERIOD * 1e-9)
    assert enforcer.off().enabled is False
    assert enforcer.damp().enabled is True
    enforcer.off()
    assert enforcer.follow(np.zeros((G1.motors, 5), np.float32), Mode.TRACK).enabled is True


def test_slots_without_a_joint_are_never_driven() -> None:
    rig = Rig(G1_23).track()
    unused = ~G1_23.used
    assert unused.sum() == 4
    rig.target[:] = 100
    for request in (Request.NONE, Request.STAND, Request.DAMP, Request.ZERO):
        rig.tick(request)
        assert rig.command is not None
        assert not rig.command.block[unused].any()


ABSURD_RAD = G1.limits.target_far_rad


def ask_for(enforcer: Enforcer, rad: float, ticks: int, *, doubts: bool = False) -> np.ndarray:
    """Ask for one angle of joint 0, zero elsewhere, for so long; its commands."""
    target = np.zeros((G1.motors, 5), np.float32)
    target[0, Q] = rad
    return np.array([enforcer.follow(target, Mode.STAND, doubts=doubts).block[0, Q] for _ in range(ticks)])


def test_a_joint_of_which_absurd_things_are_asked_goes_back_slowly_to_what_was_believed() -> None:
    """One arm pressed against its stop toppled a walking robot that was told to stand."""
    upper = np.float32(G1.joints[0].upper_rad)
    enforcer = Enforcer(G1, PERIOD * 1e-9)
    enforcer.start_from(np.zeros(G1.motors, np.float32))
    ask_for(enforcer, 0.3, 10)
    absurd = upper + ABSURD_RAD + 0.01
    assert ask_for(enforcer, absurd, 100)[-1] == upper, "until it is doubted, it is followed as far as it may be"
    way = ask_for(enforcer, absurd, 1000, doubts=True)
    assert way[-1] == np.float32(0.3)
    assert np.abs(np.diff(way, prepend=upper)).max() <= READY_RATE_RAD_S * PERIOD * 1e-9 + 1e-6
    assert ask_for(enforcer, 0.5, 10, doubts=True)[-1] == np.float32(0.5), "what is sane again is followed again"


def test_what_was_believed_before_any_target_is_the_pose_at_arming() -> None:
    enforcer = Enforcer(G1, PERIOD * 1e-9)
    enforcer.start_from(np.full(G1.motors, 0.2, np.float32))
    lower = np.float32(G1.joints[0].lower_rad)
    absurd = lower - ABSURD_RAD - 0.01
    ask_for(enforcer, absurd, 50)
    way = ask_for(enforcer, absurd, 1000, doubts=True)
    assert way[-1] == np.float32(0.2)
    assert np.abs(np.diff(way, prepend=lower)).max() <= READY_RATE_RAD_S * PERIOD * 1e-9 + 1e-6


def test_a_target_that_is_far_and_not_absurd_is_followed_to_its_limit_even_when_doubted() -> None:
    enforcer = Enforcer(G1, PERIOD * 1e-9)
    for end, sign in ((G1.joints[0].upper_rad, 1), (G1.joints[0].lower_rad, -1)):
        enforcer.start_from(np.zeros(G1.motors, np.float32))
        assert ask_for(enforcer, end + sign * (ABSURD_RAD - 0.01), 100, doubts=True)[-1] == np.float32(end)


def test_a_gate_that_finds_targets_absurd_lets_the_arm_back() -> None:
    rig = Rig().track()
    arm = next(joint for joint in G1.joints if joint.name == "left_shoulder_roll_joint")
    rig.target[arm.motor, Q] = arm.upper_rad + 2
    rig.ticks(90)
    assert rig.command is not None
    assert rig.command.block[arm.motor, Q] == np.float32(arm.upper_rad)
    rig.ticks(500)
    assert rig.gate.machine.mode is Mode.STAND
    assert rig.command.block[arm.motor, Q] == pytest.approx(rig.pose[arm.motor])


@given(st.lists(st.tuples(st.floats(-4, 4, width=32), st.integers(0, 28), st.integers(1, 12)), min_size=1, max_size=12),
       st.booleans())
def test_a_target_that_has_been_reached_would_give_the_same_command_again(
    asked: list[tuple[float, int, int]], is_ready: bool
) -> None:
    """So the gate may repeat it: 9 of 10 ticks see no new target."""
    enforcer, target = Enforcer(G1, PERIOD * 1e-9), np.zeros((G1.motors, 5), np.float32)
    enforcer.start_from(np.zeros(G1.motors, np.float32))
    for rad, motor, ticks in asked:
        target[motor] = rad
        for _ in range(ticks):
            before = enforcer.follow(target, Mode.READY if is_ready else Mode.TRACK).block.copy()
            if enforcer.has_arrived:
                for mode in (Mode.READY, Mode.TRACK):
                    np.testing.assert_array_equal(enforcer.follow(target, mode).block, before)


def test_a_target_that_does_not_change_is_approached_until_it_is_reached_and_then_repeated() -> None:
    rate = 0.05 / (G1.joints[0].velocity_rad_s * PERIOD * 1e-9)
    rig = Rig(with_limits(target_s=10, target_rate_ratio=rate)).track()
    rig.target[0, Q] += 0.3
    rig.tick()
    rig.thinks = False
    assert rig.command is not None
    way = []
    for _ in range(8):
        way.append(float(rig.command.block[0, Q] - rig.pose[0]))
        rig.tick()
    assert way == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.3, 0.3], abs=1e-5)


def test_torque_beyond_its_limit_holds_a_joint_back_though_its_target_was_reached_long_ago() -> None:
    rig = Rig(with_limits(target_s=10)).track()
    rig.target[2, Q], rig.target[2, KP] = rig.pose[2] + 1, 200
    rig.ticks(10)
    rig.thinks = False
    rig.ticks(5)
    rig.sample.tau[2] = 1.3 * G1.joints[2].effort_n_m
    rig.ticks(3)
    assert rig.command is not None
    assert rig.command.block[2, Q] == pytest.approx(rig.pose[2] + G1.joints[2].effort_n_m / 200, abs=1e-5)


def test_damping_is_not_mistaken_for_a_target_that_was_reached() -> None:
    enforcer, target = Enforcer(G1, PERIOD * 1e-9), np.zeros((G1.motors, 5), np.float32)
    for other in (enforcer.damp, enforcer.off):
        enforcer.start_from(np.zeros(G1.motors, np.float32))
        assert not enforcer.has_arrived
        enforcer.follow(target, Mode.TRACK)
        assert enforcer.has_arrived
        other()
        assert not enforcer.has_arrived
