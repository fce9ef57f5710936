"""A streamed reference on fake time: what comes in, when it is played, what is refused; both sides of each limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime import rotation
from runtime.faults import flag_names
from runtime.manifest_reader import load_manifest
from runtime.reference import ReferenceFrame
from runtime.state import RobotState
from runtime.stream_buffer import FADE_NS, JUMP_M
from runtime.stream_reference import BLEND_RAD_S, DEPTH_NS, ENGAGE_ARM_RAD, ENGAGE_M, ENGAGE_RAD, StreamReference
from tests.scripted_operator import Streamer

TWIST2 = load_manifest("twist2")
ROBOT = TWIST2.robot
LIMITS = ROBOT.limits
MS = 1_000_000
PERIOD = 20 * MS
INDEX = ROBOT.order.index_of(TWIST2.order)
POSE = np.zeros(29)
POSE[INDEX] = TWIST2.default_pose  # in the robot's order


def sway(time_s: float) -> tuple[Any, Any, Any]:
    """A pose that moves: every joint differently, the root forwards and turning."""
    joints = POSE + 0.1 * np.sin(2 * time_s) * np.linspace(0.1, 1, 29)
    yaw = 0.7 + 0.3 * time_s
    return joints, (2 + 0.4 * time_s, -1.0, 0.78), (math.cos(yaw / 2), 0, 0, math.sin(yaw / 2))


class Play:
    """A stream, the robot it is for, and time."""

    def __init__(self, pose: Callable[[float], tuple[Any, Any, Any]] = sway, **more: Any) -> None:
        self.stream = StreamReference(ROBOT, TWIST2.order, LIMITS)
        self.sender: Any = Streamer(ROBOT, pose, **more)
        self.state = RobotState(29)
        self.state.q[TWIST2.motor_index] = TWIST2.default_pose
        self.commanded = ReferenceFrame(29)
        self.commanded.root_pos[:] = 5, 6, 0.8
        self.now_ns, self.began_ns = 10_000 * MS, 10_000 * MS
        self.flags: list[str] = []
        self.since: dict[str, int] = {}

    def tick(self, milliseconds: int = 20) -> list[str]:
        """Control periods; what arrives in between is taken when they begin."""
        for _ in range(milliseconds // 20):
            self.now_ns += PERIOD
            for frame in self.sender(self.now_ns):
                self.stream.take(frame)
            self.flags = flag_names(self.stream.look(self.now_ns))
            for flag in self.flags:
                self.since.setdefault(flag, self.now_ns)
        return self.flags

    def engage(self) -> str:
        return self.stream.engage(self.state, self.commanded, self.now_ns)

    def sample(self, ahead_s: float = 0.0) -> ReferenceFrame:
        frame = ReferenceFrame(29)
        self.stream.sample(ahead_s, frame)
        return frame

    def engaged(self) -> Play:
        self.tick(400)
        assert self.engage() == ""
        return self

    def silence(self) -> None:
        self.sender = lambda now_ns: ()


def sent_at(play: Play, ahead_s: float = 0.0) -> float:
    """The sender's time that is played now: what was sent a buffer's depth and the way ago."""
    return (play.now_ns - play.began_ns - PERIOD - DEPTH_NS - 5 * MS) * 1e-9 + ahead_s


def test_frames_are_played_a_fixed_time_after_they_were_sent_whatever_the_sender_s_clock_says() -> None:
    for clock_ns in (-(10**15), 0, 10**15):
        play = Play(clock_ns=clock_ns).engaged()
        for _ in range(50):
            assert play.tick() == []
            joints, _, _ = sway(sent_at(play))
            np.testing.assert_allclose(play.sample().joint_pos, joints[INDEX], atol=1.5e-3)


def test_look_ahead_lies_within_the_buffer_and_is_real() -> None:
    play = Play().engaged()
    for ahead_s in (-0.1, 0.02, 0.08):
        joints, _, _ = sway(sent_at(play, ahead_s))
        np.testing.assert_allclose(play.sample(ahead_s).joint_pos, joints[INDEX], atol=1.5e-3)
    assert not play.sample(0.5).joint_vel.any(), "beyond what came in it rests"


def test_velocities_are_those_of_the_stream_in_the_root_s_own_axes() -> None:
    play = Play().engaged()
    frame = play.sample()
    yaw = 0.7 + 0.3 * sent_at(play)
    np.testing.assert_allclose(frame.root_lin_vel, [0.4 * math.cos(yaw), -0.4 * math.sin(yaw), 0], atol=3e-3)
    np.testing.assert_allclose(frame.root_ang_vel, [0, 0, 0.3], atol=1e-3)


def test_heading_and_place_go_on_from_what_was_commanded() -> None:
    play = Play()
    play.commanded.root_rpy[2] = -2.0
    play.tick(400)
    assert play.engage() == ""
    first = play.sample()
    np.testing.assert_allclose(first.root_pos[:2], [5, 6], atol=1e-9)
    assert first.root_pos[2] == pytest.approx(0.78), "the height is the stream's own"
    assert rotation.heading_rad(first.root_quat_wxyz) == pytest.approx(-2.0, abs=1e-6)
    assert first.root_rpy[2] == pytest.approx(-2.0, abs=1e-6)
    play.tick(1000)
    later = play.sample()
    assert later.root_rpy[2] == pytest.approx(-2.0 + 0.3, abs=2e-3)
    moved = later.root_pos[:2] - first.root_pos[:2]
    assert np.linalg.norm(moved) == pytest.approx(0.4, abs=2e-3)


def test_jitter_within_the_depth_does_not_show() -> None:
    draw = np.random.default_rng(1)
    delays = [int(d) * MS for d in draw.integers(5, 85, 4000)]
    play = Play(delay_ns=lambda i: max(delays[i], 5 * MS if i % 10 == 0 else 0))
    play.engaged()
    for _ in range(400):
        assert "REFERENCE_LATE" not in play.tick()
        joints, _, _ = sway(sent_at(play))
        np.testing.assert_allclose(play.sample().joint_pos, joints[INDEX], atol=6e-3)


def test_the_clocks_difference_is_that_of_the_fastest_frame_and_followed_slowly() -> None:
    play = Play(delay_ns=lambda i: (5 if i < 200 else 45) * MS)
    play.engaged()
    play.tick(3000)
    before = play.stream._offset_ns
    play.tick(9000)  # the fast frames have left the filter's window by now
    assert before < play.stream._offset_ns <= before + 40 * MS
    played = play.stream.buffer.played_ns
    play.tick(20)
    assert PERIOD * 0.98 < play.stream.buffer.played_ns - played < PERIOD * 1.02


def test_late_and_repeated_frames_are_dropped() -> None:
    play = Play().engaged()
    count, late = play.stream.buffer.count, play.stream.buffer.late
    again = play.sender.record.tobytes()
    play.stream.take(again)
    play.sender.record["source_ns"] -= 150 * MS
    play.stream.take(play.sender.record.tobytes())
    assert (play.stream.buffer.count, play.stream.buffer.late) == (count, late + 2)


@pytest.mark.parametrize(("missing", "is_late"), [(3, False), (8, True)])
def test_a_gap_of_a_tenth_of_a_second_is_interpolated_and_a_longer_one_is_late(missing: int, is_late: bool) -> None:
    play = Play().engaged()
    gone = range(play.sender.sent + 5, play.sender.sent + 5 + missing)
    play.sender.change = lambda i, record: i not in gone
    worst = 0.0
    for _ in range(30):
        play.tick()
        joints, _, _ = sway(sent_at(play))
        worst = max(worst, float(np.abs(play.sample().joint_pos - joints[INDEX]).max()))
    assert ("REFERENCE_LATE" in play.since) is is_late
    assert (worst < 2e-3) is not is_late


def test_a_bridged_gap_has_no_corners() -> None:
    """A line across two lost frames is off by an eighth of acceleration times the gap's square."""
    def swing(time_s: float) -> tuple[Any, Any, Any]:
        return POSE + 0.3 * math.sin(6 * time_s) * np.ones(29) * 0.5, (0, 0, 0.78), (1, 0, 0, 0)

    play = Play(swing, hz=50).engaged()
    first = play.sender.sent
    gone = {first + k for start in range(3, 60, 9) for k in (start, start + 1)}
    play.sender.change = lambda i, record: i not in gone
    line = 0.15 * 36 * 0.06**2 / 8
    worst = 0.0
    for _ in range(50):
        play.tick()
        assert "REFERENCE_LATE" not in play.since
        worst = max(worst, float(np.abs(play.sample().joint_pos - swing(sent_at(play))[0][INDEX]).max()))
    assert worst < line / 3


def test_silence_is_late_then_lost_each_at_its_limit() -> None:
    play = Play(delay_ns=lambda i: 0).engaged()
    last_ns = play.stream.buffer.newest_ns
    play.silence()
    play.tick(1000)
    for flag, limit_s in (("REFERENCE_LATE", LIMITS.reference_hold_s), ("REFERENCE_LOST", LIMITS.reference_stand_s)):
        age_ns = play.since[flag] - last_ns
        assert limit_s * 1e9 < age_ns <= limit_s * 1e9 + PERIOD
    assert not play.stream.is_healthy


def test_a_stream_that_nobody_follows_raises_nothing() -> None:
    play = Play()
    play.tick(400)
    play.silence()
    play.tick(1000)
    assert play.since == {}
    assert "no healthy stream" in play.engage()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["joint_pos", "joint_vel", "root_pos", "root_quat_wxyz"])
def test_a_frame_that_is_not_finite_is_dropped_and_too_many_in_a_row_are_a_fault(field: str, bad: float) -> None:
    play = Play().engaged()
    first, most = play.sender.sent, LIMITS.bad_references

    def harm(i: int, record: Any) -> bool:
        if first <= i < first + most - 1 or first + 20 <= i < first + 20 + most:
            record[field][2] = bad
        return True

    play.sender.change = harm
    play.tick(20 * (most + 5))
    assert play.since == {}
    play.tick(20 * 30)
    assert list(play.since) == ["REFERENCE_NON_FINITE"]
    assert np.isfinite(play.sample().values).all()
    assert play.flags == [], "good frames end it"


def test_a_rotation_without_unit_norm_is_no_frame() -> None:
    play = Play().engaged()
    play.sender.change = lambda i, record: record["root_quat_wxyz"].__imul__(1.05) is not None
    play.tick(100)
    assert "REFERENCE_NON_FINITE" in play.since


def jump_by(play: Play, frames: range, change: Callable[[Any], None]) -> None:
    def harm(i: int, record: Any) -> bool:
        if i in frames:
            change(record)
        return True

    play.sender.change = harm


@pytest.mark.parametrize(("jump", "is_jump"), [(LIMITS.reference_jump_rad - 0.03, False),
                                               (LIMITS.reference_jump_rad + 0.03, True)])
def test_a_single_frame_that_jumps_is_refused_and_bridged(jump: float, is_jump: bool) -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0))).engaged()
    first = play.sender.sent

    def change(record: Any) -> None:
        record["joint_pos"][0] += jump

    jump_by(play, range(first, first + 1), change)
    seen = 0.0
    for _ in range(20):
        play.tick()
        seen = max(seen, float(np.abs(play.sample().joint_pos - POSE[INDEX]).max()))
    assert ("REFERENCE_JUMP" in play.since) is is_jump
    assert (seen < 1e-6) is is_jump
    assert play.stream.buffer.refused == int(is_jump)


def test_a_stream_that_stays_behind_a_jump_is_faded_over_to() -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0))).engaged()
    first = play.sender.sent

    def change(record: Any) -> None:
        record["joint_pos"][0] += 0.8

    jump_by(play, range(first, 10**6), change)
    seen = []
    for _ in range(60):
        play.tick()
        seen.append(play.sample().joint_pos.copy())
    q = np.abs(np.array(seen) - POSE[INDEX]).max(axis=1)
    assert play.stream.buffer.refused == 1
    assert "REFERENCE_JUMP" in play.since
    assert "REFERENCE_LATE" not in play.since
    assert q[0] == pytest.approx(0, abs=1e-6)
    assert q[-1] == pytest.approx(0.8, abs=1e-6)
    assert np.diff(q).max() <= 0.8 * 1.875 * PERIOD / FADE_NS * 1.05
    assert ((q > 1e-6) & (q < 0.8 - 1e-6)).sum() * PERIOD <= FADE_NS


@pytest.mark.parametrize(("metres", "is_jump"), [(JUMP_M - 0.02, False), (JUMP_M + 0.02, True)])
def test_a_root_that_jumps_is_a_jump_too(metres: float, is_jump: bool) -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0))).engaged()
    first = play.sender.sent

    def change(record: Any) -> None:
        record["root_pos"][0] += metres

    jump_by(play, range(first, first + 1), change)
    play.tick(100)
    assert (play.stream.buffer.refused > 0) is is_jump


def test_frames_beyond_the_joints_limits_are_limited_and_too_many_of_them_are_a_fault() -> None:
    upper = ROBOT.column("upper_rad")[TWIST2.motor_index]
    joint = INDEX[0]
    for every, is_fault in ((12, False), (8, True)):
        play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0))).engaged()

        def change(i: int, record: Any, every: int = every) -> bool:
            if i % every == 0:
                record["joint_vel"][joint] = 100.0
            return True

        play.sender.change = change
        play.tick(1500)
        assert ("REFERENCE_LIMITED" in play.since) is is_fault
        assert play.stream.buffer.limited > 0
        assert abs(play.sample().joint_vel).max() <= ROBOT.column("velocity_rad_s").max()

    def lifted(time_s: float) -> tuple[Any, Any, Any]:
        joints = POSE.copy()
        joints[joint] = min(upper[0] + 0.2, POSE[joint] + time_s)
        return joints, (0, 0, 0.78), (1, 0, 0, 0)

    play = Play(lifted).engaged()
    play.tick(6000)
    assert play.sample().joint_pos.max() <= upper.max() + 1e-6
    assert play.sample().joint_pos[0] == pytest.approx(upper[0], abs=1e-6)
    assert "REFERENCE_LIMITED" in play.since


def test_another_protocol_or_joint_list_in_a_followed_stream_is_a_fault_at_once() -> None:
    play = Play().engaged()

    def change(record: Any) -> None:
        record["form"] = 7

    jump_by(play, range(play.sender.sent + 2, 10**6), change)
    play.tick(20)
    assert play.flags == []
    play.tick(40)
    assert "STREAM_VERSION" in play.flags
    play.stream.disengage()
    play.tick(500)
    assert play.flags == []
    assert play.engage() == "no healthy stream of reference frames", "it is not this robot's, whoever asks"
    play.sender.change = lambda i, record: True
    play.tick(200)
    assert play.engage() == "", "as soon as its frames are again"


def test_a_frame_of_another_form_is_not_read_and_one_is_enough() -> None:
    play = Play().engaged()

    def change(record: Any) -> None:
        record["form"] = 7
        record["joint_pos"] = record["root_quat_wxyz"] = np.nan

    jump_by(play, range(play.sender.sent + 2, play.sender.sent + 3), change)
    play.tick(100)
    assert play.flags == ["STREAM_VERSION"]
    assert play.stream.buffer.bad == 0
    play.tick(1000)
    assert play.flags == ["STREAM_VERSION"], "for as long as somebody follows"
    play.stream.disengage()
    play.tick(40)
    assert (play.flags, play.engage()) == ([], "")


@pytest.mark.parametrize(("away", "refused"), [(ENGAGE_RAD - 0.02, False), (ENGAGE_RAD + 0.02, True)])
def test_engaging_is_refused_far_from_the_present_pose(away: float, refused: bool) -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0)))
    play.tick(400)
    play.state.q[TWIST2.motor_index[3]] += away
    assert ("rad from the robot's" in play.engage()) is refused
    assert play.stream.is_engaged is not refused


@pytest.mark.parametrize(("away", "refused"), [(ENGAGE_ARM_RAD - 0.02, False), (ENGAGE_ARM_RAD + 0.02, True)])
def test_arms_may_be_further_and_are_blended_over_longer(away: float, refused: bool) -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.78), (1, 0, 0, 0)))
    play.tick(400)
    elbow = next(joint.motor for joint in ROBOT.joints if joint.name == "left_elbow_joint")
    play.state.q[elbow] += away
    assert bool(play.engage()) is refused
    assert refused or play.stream.blend_s == pytest.approx(away / BLEND_RAD_S, rel=1e-6)


@pytest.mark.parametrize(("away", "refused"), [(ENGAGE_M - 0.02, False), (ENGAGE_M + 0.02, True)])
def test_engaging_is_refused_far_from_the_commanded_height(away: float, refused: bool) -> None:
    play = Play(lambda t: (POSE, (0, 0, 0.8 - away), (1, 0, 0, 0)))
    play.tick(400)
    assert ("height" in play.engage()) is refused


def test_engaging_is_refused_when_the_stream_s_root_leans_another_way() -> None:
    for lean, refused in ((ENGAGE_RAD - 0.02, False), (ENGAGE_RAD + 0.02, True)):
        quat = (math.cos(lean / 2), math.sin(lean / 2), 0, 0)
        play = Play(lambda t, quat=quat: (POSE, (0, 0, 0.8), quat))
        play.tick(400)
        assert ("leans" in play.engage()) is refused


@pytest.mark.parametrize(("frames", "refused"), [(4, True), (5, False)])
def test_engaging_wants_a_buffer_that_is_filled(frames: int, refused: bool) -> None:
    play = Play(delay_ns=lambda i: 0)
    play.tick(20 * frames)
    assert bool(play.engage()) is refused


def test_another_sender_s_clock_begins_anew_while_nobody_follows_and_is_late_while_somebody_does() -> None:
    play = Play()
    play.tick(400)
    play.sender = Streamer(ROBOT, sway, clock_ns=10**12)
    play.tick(400)
    assert play.engage() == ""
    play.sender = Streamer(ROBOT, sway, clock_ns=-(10**12))
    play.tick(400)
    assert "REFERENCE_LATE" in play.since
