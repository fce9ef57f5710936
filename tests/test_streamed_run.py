"""Runs whose own motion is streamed, in lock-step: jitter, loss, reordering, an ended sender, and its return."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from export.recorder import settings_for
from runtime.channels import ChannelTable
from runtime.clip import load_clip
from runtime.faults import Mode, Request, flag_names
from runtime.helm import NEAR_NS
from runtime.mux import Source
from runtime.packed_message import ORDER, encode
from runtime.pilot import Phase
from runtime.report import stream_delays
from runtime.robot import JointOrder
from runtime.stream_asks import Asks
from runtime.stream_intake import StreamIntake
from runtime.stream_process import default_q
from tests.handover_trial import OperatedRun
from tests.scripted_operator import ScriptedOperator

MS = 1_000_000


class StreamedRun(OperatedRun):
    """A robot that follows a shipped clip, back and forth, over a bad link: 5 % lost, 5 % twice, 30 ms of jitter.

    Args:
        begins_s: into the run; before, nobody sends.
    """

    def __init__(self, clip: str = "sway", seed: int = 0, *, begins_s: float = 0.0) -> None:
        super().__init__(replace(settings_for("g1-tracker"), stream="tcp://127.0.0.1:1"), operator=ScriptedOperator())
        manifest = self.policy.manifest
        self._motion = load_clip(clip, manifest.robot)
        self._joints = self._motion.joint_pos[:, self._motion.order.index_of(JointOrder(ORDER))]
        self._frames: list[bytes] = []
        self.intake = StreamIntake(manifest.robot, ChannelTable(), default_q(manifest), manifest.idle_height_m,
                                   lambda record: self._frames.append(record.tobytes()))
        self._draw, self._number, self._due = random.Random(seed), 0, list[tuple[int, bytes]]()
        self._began_ns = 10**9 + round(begins_s * 1e9)
        self.is_sending = True
        self.operator.frames = self.hear

    def hear(self, now_ns: int) -> Iterable[bytes]:
        while (made_ns := self._began_ns + self._number * 20 * MS) <= now_ns:
            if self.is_sending:
                for _ in range((self._draw.random() >= 0.05) + (self._draw.random() < 0.05)):
                    self._due.append((made_ns + self._draw.randint(1, 31 * MS), self._message(self._number)))
            self._number += 1
        self._frames.clear()
        for at_ns, data in sorted(due for due in self._due if due[0] <= now_ns):
            self.intake.take(data, at_ns)
        self.stream["newest_ns"] = self.intake.newest_ns
        self.stream["malformed"] = self.intake.counts["malformed"]
        self._due = [due for due in self._due if due[0] > now_ns]
        return list(self._frames)

    def _message(self, number: int) -> bytes:
        last = len(self._joints) - 1
        place = int(number * self._motion.fps / 50) % (2 * last)
        i = place if place <= last else 2 * last - place
        row, after = self._joints[i], self._joints[min(i + 1, last)]
        return encode("pose", 1, {
            "joint_pos": row[None].astype(np.float32),
            "joint_vel": ((after - row)[None] * self._motion.fps).astype(np.float32),
            "body_quat": self._motion.root_quat_wxyz[i][None].astype(np.float32),
            "frame_index": np.array([number], np.int64),
        })

    def ask(self) -> None:
        """As the supervisor asks the gate for a gesture."""
        self.request = Request.TRACK


def test_a_bad_link_is_followed_without_a_fall_or_a_hold() -> None:
    run = StreamedRun()
    run.go_on(15.0)
    assert run.modes == [Mode.DISARMED, Mode.READY, Mode.TRACK]
    assert run.policy.helm.source is Source.STREAM
    assert not run.fell
    assert min(run.intake.counts[name] for name in ("missing", "overtaken", "repeated")) > 5


def test_a_walk_over_a_bad_link_asks_for_no_more_than_from_its_file() -> None:
    """Root velocities told from single steps of the feet made the tracker stumble: 1.7 of the gate's rate limit."""
    asked = []
    for run in (OperatedRun(settings_for("g1-tracker", clip="walk")), StreamedRun("walk", 3, begins_s=0.5)):
        with np.errstate(all="ignore"):
            run.go_on(9.5)
        assert not run.fell
        asked.append(run.steps["tracker"].demanded)
    assert asked[1] <= asked[0] * 1.02, asked


def test_an_ended_sender_holds_then_stands_and_its_return_has_to_be_asked_for() -> None:
    run = StreamedRun(seed=1)
    run.go_on(8.0)
    assert run.policy.helm.source is Source.STREAM
    run.is_sending = False
    for mode, limit_ms in ((Mode.HOLD, 100), (Mode.STAND, 300)):
        while run.gate.machine.mode is not mode:
            run.go_on(0.002)
            assert run.now_ns - run.intake.newest_ns <= limit_ms * MS, mode
    run.go_on(3.0)
    assert run.policy.pilot.phase is Phase.SETTLE_OUT
    run.is_sending = True
    run.go_on(3.0)
    assert run.gate.machine.mode is Mode.STAND, "nothing engages by itself"
    run.ask()
    run.go_on(3.0)
    assert run.policy.helm.source is Source.STREAM
    assert not run.fell
    assert run.steps["tracker"].demanded <= 1, "no step above the gate's rate limit"


def test_malformed_messages_are_counted_and_change_nothing() -> None:
    run = StreamedRun(seed=2)
    run.go_on(5.0)
    for _ in range(50):
        run.intake.take(b"pose{}", run.now_ns)
        run.go_on(0.02)
    assert "STREAM_MALFORMED" in flag_names(run.gate.flags)
    assert run.gate.machine.mode is Mode.TRACK
    assert run.policy.helm.source is Source.STREAM


def test_without_a_sender_it_stands_and_follows_the_first_that_comes() -> None:
    run = StreamedRun()
    run.is_sending = False
    run.go_on(6.0)
    assert run.policy.pilot.phase is Phase.SETTLE
    assert run.gate.machine.mode is Mode.TRACK
    run.is_sending = True
    run.go_on(3.0)
    assert run.policy.helm.source is Source.STREAM
    assert not run.fell


def test_a_stream_that_is_too_far_away_at_first_is_followed_once_it_comes_near() -> None:
    run = StreamedRun(seed=5)
    run._joints[:, ORDER.index("left_knee_joint")] += 1.0
    run.go_on(6.0)
    assert run.policy.helm.source is Source.STAND
    assert "not followed yet: left_knee_joint" in run.policy.helm.notices[-1]
    run._joints[:, ORDER.index("left_knee_joint")] -= 1.0
    run.go_on(1.0)
    assert run.policy.helm.source is Source.STREAM
    assert len(run.policy.helm.notices) == 1, "said once"


def test_a_stream_that_stays_too_far_away_is_given_up_and_has_to_be_asked_for() -> None:
    run = StreamedRun(seed=6)
    run._joints[:, ORDER.index("left_knee_joint")] += 1.0
    run.go_on(3.0 + NEAR_NS * 1e-9)
    assert "it has to be asked for again" in run.policy.helm.notices[-1]
    run._joints[:, ORDER.index("left_knee_joint")] -= 1.0
    run.go_on(2.0)
    assert run.policy.helm.source is Source.STAND, "near, but given up"
    assert not run.fell


def test_planner_messages_steer_a_velocity_controller_until_they_end() -> None:
    run = OperatedRun(replace(settings_for("g1-velocity"), stream="tcp://127.0.0.1:1", duration_s=None))
    heard = run.policy.heard
    heard["planner_mode"], heard["movement"], heard["facing"], heard["speed_m_s"] = 2, (1, 0, 0), (1, 0, 0), 0.4
    run.until(Phase.PLAY)
    start = run.robot.base_position[:2].copy()
    for _ in range(250):
        heard["planner_ns"] = run.now_ns
        run.go_on(0.02)
    walked = float(np.linalg.norm(run.robot.base_position[:2] - start))
    assert walked > 1.0 and not run.fell
    run.go_on(2.0)  # nobody speaks: SONIC's program stands after a second, too
    assert not run.policy.controller.inputs.command.any()
    run.go_on(1.0)
    assert run.speed(1.0) < 0.1 and not run.fell


def test_a_stream_that_stumbles_when_the_run_s_time_is_over_is_not_followed_again() -> None:
    run = StreamedRun(seed=4)
    run.policy.pilot._play_ticks = 150
    run.go_on(3.0 + 2.5)
    stream = run.policy.stream
    assert stream is not None and not stream.is_engaged, "its time is over"
    stream.buffer._begin_anew()  # as at a jump, while nobody follows
    while run.policy.pilot.phase is not Phase.FINISHED:
        run.go_on(0.02)
        assert run.policy.pilot.phase not in (Phase.RESUME, Phase.PLAY)
        assert run.now_ns < 15 * 10**9


def test_gestures_ask_once_and_never_begin_to_track() -> None:
    asks = Asks()
    assert asks.look(Mode.READY, Source.NONE, 1, 0) is Request.NONE
    assert asks.look(Mode.TRACK, Source.STAND, 1, 0) is Request.NONE
    assert asks.look(Mode.TRACK, Source.STAND, 2, 0) is Request.STAND
    assert asks.look(Mode.STAND, Source.STAND, 2, 0) is Request.TRACK
    assert asks.look(Mode.STAND, Source.STAND, 2, 0) is Request.NONE
    assert asks.look(Mode.TRACK, Source.STREAM, 3, 0) is Request.NONE
    assert asks.look(Mode.STAND, Source.STAND, 3, 0, typed=True) is Request.TRACK
    assert asks.look(Mode.TRACK, Source.STREAM, 4, 1) is Request.DAMP


def test_the_report_says_how_much_later_frames_are_played() -> None:
    run, rows = StreamedRun(), []
    for _ in range(300):
        run.go_on(0.02)
        run.policy.write_log(run.gate.machine.mode, run.now_ns, 0, 0)
        rows.append(run.policy.log.copy())
    delays = stream_delays(np.concatenate(rows))
    assert 80_000 < delays["stream_added_us"]["p50"] < 140_000  # 100 ms after the fastest arrival
    assert 0 < delays["stream_age_us"]["p50"] <= delays["stream_age_us"]["max"] < 100_000
    assert stream_delays(np.zeros(3, [("phase", "<u4")])) == {}
