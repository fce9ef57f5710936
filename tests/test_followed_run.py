"""Robots that follow a growing chain, in lock-step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

import exoactor
from runtime.chain_command import append_to
from runtime.faults import Mode, Request
from runtime.mux import Source
from runtime.pilot import Phase
from tests.followed_run import FollowedRun


def test_appended_while_it_moves_and_while_it_stands_it_goes_on_without_a_fall(tmp_path: Path) -> None:
    run = FollowedRun(tmp_path)
    run.until(Phase.PLAY)
    run.until_left(1.0)
    run.append("wave", end_s=2.5)
    run.go_on(0.2)
    run.until_left(0.0)
    run.go_on(4.0)
    assert run.chain.frame == run.chain.ending + 75 and run.gate.machine.mode is Mode.TRACK
    assert run.policy.helm.source is Source.STREAM, "it stands, and still follows"
    run.append("bow", end_s=2.0)
    run.to_the_end(3.0)
    assert [taken["from_standing"] for taken in run.chain.notes["actions"]] == [True, False, True]
    append_to(run.file, None, is_done=True)
    run.go_on(4.0)
    assert run.chain.is_over and run.modes[:3] == [Mode.DISARMED, Mode.READY, Mode.TRACK]
    assert run.modes[3] is Mode.DAMP and not run.fell
    assert run.seams.demanded <= 1, "no step above the gate's rate limit at a seam"


def test_a_chain_whose_process_stalls_holds_stands_and_goes_on_when_asked(tmp_path: Path) -> None:
    run = FollowedRun(tmp_path)
    run.until(Phase.PLAY)
    run.go_on(3.0)
    frame, run.feeder = run.chain.frame, None
    for mode, limit_ns in ((Mode.HOLD, 100_000_000), (Mode.STAND, 300_000_000)):
        while run.gate.machine.mode is not mode:
            run.go_on(0.002)
            assert run.now_ns - run.chain.newest_ns <= limit_ns, mode
    run.feeder = run.feed
    run.append("wave")
    run.go_on(3.0)
    assert run.gate.machine.mode is Mode.STAND, "neither its return nor an append is asking"
    assert run.chain.frame <= frame + 2, "it goes on where it stopped"
    run.request = Request.TRACK
    run.go_on(8.0)
    assert run.policy.helm.source is Source.STREAM and run.chain.frame > frame + 300
    assert not run.fell


def test_a_run_in_lockstep_follows_a_file_to_its_end(tmp_path: Path) -> None:
    path, out = tmp_path / "c.json", tmp_path / "run"
    append_to(path, {"clip": "bow", "end_s": 1.5})
    assert exoactor.main(["run", "--chain", str(path), "--follow", "--follow-timeout", "1", "--lockstep", "--out",
                          str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["outcome"] == "done" and report["chain"]["ended"] == "no more came in time"
    assert [taken["clip"] for taken in report["chain"]["actions"]] == ["bow.npz"]
