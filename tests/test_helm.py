"""Who steers when: gestures, dead-man, link and the gate's mode, on fake time with networks that say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.motor_bus import Q
from runtime.controller import Controller
from runtime.faults import Mode, flag_names
from runtime.handover import BLEND_S, Driver
from runtime.helm import GESTURE_NS, Helm
from runtime.manifest_reader import load_manifest
from runtime.mux import Source
from runtime.pilot import BLEND_OUT_S, HOLD_S, RESUME_S, SETTLE_S, Phase, Pilot
from runtime.reference import ReferenceSource
from runtime.state import RobotState
from runtime.steering import ACCELERATION
from runtime.stream_reference import StreamReference
from tests.scripted_operator import ScriptedOperator, Streamer
from tests.stub_model import StubModel
from tests.test_pilot import walk

TWIST2, HOLOSOMA = load_manifest("twist2"), load_manifest("holosoma-velocity")
PERIOD_NS = 20_000_000
LIMITS = TWIST2.robot.limits
LONG_S = 30.0


class Watch:
    """A helm with everything it may have, time, and the gate's mode."""

    def __init__(self, *, steered: bool = True, own: str = "tracker", play_s: float = LONG_S) -> None:
        self.controller = Controller(*((TWIST2, StubModel({"obs": 1432}, {"action": 29})) if own == "tracker"
                                       else (HOLOSOMA, StubModel({"obs": 100}, {"action": 29}))))
        beside = Controller(HOLOSOMA, StubModel({"obs": 100}, {"action": 29}))
        self.steered = (beside if own == "tracker" else self.controller) if steered else None
        source: ReferenceSource | None = walk() if own == "tracker" else None
        self.pilot = Pilot(self.controller, source, play_s, (0.0,) * 3 if own == "tracker" else (0.4, 0.0, 0.0),
                           has_operator=True)
        self.stream = StreamReference(TWIST2.robot, TWIST2.order, LIMITS) if own == "tracker" else None
        self.helm = Helm(self.pilot, self.controller, LIMITS, steered=self.steered, stream=self.stream)
        self.operator = ScriptedOperator()
        self.state = RobotState(29)
        self.state.q[TWIST2.motor_index] = self.controller.manifest.default_pose
        self.now_ns, self.mode = 50 * 10**9, Mode.DISARMED
        self.targets: list[np.ndarray] = []
        self.commands: list[np.ndarray] = []
        self.tick()
        self.mode = Mode.READY
        while self.pilot.phase is not Phase.READY:
            self.tick()
        self.targets.clear()

    def tick(self, seconds: float = 0.02) -> Watch:
        for _ in range(round(seconds * 50)):
            self.now_ns += PERIOD_NS
            for frame in self.operator.look(self.now_ns, self.helm.operator[0]):
                if self.stream is not None:
                    self.stream.take(frame)
            self.targets.append(self.helm.tick(self.mode, self.state, self.now_ns).copy())
            self.commands.append(self.helm.command.copy())
        return self

    def playing(self, seconds: float = 1.0) -> Watch:
        self.mode = Mode.TRACK
        while self.pilot.phase is not Phase.PLAY:
            self.tick()
        return self.tick(seconds)

    def steering(self, command: tuple[float, float, float] = (0.5, 0.0, 0.0), seconds: float = 2.0) -> Watch:
        self.playing()
        self.operator.engage(Source.NETWORK, command)
        return self.tick(seconds)

    @property
    def driver(self) -> Driver | None:
        return self.helm._handover.driver if self.helm._handover is not None else None


def pose_at(watch: Watch) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """A pose to stream that is the robot's own: joints in the robot's order."""
    joints = np.zeros(29)
    joints[TWIST2.robot.order.index_of(TWIST2.order)] = watch.state.q[TWIST2.motor_index]
    return joints, (0.0, 0.0, 0.78), (1.0, 0.0, 0.0, 0.0)


def test_the_run_s_own_motion_steers_until_somebody_engages() -> None:
    watch = Watch().playing()
    assert watch.helm.source is Source.CLIP
    np.testing.assert_array_equal(watch.targets[-1], watch.controller.target)
    watch.operator.held = True  # a dead-man that is held engages nobody
    watch.operator.command = (0.5, 0, 0)
    assert watch.tick(1.0).helm.source is Source.CLIP


@pytest.mark.parametrize("source", [Source.KEYBOARD, Source.GAMEPAD, Source.NETWORK])
def test_a_gesture_hands_over_and_the_command_starts_at_zero(source: Source) -> None:
    watch = Watch().playing()
    watch.operator.engage(source, (0.5, 0.0, 0.3))
    watch.tick()
    assert watch.helm.source is source
    assert watch.commands[-1][0] == pytest.approx(ACCELERATION[0] * 0.02)
    watch.tick(BLEND_S)
    assert watch.driver is Driver.STEERED
    np.testing.assert_allclose(watch.tick(1.0).commands[-1], [0.5, 0.0, 0.3])
    steps = np.abs(np.diff(np.array(watch.commands), axis=0)).max(axis=0)
    assert (steps <= np.array(ACCELERATION) * 0.02 + 1e-6).all()


def test_the_clip_plays_on_within_the_blend_and_stands_aside_after_it() -> None:
    watch = Watch().playing()
    watch.operator.engage(Source.NETWORK)
    began_s = watch.pilot.play_time_s
    watch.tick(BLEND_S)
    assert watch.pilot.play_time_s == pytest.approx(began_s + BLEND_S)
    assert watch.pilot.phase is Phase.ASIDE
    now_s = watch.tick(3.0).pilot.play_time_s
    assert now_s == pytest.approx(began_s + BLEND_S), "time stands still for it"
    assert not watch.controller.window.now.joint_vel.any()


def test_letting_go_stands_on_the_velocity_controller_for_as_long_as_it_takes() -> None:
    watch = Watch().steering()
    watch.operator.release()
    watch.tick()
    assert watch.helm.source is Source.STAND
    watch.mode = Mode.HOLD
    watch.tick(60.0)
    assert not watch.commands[-1].any()
    assert watch.pilot.phase is Phase.ASIDE
    assert watch.driver is Driver.STEERED


def test_the_clip_is_not_resumed_because_somebody_let_go() -> None:
    watch = Watch().steering()
    watch.operator.release()
    watch.tick(20.0)  # the gate would HOLD; even without that nothing moves
    assert watch.helm.source is Source.STAND
    assert not watch.commands[-1].any()


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.STAND])
def test_only_a_fresh_gesture_steers_again_after_hold_and_stand(mode: Mode) -> None:
    watch = Watch().steering()
    watch.operator.release()
    watch.mode = mode
    watch.tick(2.0)
    watch.operator.held, watch.operator.command = True, (0.5, 0.0, 0.0)
    watch.tick(1.0)
    assert watch.helm.source is Source.STAND
    watch.operator.engage(Source.NETWORK, (0.5, 0.0, 0.0))
    watch.tick()
    assert watch.helm.source is Source.STAND, "the gate has the last word"
    watch.mode = Mode.TRACK
    watch.tick()
    assert watch.helm.source is Source.NETWORK
    assert 0 < watch.commands[-1][0] <= ACCELERATION[0] * 0.02 + 1e-6


@pytest.mark.parametrize(("waited_ns", "source"), [
    (GESTURE_NS - 2 * PERIOD_NS, Source.NETWORK), (GESTURE_NS + 2 * PERIOD_NS, Source.CLIP),
])
def test_a_gesture_is_forgotten_when_the_gate_does_not_follow_it(waited_ns: int, source: Source) -> None:
    watch = Watch().playing()
    watch.mode = Mode.HOLD
    watch.tick(3.0)
    watch.operator.engage(Source.NETWORK)
    watch.tick(waited_ns * 1e-9)
    watch.mode = Mode.TRACK
    assert watch.tick().helm.source is source


def test_tracking_without_a_gesture_resumes_the_motion_where_it_stopped() -> None:
    watch = Watch().playing()
    stopped_s = watch.pilot.play_time_s
    watch.mode = Mode.HOLD
    watch.tick(HOLD_S + BLEND_OUT_S + SETTLE_S + 5.0)
    assert watch.pilot.phase is Phase.SETTLE_OUT, "with an operator it goes on standing"
    watch.mode = Mode.TRACK
    watch.tick(RESUME_S)
    assert watch.pilot.phase is Phase.RESUME
    watch.tick(0.5)
    assert watch.pilot.phase is Phase.PLAY
    assert watch.pilot.play_time_s == pytest.approx(stopped_s + RESUME_S + 0.5, abs=0.021)


def test_a_gesture_that_names_the_clip_hands_back_to_it() -> None:
    watch = Watch().steering()
    stopped_s = watch.pilot.play_time_s
    watch.operator.engage(Source.CLIP)
    watch.tick()
    assert (watch.helm.source, watch.pilot.phase) == (Source.CLIP, Phase.PLAY)
    assert watch.driver is Driver.STEERED, "the tracker looks at it first"
    watch.tick(1.0)
    assert watch.driver is Driver.TRACKER
    assert watch.pilot.play_time_s == pytest.approx(stopped_s + 1.02, abs=0.021)
    assert not watch.commands[-1].any()


def test_after_handing_back_neither_hand_nor_link_matter() -> None:
    watch = Watch().steering()
    watch.operator.engage(Source.CLIP)
    assert not watch.operator.held
    watch.operator.is_heard = False
    began_s = watch.pilot.play_time_s
    watch.tick(3.0)
    assert (watch.helm.source, watch.driver, watch.pilot.phase) == (Source.CLIP, Driver.TRACKER, Phase.PLAY)
    assert watch.pilot.play_time_s == pytest.approx(began_s + 3.0, abs=0.021)


def test_handing_back_to_a_motion_that_is_over_leaves_the_robot_standing() -> None:
    watch = Watch(play_s=1.2).playing(1.0)
    watch.operator.engage(Source.NETWORK, (0.5, 0.0, 0.0))
    watch.tick(2.0)  # the clip has played to its end within the blend
    assert watch.commands[-1].any()
    watch.operator.engage(Source.CLIP)
    watch.tick(2.0)
    assert watch.helm.notices[-1] == "not engaged by clip: the motion is over"
    assert watch.helm.source is Source.STAND
    assert not watch.commands[-1].any(), "nobody holds a dead-man any more, so nobody steers"


def test_at_the_start_pose_handing_back_starts_the_motion() -> None:
    watch = Watch()
    watch.operator.engage(Source.CLIP)
    watch.tick()
    watch.playing()
    assert watch.helm.source is Source.CLIP
    assert not watch.pilot.was_helped, "its end is the run's own"


@pytest.mark.parametrize("when", ["while the tracker looks", "within the blend"])
def test_letting_go_on_the_way_back_stays_with_the_velocity_controller(when: str) -> None:
    watch = Watch().steering()
    watch.operator.engage(Source.CLIP)
    watch.tick(0.1 if when == "while the tracker looks" else 0.5)
    watch.operator.release()
    watch.mode = Mode.HOLD
    watch.tick(1.0)
    assert watch.driver is Driver.STEERED
    assert watch.pilot.phase is Phase.ASIDE


@pytest.mark.parametrize(("age_s", "source"), [
    (LIMITS.operator_hold_s - 0.03, Source.NETWORK), (LIMITS.operator_hold_s + 0.03, Source.STAND),
])
def test_a_late_link_stops_the_robot_at_its_limit(age_s: float, source: Source) -> None:
    watch = Watch().steering()
    watch.operator.is_heard = False
    assert watch.tick(age_s).helm.source is source


def test_a_gesture_right_after_the_start_waits_for_full_histories() -> None:
    watch = Watch()
    watch.mode = Mode.TRACK
    watch.operator.engage(Source.NETWORK, (0.5, 0, 0))
    watch.tick()
    assert watch.helm.source is Source.CLIP
    assert watch.tick(0.3).helm.source is Source.NETWORK


def test_without_a_velocity_controller_the_gesture_changes_nothing_and_says_so() -> None:
    watch = Watch(steered=False).playing()
    watch.operator.engage(Source.NETWORK, (0.5, 0, 0))
    watch.tick(1.0)
    assert watch.helm.source is Source.CLIP
    assert list(watch.helm.notices) == ["not engaged by network: this run has no velocity controller"]


def test_nothing_that_is_sent_jumps_from_the_clip_to_steering_and_back() -> None:
    watch = Watch().steering()
    watch.operator.engage(Source.CLIP)
    watch.tick(2.0)
    q = np.array(watch.targets)[:, :, Q]
    apart = np.abs(HOLOSOMA.default_pose - TWIST2.default_pose).max()
    assert np.abs(np.diff(q, axis=0)).max() <= apart * 1.875 / (BLEND_S * 50) * 1.01


def test_a_motion_that_ends_with_nobody_engaged_ends_the_run_and_otherwise_stands() -> None:
    watch = Watch(play_s=1.0).playing(0.5)
    watch.tick(10.0)
    assert watch.pilot.phase is Phase.FINISHED
    watch = Watch(play_s=2.0).steering()
    watch.operator.engage(Source.CLIP)
    watch.tick(30.0)
    assert watch.pilot.phase is Phase.SETTLE_OUT
    watch.operator.engage(Source.CLIP)
    watch.tick(1.0)
    assert watch.helm.notices[-1] == "not engaged by clip: the motion is over"
    assert watch.pilot.phase is Phase.SETTLE_OUT


def test_a_stream_is_followed_from_a_gesture_until_the_dead_man_is_released() -> None:
    watch = Watch().playing()
    watch.operator.frames = Streamer(TWIST2.robot, lambda t: pose_at(watch))
    watch.tick(0.5)
    assert watch.helm.source is Source.CLIP, "frames alone engage nobody"
    watch.operator.engage(Source.STREAM)
    watch.tick(RESUME_S + 0.1)
    assert watch.helm.source is Source.STREAM
    np.testing.assert_allclose(watch.controller.window.now.joint_pos, TWIST2.default_pose, atol=1e-6)
    watch.operator.release()
    watch.tick()
    assert watch.helm.source is Source.STAND
    assert watch.stream is not None
    assert not watch.stream.is_engaged


def test_a_stream_too_far_away_is_refused_and_changes_nothing() -> None:
    watch = Watch().playing()
    bent = np.where(np.array(TWIST2.robot.order.names) == "left_knee_joint", 1.0, 0.0)
    watch.operator.frames = Streamer(TWIST2.robot, lambda t: (pose_at(watch)[0] + bent, *pose_at(watch)[1:]))
    watch.tick(0.5)
    watch.operator.engage(Source.STREAM)
    watch.tick(0.5)
    assert watch.helm.source is Source.CLIP
    assert "left_knee_joint of the stream is 1.00 rad from the robot's" in watch.helm.notices[-1]


def test_a_stream_that_falls_silent_is_late_in_track_and_lost_in_hold_and_then_forgotten() -> None:
    watch = Watch().playing()
    watch.operator.frames = Streamer(TWIST2.robot, lambda t: pose_at(watch))
    watch.tick(0.5)
    watch.operator.engage(Source.STREAM)
    watch.tick(1.0)
    watch.operator.frames = lambda now_ns: ()
    while not watch.helm.flags:
        watch.tick()
    assert flag_names(watch.helm.flags) == ["REFERENCE_LATE"]
    assert watch.helm.source is Source.STAND
    watch.mode = Mode.HOLD
    watch.tick(LIMITS.reference_stand_s - LIMITS.reference_hold_s + 0.02)
    assert flag_names(watch.helm.flags) == ["REFERENCE_LATE", "REFERENCE_LOST"]
    watch.mode = Mode.STAND
    watch.tick(0.1)
    assert watch.helm.flags == 0, "so that a gesture may end it"
    watch.operator.engage(Source.NETWORK)
    watch.tick()
    watch.mode = Mode.TRACK
    assert watch.tick().helm.source is Source.NETWORK


def test_from_steering_to_a_stream_and_back_without_standing() -> None:
    watch = Watch().steering()
    watch.operator.frames = Streamer(TWIST2.robot, lambda t: pose_at(watch))
    watch.tick(0.5)
    watch.operator.engage(Source.STREAM)
    watch.tick(1.5)
    assert (watch.helm.source, watch.driver) == (Source.STREAM, Driver.TRACKER)
    watch.operator.engage(Source.NETWORK, (0.3, 0, 0))
    watch.tick(1.5)
    assert (watch.helm.source, watch.driver) == (Source.NETWORK, Driver.STEERED)


def test_a_velocity_controller_of_the_run_is_steered_itself() -> None:
    watch = Watch(own="velocity").playing()
    np.testing.assert_allclose(watch.commands[-1], [0.4, 0, 0])
    watch.operator.engage(Source.GAMEPAD, (-0.4, 0.0, 0.0))
    watch.tick(2.0)
    np.testing.assert_allclose(watch.commands[-1], [-0.4, 0, 0])
    assert np.abs(np.diff(np.array(watch.commands)[-100:], axis=0)).max() <= 0.04 + 1e-6
    watch.operator.release()
    watch.mode = Mode.HOLD
    watch.tick(3.0)
    assert not watch.commands[-1].any()
    assert watch.pilot.phase is Phase.ASIDE


@pytest.mark.parametrize("mode", [Mode.DAMP, Mode.ZERO])
def test_damping_is_the_highest_source_and_ends_everything(mode: Mode) -> None:
    watch = Watch().steering()
    watch.mode = mode
    watch.tick()
    assert (watch.helm.source, watch.pilot.phase) == (Source.ESTOP, Phase.FINISHED)
    np.testing.assert_array_equal(watch.targets[-1][:, Q], watch.state.q)


@pytest.mark.parametrize("source", [Source.STAND, Source.ESTOP])
def test_what_cannot_steer_cannot_be_engaged(source: Source) -> None:
    watch = Watch().playing()
    watch.operator.engage(source)
    watch.tick(0.5)
    assert watch.helm.source is Source.CLIP
    assert watch.helm.notices[-1].endswith("nothing that can steer")


def test_with_emergency_stops_alone_a_gesture_lets_the_motion_go_on() -> None:
    watch = Watch().playing()
    watch.mode = Mode.HOLD
    watch.tick(1.0)
    watch.operator.engage(Source.NONE)
    watch.tick()
    watch.mode = Mode.TRACK
    assert watch.tick().helm.source is Source.CLIP
    assert watch.pilot.phase is Phase.RESUME


def test_letting_go_on_the_way_to_the_velocity_controller_ends_with_it() -> None:
    watch = Watch().playing()
    watch.operator.engage(Source.NETWORK, (0.5, 0.0, 0.0))
    watch.tick(0.2)
    assert watch.driver is None
    watch.operator.release()
    watch.mode = Mode.HOLD
    watch.tick(2.0)
    assert watch.driver is Driver.STEERED
    assert watch.pilot.phase is Phase.ASIDE
    assert not watch.commands[-1].any()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_only_a_held_dead_man_steers_and_nothing_jumps(seed: int) -> None:
    """Gestures, hands, links, streams and the gate's modes at random; the gate goes up only when asked, as it does."""
    draw = np.random.default_rng(seed)
    watch = Watch(play_s=6.0).playing(0.2)
    streamer = Streamer(TWIST2.robot, lambda t: pose_at(watch))
    sources = [Source.NETWORK, Source.GAMEPAD, Source.STREAM, Source.CLIP, Source.NONE, Source.STAND]
    start = len(watch.targets)
    for _ in range(400):
        event = draw.integers(0, 12)
        if event == 0:
            watch.operator.engage(sources[draw.integers(len(sources))], tuple(draw.uniform(-2, 2, 3)))
        elif event == 1:
            watch.operator.release()
        elif event == 2:
            watch.operator.is_heard = bool(draw.integers(2))
        elif event == 3:
            watch.operator.frames = streamer if draw.integers(2) else lambda now_ns: ()
        elif event == 4 and watch.mode < Mode.STAND:
            watch.mode = Mode(watch.mode + 1)
        elif event == 5:
            watch.mode = Mode.TRACK
        watch.tick()
        if watch.helm.source in (Source.NETWORK, Source.GAMEPAD, Source.STREAM):
            assert watch.operator.held
            assert watch.mode is Mode.TRACK
        if watch.mode is not Mode.TRACK:
            assert watch.helm.source is Source.STAND
    q = np.array(watch.targets)[start:, :, Q]
    assert np.isfinite(q).all()
    apart = np.abs(HOLOSOMA.default_pose - TWIST2.default_pose).max()
    assert np.abs(np.diff(q, axis=0)).max() <= apart * 1.875 / (BLEND_S * 50) * 1.01
    assert watch.steered is not None
    assert np.abs(watch.steered.inputs.command).max() <= 1.0
