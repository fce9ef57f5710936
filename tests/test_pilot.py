"""The schedule of a run: which reference, command and target there are at each tick, and that none of them jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firmware_bridge.motor_bus import KD, KP, Q
from runtime.clip import make_clip
from runtime.controller import Controller
from runtime.faults import Mode
from runtime.manifest_reader import load_manifest
from runtime.pilot import (
    BLEND_IN_S,
    BLEND_OUT_S,
    HOLD_S,
    RAMP_MIN_S,
    RESUME_S,
    SETTLE_S,
    Phase,
    Pilot,
    min_jerk,
)
from runtime.reference import ClipReference
from runtime.state import RobotState
from tests.stub_model import StubModel

RATE = 50
FPS, FRAMES = 30.0, 61
PLAY_S = (FRAMES - 1) / FPS
TWIST2, HOLOSOMA = load_manifest("twist2"), load_manifest("holosoma-velocity")
POSE = TWIST2.default_pose.astype(float)


def walk() -> ClipReference:
    """Starts moving and turned away, so that every blend has something to do."""
    t = np.arange(FRAMES) / FPS
    joint_pos = POSE + 0.2 + 0.1 * np.sin(3 * t)[:, None] * np.linspace(0.2, 1, 29)
    root = np.stack([3 + 0.5 * t, 4 - 0.2 * t, 0.75 + 0.02 * np.sin(t)], axis=1)
    yaw = 2.5 + t
    quat = np.stack([np.cos(yaw / 2), 0 * t, 0 * t, np.sin(yaw / 2)], axis=1)
    return ClipReference(make_clip("walk", FPS, TWIST2.order, joint_pos, root, quat), TWIST2.order)


class Flight:
    """A pilot with a stub network behind it, and what it did at each tick."""

    def __init__(self, *, velocity: bool = False, play_s: float = PLAY_S, operator: bool = False) -> None:
        def think(model: StubModel) -> None:
            model.outputs["action"][0] = 0.1 * model.runs

        manifest, size = (HOLOSOMA, 100) if velocity else (TWIST2, 1432)
        self.model = StubModel({"obs": size}, {"action": 29}, think)
        self.controller = Controller(manifest, self.model)
        self.source = None if velocity else walk()
        self.pilot = Pilot(self.controller, self.source, play_s, (0.5, 0.1, -0.2) if velocity else (0, 0, 0),
                           has_operator=operator)
        self.state = RobotState(29)
        self.state.q[:] = 0.3
        self.phases: list[Phase] = []
        self.frames: list[dict[str, np.ndarray]] = []
        self.commands: list[np.ndarray] = []

    def tick(self, mode: Mode, count: int = 1) -> Phase:
        for _ in range(count):
            self.pilot.tick(mode, self.state)
            now = self.controller.window.now
            self.phases.append(self.pilot.phase)
            self.frames.append({name: np.array(getattr(now, name)) for name in (
                "joint_pos", "joint_vel", "root_pos", "root_rpy", "root_quat_wxyz", "root_lin_vel", "root_ang_vel")})
            self.commands.append(self.controller.inputs.command.copy())
        return self.pilot.phase

    def until(self, phase: Phase, mode: Mode = Mode.TRACK) -> Flight:
        """Tick until `phase` has just begun."""
        for _ in range(1000):
            if self.tick(mode) is phase:
                return self
        raise AssertionError(f"never reached {phase.name}")

    def tracking(self) -> Flight:
        self.tick(Mode.DISARMED)
        self.until(Phase.READY, Mode.READY)
        self.phases.clear()
        self.frames.clear()
        self.commands.clear()
        return self

    def lengths(self) -> list[tuple[Phase, int]]:
        """Each phase with its number of ticks, in order."""
        out: list[tuple[Phase, int]] = []
        for phase in self.phases:
            if out and out[-1][0] is phase:
                out[-1] = (phase, out[-1][1] + 1)
            else:
                out.append((phase, 1))
        return out

    def series(self, name: str) -> np.ndarray:
        return np.array([frame[name] for frame in self.frames])

    def target_q(self) -> np.ndarray:
        return np.array(self.pilot.target[:, Q])


def ticks(seconds: float) -> int:
    return round(seconds * RATE)


def test_min_jerk_starts_and_ends_at_rest() -> None:
    s = np.array([min_jerk(x) for x in np.linspace(0, 1, 1001)])
    assert (s[0], s[-1]) == (0, 1)
    speed = np.diff(s) * 1000
    assert speed[0] == pytest.approx(0, abs=1e-4)
    assert speed[-1] == pytest.approx(0, abs=1e-4)
    assert speed.max() == pytest.approx(1.875, abs=1e-3)
    assert (min_jerk(-3), min_jerk(7)) == (0, 1)


def test_while_disarmed_the_target_is_the_measured_pose_and_the_network_sleeps() -> None:
    flight = Flight()
    flight.tick(Mode.DISARMED, 5)
    np.testing.assert_allclose(flight.target_q(), 0.3)
    assert flight.phases == [Phase.WAIT] * 5
    assert flight.model.runs == 0


def test_the_ramp_starts_at_the_measured_pose_and_is_min_jerk_to_the_start_pose() -> None:
    flight = Flight()
    flight.tick(Mode.DISARMED)
    count = ticks(RAMP_MIN_S)
    for i in range(count + 1):
        phase = flight.tick(Mode.READY)
        s = min_jerk(i / count)
        np.testing.assert_allclose(flight.target_q(), (1 - s) * 0.3 + s * POSE, atol=1e-6)
        assert phase is (Phase.RAMP if i < count else Phase.READY)
    flight.tick(Mode.READY, 100)
    np.testing.assert_allclose(flight.target_q(), POSE, atol=1e-6)
    np.testing.assert_array_equal(flight.pilot.target[:, KP], TWIST2.kp)
    np.testing.assert_array_equal(flight.pilot.target[:, KD], TWIST2.kd)
    assert flight.model.runs == 0


def test_a_far_start_pose_takes_longer() -> None:
    flight = Flight()
    flight.state.q[3] = TWIST2.default_pose[3] - 3.0
    flight.tick(Mode.DISARMED)
    flight.until(Phase.READY, Mode.READY)
    assert flight.phases.count(Phase.RAMP) == ticks(3.0)


def test_a_run_goes_through_its_phases_each_for_its_time() -> None:
    flight = Flight().tracking()
    flight.until(Phase.FINISHED)
    assert flight.lengths() == [
        (Phase.SETTLE, ticks(SETTLE_S)), (Phase.BLEND_IN, ticks(BLEND_IN_S)), (Phase.PLAY, ticks(PLAY_S)),
        (Phase.BLEND_OUT, ticks(BLEND_OUT_S)), (Phase.SETTLE_OUT, ticks(SETTLE_S)), (Phase.FINISHED, 1),
    ]


def test_a_velocity_run_goes_through_the_same_phases() -> None:
    flight = Flight(velocity=True, play_s=0.6).tracking()
    flight.until(Phase.FINISHED)
    assert [phase for phase, _ in flight.lengths()] == [
        Phase.SETTLE, Phase.BLEND_IN, Phase.PLAY, Phase.BLEND_OUT, Phase.SETTLE_OUT, Phase.FINISHED]
    assert flight.phases.count(Phase.PLAY) == 30


def test_playing_shows_the_clip_and_its_future() -> None:
    flight = Flight().tracking().until(Phase.PLAY)
    expected = walk()
    window = flight.controller.window
    assert 1 in window.offsets
    for i in range(ticks(PLAY_S)):
        assert flight.pilot.play_time_s == pytest.approx(i / RATE)
        assert flight.controller.inputs.step[0] == i
        for offset in window.offsets:
            wanted = type(window.now)(29)
            expected.sample(flight.pilot.play_time_s + offset * (1 / RATE), wanted)
            np.testing.assert_allclose(window.at(offset).joint_pos, wanted.joint_pos, atol=1e-12)
            np.testing.assert_allclose(window.at(offset).root_lin_vel, wanted.root_lin_vel, atol=1e-12)
        flight.tick(Mode.TRACK)
    assert flight.pilot.phase is Phase.BLEND_OUT


def largest_steps(flight: Flight) -> dict[str, float]:
    """The largest change of each quantity from one tick to the next."""
    out = {name: float(np.abs(np.diff(flight.series(name), axis=0)).max()) for name in ("joint_pos", "root_pos")}
    quat = flight.series("root_quat_wxyz")
    out["turn"] = float(2 * np.arccos(np.clip(np.abs((quat[1:] * quat[:-1]).sum(axis=1)), 0, 1)).max())
    return out


def check_continuity(flight: Flight) -> None:
    """Never faster than the clip itself, or than the blends need to be."""
    steps, clip = largest_steps(flight), walk().clip
    start = clip.joint_pos[0]
    stand = np.abs(clip.joint_pos - POSE).max() * 1.875 / ticks(BLEND_OUT_S)
    blend = np.abs(start - POSE).max() / ticks(BLEND_IN_S)
    allowed = max(np.abs(clip.joint_vel).max() / RATE, stand, blend)
    assert steps["joint_pos"] <= allowed * 1.01
    assert steps["root_pos"] <= max(np.abs(clip.root_vel).max() / RATE, 0.1 * 1.875 / RATE) * 1.01
    assert steps["turn"] <= 1.01 / RATE + 1e-6, "the standing reference faces as the clip does"


def test_the_reference_never_jumps_in_a_whole_run() -> None:
    flight = Flight().tracking()
    flight.until(Phase.FINISHED)
    flight.tick(Mode.TRACK, 20)
    check_continuity(flight)


BEFORE = [(phase, after) for phase in (Phase.SETTLE, Phase.BLEND_IN, Phase.PLAY) for after in (0, 7, 20)]


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.STAND])
@pytest.mark.parametrize(("phase", "after"), BEFORE)
def test_the_reference_never_jumps_on_the_way_to_standing(phase: Phase, after: int, mode: Mode) -> None:
    flight = Flight().tracking().until(phase)
    flight.tick(Mode.TRACK, after)
    flight.until(Phase.FINISHED, mode)
    check_continuity(flight)
    np.testing.assert_allclose(flight.series("joint_pos")[-1], POSE, atol=1e-6)
    assert flight.series("root_pos")[-1][2] == pytest.approx(TWIST2.idle_height_m)


def test_hold_freezes_the_reference_for_a_second_then_stands() -> None:
    flight = Flight().tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 30)
    held, runs = flight.frames[-1], flight.model.runs
    flight.tick(Mode.HOLD, ticks(HOLD_S))
    assert flight.model.runs == runs + ticks(HOLD_S), "the policy goes on balancing"
    for frame in flight.frames[-ticks(HOLD_S) :]:
        np.testing.assert_allclose(frame["joint_pos"], held["joint_pos"], atol=1e-12)
        np.testing.assert_allclose(frame["root_pos"], held["root_pos"], atol=1e-12)
        for name in ("joint_vel", "root_lin_vel", "root_ang_vel"):
            assert not frame[name].any()
    flight.tick(Mode.HOLD, ticks(BLEND_OUT_S))
    assert flight.tick(Mode.HOLD, 1) is Phase.SETTLE_OUT


def test_stand_blends_at_once() -> None:
    flight = Flight().tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 30)
    flight.tick(Mode.STAND, ticks(BLEND_OUT_S))
    assert flight.tick(Mode.STAND) is Phase.SETTLE_OUT


def test_hold_takes_a_velocity_command_back_at_once_and_stand_gently() -> None:
    for mode, first in ((Mode.HOLD, 0.0), (Mode.STAND, 0.5)):
        flight = Flight(velocity=True, play_s=5).tracking().until(Phase.PLAY)
        flight.tick(Mode.TRACK, 10)
        flight.tick(mode, 1)
        assert flight.commands[-1][0] == pytest.approx(first)
        flight.until(Phase.SETTLE_OUT, mode)
        assert not flight.commands[-1].any()


def test_a_velocity_command_rises_and_falls_without_a_jump() -> None:
    flight = Flight(velocity=True, play_s=1).tracking()
    flight.until(Phase.FINISHED)
    commands = np.array(flight.commands)
    np.testing.assert_allclose(commands.max(axis=0)[0], 0.5)
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.5 / ticks(BLEND_IN_S) + 1e-6
    assert not commands[: ticks(SETTLE_S)].any()
    assert not commands[-1].any()


@pytest.mark.parametrize("ready_ticks", [0, 1, 20, 75, 100])
@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.STAND])
def test_hold_before_tracking_keeps_the_pose_and_never_wakes_the_policy(mode: Mode, ready_ticks: int) -> None:
    """A policy woken in the middle of a ramp would follow a reference nobody has filled."""
    flight = Flight()
    flight.tick(Mode.DISARMED)
    flight.tick(Mode.READY, ready_ticks)
    kept = flight.target_q()
    flight.state.q[:] = -1
    for _ in range(ticks(HOLD_S)):
        assert flight.tick(mode) is not Phase.FINISHED
        np.testing.assert_array_equal(flight.target_q(), kept)
    assert flight.tick(mode) is Phase.FINISHED
    np.testing.assert_array_equal(flight.target_q(), kept)
    assert flight.model.runs == 0


def test_an_operator_may_still_track_after_a_hold_before_tracking() -> None:
    flight = Flight()
    flight.tick(Mode.DISARMED)
    flight.tick(Mode.READY, 100)
    flight.tick(Mode.HOLD, 10)
    assert flight.tick(Mode.TRACK) is Phase.SETTLE
    np.testing.assert_allclose(flight.frames[-1]["joint_pos"], POSE, atol=1e-6)


@pytest.mark.parametrize("mode", [Mode.DAMP, Mode.ZERO])
@pytest.mark.parametrize("before", [Mode.DISARMED, Mode.READY, Mode.TRACK])
def test_damping_finishes_the_run_and_hands_out_the_measured_pose(before: Mode, mode: Mode) -> None:
    flight = Flight()
    flight.tick(Mode.DISARMED)
    flight.tick(Mode.READY)
    flight.tick(before, 30)
    runs = flight.model.runs
    flight.state.q[:] = -0.7
    assert flight.tick(mode) is Phase.FINISHED
    np.testing.assert_allclose(flight.target_q(), -0.7, atol=1e-6)
    assert flight.model.runs == runs


def test_a_pilot_that_missed_ready_settles_first() -> None:
    """The policy looks at the mode 50 times a second, the gate decides it 500 times."""
    flight = Flight()
    flight.tick(Mode.DISARMED)
    assert flight.tick(Mode.TRACK) is Phase.SETTLE


def test_tracking_begins_with_a_fresh_controller() -> None:
    flight = Flight()
    flight.controller.tick(flight.state)
    assert flight.controller.inputs.action.any()
    flight.tick(Mode.DISARMED)
    flight.tick(Mode.READY, 80)
    runs = flight.model.runs
    flight.tick(Mode.TRACK)
    assert flight.model.runs == runs + 1
    history = flight.controller.observations[0][0].values[127 : 127 * 11]
    assert not history.any(), "the past of the first tick is empty"


def test_the_standing_reference_faces_as_the_clip_starts() -> None:
    flight = Flight().tracking()
    flight.tick(Mode.TRACK)
    frame = flight.frames[-1]
    np.testing.assert_allclose(frame["root_pos"], [3, 4, TWIST2.idle_height_m])
    np.testing.assert_allclose(frame["root_rpy"], [0, 0, 2.5], atol=1e-9)
    np.testing.assert_allclose(frame["root_quat_wxyz"], [math.cos(1.25), 0, 0, math.sin(1.25)], atol=1e-9)


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.STAND])
def test_with_an_operator_hold_and_stand_end_in_standing_and_without_one_they_finish(mode: Mode) -> None:
    for flight, last in ((Flight(operator=True).tracking(), Phase.SETTLE_OUT), (Flight().tracking(), Phase.FINISHED)):
        flight.until(Phase.PLAY)
        flight.tick(Mode.TRACK, 20)
        assert flight.tick(mode, ticks(60)) is last
        np.testing.assert_allclose(flight.series("joint_pos")[-1], POSE, atol=1e-6)


def test_with_an_operator_a_hold_before_tracking_is_kept_too() -> None:
    flight = Flight(operator=True)
    flight.tick(Mode.DISARMED)
    flight.tick(Mode.READY, 20)
    kept = flight.target_q()
    assert flight.tick(Mode.HOLD, ticks(10)) is not Phase.FINISHED
    np.testing.assert_array_equal(flight.target_q(), kept)


def test_stand_ends_the_frozen_second_of_hold() -> None:
    flight = Flight().tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 30)
    flight.tick(Mode.HOLD, 5)
    flight.tick(Mode.STAND, ticks(BLEND_OUT_S))
    assert flight.tick(Mode.STAND) is Phase.SETTLE_OUT


@pytest.mark.parametrize("held", [3, 60, 120, 400])
def test_a_resumed_motion_never_jumps_and_goes_on_where_it_stopped(held: int) -> None:
    flight = Flight(operator=True).tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 30)
    stopped_s = flight.pilot.play_time_s
    flight.tick(Mode.HOLD, held)
    flight.pilot.resume()
    flight.until(Phase.PLAY, Mode.TRACK)
    assert flight.pilot.play_time_s == pytest.approx(stopped_s + RESUME_S + 1 / RATE)
    flight.tick(Mode.TRACK, 10)
    steps, clip = largest_steps(flight), walk().clip
    apart = np.abs(clip.joint_pos - POSE).max()
    allowed = np.abs(clip.joint_vel).max() / RATE + apart * 1.875 / ticks(RESUME_S)
    assert steps["joint_pos"] <= allowed
    assert steps["root_pos"] <= np.abs(clip.root_vel).max() / RATE + 0.6 * 1.875 / ticks(RESUME_S)


def test_a_motion_that_is_over_has_nothing_left_to_resume() -> None:
    flight = Flight(operator=True).tracking().until(Phase.PLAY)
    assert flight.pilot.has_motion_left
    flight.until(Phase.SETTLE_OUT)
    assert not flight.pilot.has_motion_left


def test_a_resumed_velocity_command_rises_from_where_it_is() -> None:
    flight = Flight(velocity=True, play_s=5, operator=True).tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 10)
    flight.tick(Mode.HOLD, 200)
    flight.pilot.resume()
    flight.until(Phase.PLAY, Mode.TRACK)
    commands = np.array(flight.commands)[-ticks(RESUME_S) - 1 :]
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.5 * 1.875 / ticks(RESUME_S) + 1e-6
    np.testing.assert_allclose(commands[-1], [0.5, 0.1, -0.2], atol=1e-6)


def test_standing_aside_is_standing_and_anchored_anew_at_every_tick() -> None:
    flight = Flight(operator=True).tracking().until(Phase.PLAY)
    flight.tick(Mode.TRACK, 30)
    flight.pilot.stand_aside()
    for _ in range(5):
        assert flight.pilot.plan(Mode.TRACK, flight.state)
        assert flight.controller.inputs.reinit[0] == 1
        np.testing.assert_allclose(flight.controller.window.now.joint_pos, POSE, atol=1e-6)
    assert flight.pilot.phase is Phase.ASIDE
