"""Runs with hands on simulated time: in sync with the body, beside it, and never in its way."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

import exoactor
from export.motion.stream_sender import messages
from export.recorder import settings_for
from firmware_bridge.hand_bus import LEFT, RIGHT
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.chain import load_motion
from runtime.channels import HAND_JOINTS, ChannelTable
from runtime.errors import Refused
from runtime.faults import BIT, Mode
from runtime.hand import hand_path, load_hand
from runtime.hand_options import add_hand_options, hand_settings
from runtime.hand_track import HandTrack
from runtime.lockstep import Lockstep, run_lockstep
from runtime.log_file import read_log
from runtime.mux import Source
from runtime.packed_message import Decoder, Pose, encode
from runtime.policy import Policy
from runtime.report import make_report
from runtime.robot import load_robot
from runtime.settings import RunSettings
from runtime.stream_intake import StreamIntake, hands_row
from runtime.stream_process import default_q
from tests import test_streamed_run
from tests.test_streamed_run import StreamedRun

DEX3 = load_hand("dex3-1")
DEX3_FILE = str(hand_path("dex3-1"))
PERIOD_MS = 20.0
ACTIONS = [
    {"clip": "reach", "end_s": 1.4, "hands": [
        {"hand": "both", "state": "open", "at_s": 0}, {"hand": "right", "state": "half-open", "at_s": 0.61},
        {"hand": "right", "state": "closed", "at_s": 1.0}]},
    {"clip": "wave", "end_s": 1.2, "hands": [{"hand": "left", "state": "closed", "at_s": 0.7}]},
]


def chain(folder: Path) -> Path:
    path = folder / "chain.json"
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": ACTIONS}), "utf-8")
    return path


def with_hands(folder: Path, **changes: Any) -> RunSettings:
    return replace(settings_for("g1-tracker", clip=str(chain(folder)), out=str(folder)),
                   **{"hands": DEX3_FILE, "hands_on_damp": "keep", **changes})


def test_hands_are_in_sync_with_the_body_within_a_policy_period(tmp_path: Path) -> None:
    settings = with_hands(tmp_path)
    policy, heard = Policy(settings), list[str]()
    factor = run_lockstep(settings, policy, SimulatedRobot(), tmp_path, (float("inf"), 0), None, heard)
    assert policy.hands is not None
    notes = {"warnings": heard, "errors": [], "gate_restarts": 0, "hand_events": policy.hands.events}
    report = make_report(tmp_path, policy.manifest, real_time_factor=factor, notes=notes)
    assert report["outcome"] == "done"
    hands = report["hands"]
    assert [(row["hand"], row["state"]) for row in hands["events"]] == [
        ("left", "open"), ("right", "open"), ("right", "half-open"), ("right", "closed"), ("left", "closed")]
    assert hands["events_told"] == 5
    assert abs(hands["offset_ms_largest"]) <= PERIOD_MS
    assert hands["last_state"] == {"left": "closed", "right": "closed"}
    assert hands["connected"] == {"left": True, "right": True}
    assert hands["findings"] == {}
    assert "hand_events" not in json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert "closed" in (tmp_path / "report.html").read_text("utf-8")
    rows = read_log(tmp_path / "log.mcap").topics["hands"]
    assert np.abs(rows["q"][-1] - DEX3.states_rad[2]).max() < 0.02  # damped, and still closed
    assert (rows["kp"][-1] == np.float32(DEX3.kept_kp)).all()


def test_a_body_does_not_notice_that_there_are_hands(tmp_path: Path) -> None:
    """Bit for bit: nothing of the hands goes into a target of the body."""
    targets = []
    for hands in (None, DEX3_FILE):
        settings = with_hands(tmp_path, hands=hands, duration_s=0.5)
        run, rows = Lockstep(settings, Policy(settings), SimulatedRobot()), []
        while not run.is_over and run.ticks < 3000:
            run.operate()
            run.tick()
            rows.append(np.zeros(1) if run.command is None else run.command.block.copy().reshape(-1))
        targets.append(b"".join(row.tobytes() for row in rows))
    assert targets[0] == targets[1]


def test_a_run_without_hands_makes_nothing_for_them(tmp_path: Path) -> None:
    settings = with_hands(tmp_path, hands=None)
    run = Lockstep(settings, Policy(settings), SimulatedRobot())
    assert run.hands is None
    assert run.policy.hands is None


def until(run: Lockstep, true: Callable[[], bool], most_s: float = 20.0) -> None:
    while not true():
        assert run.ticks < most_s * 500
        run.operate()
        run.tick()


def test_a_lost_and_hot_hand_does_not_bring_the_body_down(tmp_path: Path) -> None:
    settings = with_hands(tmp_path)
    run = Lockstep(settings, Policy(settings), SimulatedRobot())
    assert run.hands is not None
    until(run, lambda: run.gate.machine.mode is Mode.TRACK)
    run.hands.simulated.connected[LEFT] = False
    run.hands.simulated.temperature_c[RIGHT] = 120
    run.hands.simulated.motor_error[RIGHT] = 1
    until(run, lambda: run.is_over)
    assert run.gate.machine.cause < 0
    assert len(run.hands.gate.messages) == 3


def test_on_hold_the_hands_stay_as_they_were_told(tmp_path: Path) -> None:
    settings = with_hands(tmp_path)
    run = Lockstep(settings, Policy(settings), SimulatedRobot())
    assert run.hands is not None
    record = run.hands.gate.record
    until(run, lambda: record["state"][0, RIGHT] == 1)
    run.events = BIT["REFERENCE_LATE"]
    run.tick()
    assert run.gate.machine.mode is Mode.HOLD
    for _ in range(700):  # the motion would have closed it 0.4 s later
        run.tick()
    assert record["state"][0, RIGHT] == 1
    assert np.abs(run.hands.simulated.sample.q[RIGHT] - DEX3.states_rad[1, RIGHT]).max() < 0.02


# --- Streamed hands ---------------------------------------------------------------------------------------------------


class HandedStream(StreamedRun):
    """A streamed run whose messages close the left hand from number 400 on, and say nothing of the right one."""

    CLOSES_AT = 400

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(test_streamed_run, "settings_for",
                            lambda name: replace(settings_for(name), hands=DEX3_FILE, hands_on_damp="keep"))
        super().__init__("sway")
        manifest = self.policy.manifest
        self.intake = StreamIntake(manifest.robot, ChannelTable([HAND_JOINTS]), default_q(manifest),
                                   manifest.idle_height_m, lambda record: self._frames.append(record.tobytes()))

    def _message(self, number: int) -> bytes:
        plain, fields = super()._message(number), {}
        pose = Decoder().decode(plain)
        for name in ("joint_pos", "joint_vel"):
            fields[name] = getattr(pose, name).astype(np.float32)
        fields["body_quat"] = pose.body_quat_wxyz.astype(np.float32)  # type: ignore[union-attr]
        fields["frame_index"] = pose.frame_index  # type: ignore[union-attr]
        q = DEX3.states_rad[2 if number >= self.CLOSES_AT else 0, LEFT]
        return encode("pose", 1, {**fields, "left_hand_joints": q})


def test_streamed_hands_are_played_with_the_frame_that_brought_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As late as the body: told when they arrive, they would close 100 ms before the arm is there."""
    run = HandedStream(monkeypatch)
    assert run.hands is not None
    assert run.policy.stream is not None
    until(run, lambda: run.policy.helm.source is Source.STREAM)
    order = run.policy.hands.record if run.policy.hands is not None else None
    assert order is not None
    until(run, lambda: bool(order["q"][0, LEFT].any()))
    buffer = run.policy.stream.buffer
    sent_ns = run._began_ns + run.CLOSES_AT * 20_000_000
    played_ns = run.now_ns - run.policy.stream.depth_ns
    assert played_ns - sent_ns == pytest.approx(0, abs=45e6)  # two periods of the policy and the link's least delay
    first = int(np.argmax(buffer.rows[:, -16 + 1 + 3] < -0.5))  # left middle_0 in the last 16 numbers of a row
    assert buffer.times_ns[first] <= buffer.played_ns
    assert order["state"][0].tolist() == [3, -1]
    until(run, lambda: np.abs(run.hands.simulated.sample.q[LEFT] - DEX3.states_rad[2, LEFT]).max() < 0.02)  # type: ignore[union-attr]
    assert not run.hands.simulated.sample.q[RIGHT].any()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_version_brings_hands(version: int) -> None:
    fields: dict[str, Any] = {"body_quat": np.array([[1, 0, 0, 0]], np.float32), "frame_index": np.array([3], np.int64)}
    if version in (1, 3):
        fields |= {name: np.zeros((1, 29), np.float32) for name in ("joint_pos", "joint_vel")}
    if version in (2, 3):
        fields |= {"smpl_joints": np.zeros((1, 24, 3), np.float32), "smpl_pose": np.zeros((1, 21, 3), np.float32)}
    if version == 4:
        fields["token_state"] = np.zeros(64, np.float32)
    right = np.arange(1, 8, dtype=np.float32) / 10
    pose = Decoder().decode(encode("pose", version, {**fields, "right_hand_joints": right}))
    assert isinstance(pose, Pose)
    assert hands_row(pose.hands).tolist() == [0] * 8 + [1, *(float(value) for value in right)]


def test_a_streamed_hand_with_a_nan_is_not_given() -> None:
    hands = np.zeros((2, 7))
    hands[RIGHT, 6] = np.nan
    assert hands_row(hands).tolist() == [1] + [0.0] * 15


# --- The command line -------------------------------------------------------------------------------------------------


def parsed(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_hand_options(parser)
    return hand_settings(parser.parse_args(words))


def test_hands_are_asked_for() -> None:
    assert parsed() == parsed("--hands", "none") == {}
    plain = parsed("--hands", "dex3-1")
    assert (plain["hands"], plain["hands_required"], plain["hands_on_damp"]) == (DEX3_FILE, False, "keep")
    assert parsed("--hands", "dex3-1,required") == parsed("--hands", "required") == {**plain, "hands_required": True}
    assert parsed("--hands", DEX3_FILE, "--hands-on-damp", "open")["hands_on_damp"] == "open"


@pytest.mark.parametrize("words", [
    ("--hands", "dex4"), ("--hands", "dex3-1,needed"), ("--hands", "dex3-1,"), ("--hands", "none,required"),
    ("--hands-on-damp", "open"), ("--hands", ""),
])
def test_hands_that_cannot_be_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Refused):
        parsed(*words)


def test_the_command_runs_a_chain_with_hands(tmp_path: Path) -> None:
    words = ["run", "--lockstep", "--chain", str(chain(tmp_path)), "--hands", "dex3-1", "--hands-on-damp", "open",
             "--duration", "0.5", "--out", str(tmp_path / "out")]
    assert exoactor.main(words) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["hands"]["events_told"] == 2  # the others come after the end, and say so
    assert report["hands"]["events"][-1]["offset_ms"] is None
    assert report["hands"]["last_state"] == {"left": "open", "right": "open"}  # on damp


def test_a_sender_sends_the_joints_of_the_states_of_its_clip(tmp_path: Path) -> None:
    clip = load_motion(str(chain(tmp_path)), load_robot("g1_29dof"))
    decoder, track = Decoder(), HandTrack(clip)
    for number, message in enumerate(messages(clip, 1, hands=DEX3)):
        pose = decoder.decode(message)
        assert isinstance(pose, Pose)
        for side, state in enumerate(track.at(number / 50)):
            assert np.allclose(pose.hands[side], DEX3.states_rad[state, side])
    assert np.isnan(Decoder().decode(next(messages(clip, 1))).hands).all()  # type: ignore[union-attr]
