"""A run that follows a growing chain, as real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from runtime.chain_command import append_to
from runtime.pilot import Phase
from tests.live_run import LiveRun, await_

pytestmark = pytest.mark.realtime

DOMAIN = 86


@pytest.mark.slow
def test_processes_take_what_is_appended_refuse_what_is_changed_and_end_when_done(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    append_to(path, {"clip": "walk", "end_s": 4.0})

    def notes(run: LiveRun) -> dict[str, list[object]]:
        file = run.out / "chain.json"
        return json.loads(file.read_text()) if file.exists() else {"actions": [], "refused": []}

    with LiveRun(tmp_path / "run", "--chain", path, "--follow", "--domain", DOMAIN) as run:
        run.await_tracking(Phase.PLAY)
        append_to(path, {"clip": "wave", "end_s": 2.0})
        await_(lambda: len(notes(run)["actions"]) == 2, 5.0, "the action to be taken")
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"walk"', b'"bow"'))
        await_(lambda: len(notes(run)["refused"]) == 1, 5.0, "the changed file to be refused")
        path.write_bytes(whole)
        append_to(path, {"clip": "bow", "end_s": 1.5}, is_done=True)
        assert run.finish(60.0) == 0
        chain = run.report["chain"]
        assert run.report["outcome"] == "done" and not run.report["fell"] and run.report["faults"] == []
        assert [taken["clip"] for taken in chain["actions"]] == ["walk.npz", "wave.npz", "bow.npz"]
        assert [taken["from_standing"] for taken in chain["actions"]] == [True, False, False]
        assert chain["ended"] == "done" and any("not appended" in line for line in run.report["warnings"])


def test_a_first_file_that_no_run_would_play_is_refused_before_anything_is_armed(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": [{"clip": "walk", "start_s": 99}]}))
    with LiveRun(tmp_path / "run", "--chain", path, "--follow", "--domain", DOMAIN) as run:
        assert run.finish() == 2
        assert run.report["outcome"] == "refused" and "actions[0]" in run.report["refusal"]["what"]
