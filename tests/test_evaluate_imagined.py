"""`exoactor evaluate --imagined`: tasks in words through every stage to the plant; stopped, gone on with, refused."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exoactor import main
from export.evaluation import imagined
from export.evaluation.tasks import TASKS, plan_of
from export.imagine import film
from export.imagine.grammar import decompose

ESTIMATOR = Path(__file__).with_name("truth_estimator.py")


def providers(folder: Path, scale: float = 1.0) -> Path:
    """Settings with an estimator that looks the answer up."""
    path = folder / "providers.json"
    path.write_text(json.dumps({"schema": "exoactor-providers/1", "estimate": {
        "command": [sys.executable, str(ESTIMATOR), "{video}", "{out}", str(scale)], "result": "result.npz"}}))
    return path


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos without pictures: the subject is what happens to them."""
    blank = np.zeros((48, 64, 3), np.uint8)
    monkeypatch.setattr(film, "render_poses", lambda model, poses, size, camera: [blank] * len(poses))
    monkeypatch.setattr(film, "render", lambda model, pose, size, camera: blank)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def test_the_suite_is_three_of_b_three_of_a_and_one_of_s() -> None:
    assert {tier: len(names) for tier, names in imagined.SUITE.items()} == {"B": 3, "A": 3, "S": 1}
    assert all({task.name for task in TASKS if task.tier == tier} >= set(names)
               for tier, names in imagined.SUITE.items())


@pytest.mark.parametrize("name", [task.name for task in TASKS])
def test_every_task_can_be_said_in_words(name: str) -> None:
    verb = {"walk to basket": "walk to", "sweep aside": "sweep", "lift and stand": "lift", "pick and place": "place"}
    steps = decompose(plan_of(name, 0).words, {}).actions
    assert verb.get(name, name) in [step.verb for step in steps]


@pytest.mark.slow
def test_a_task_in_words_goes_the_whole_way_and_is_not_done_twice(
    unrendered: None, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["evaluate", "--imagined", "--tier", "A", "--task", "sit down", "--seeds", "1", "--workers", "1", "--json",
             "--providers", str(providers(tmp_path)), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    result = json.loads(capsys.readouterr().out)
    (row,) = result["trials"]
    assert "refused" not in row, row["refused"]
    assert row["words"] == "sit down on the chair" and row["has_finished"] and not row["fell"]
    assert result["tiers"]["A"] == {"trials": 1, "succeeded": int(row["success"]), "fell": 0, "refused": 0,
                                    "no_fall_rate": 1.0}
    costs = {cost["stage"]: cost for cost in result["stages"]}
    assert costs["film"]["paper_s_per_s"] == 13.2 and costs["assemble"]["s_per_s"] > 0
    assert 0 < result["errors"]["pose_error"]["mean"] < 0.06 and row["tracking"]["fps"] == 50
    monkeypatch.setattr(imagined, "play", lambda *given: pytest.fail("played again"))
    monkeypatch.setattr(imagined, "reference_of", lambda *given: pytest.fail("furnished again"))
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == result["trials"]


def test_a_motion_that_is_refused_is_no_success_and_says_why(
    unrendered: None, tmp_path: Path, capsys: Any,
) -> None:
    out = tmp_path / "out"
    (out / "walk_to_0").mkdir(parents=True)
    (out / "walk_to_0" / "scene.json").write_text(plan_of("walk to", 0).furnish(np.zeros((1, 14, 3))).as_json())
    assert main(["evaluate", "--imagined", "--tier", "B", "--task", "walk to", "--seeds", "1", "--workers", "1",
                 "--providers", str(providers(tmp_path, 12.0)), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "walk to 0: refused: stage estimate" in said and "1 refused" in said
    (row,) = json.loads((out / "evaluation.json").read_text())["trials"]
    assert not row["success"] and row["tracking"] is None and row["stage_s"]["assemble"] == 0


def row(task: str, **more: Any) -> dict[str, Any]:
    """A trial's row."""
    return {"task": task, "seed": 0, "success": True, "fell": False, "ended_by": None, "has_finished": True,
            "measure": "x", "objects": {}, "words": "x", "video_s": 2.0, "advice": [], "errors": {},
            "stage_s": {name: 1.0 for name in imagined.STAGES}, "done_by": dict.fromkeys(imagined.STAGES, "embedded"),
            "tracking": {"success": True, "mpjpe_g_mm": 1.0, "mpjpe_l_mm": 1.0, "joint_error_rad_mean": 0.1,
                         "root_drift_m_per_m": None}} | more


def test_refused_trials_count_in_rates_and_in_no_mean() -> None:
    lost = row("walk to", success=False, tracking=None, refused="stage report: x", video_s=0.0)
    rows = [row("walk to", fell=True, success=False), row("walk to"), lost]
    result = imagined.result_of(["walk to"], rows, argparse.Namespace(controller="c", keep_place=None, seeds=3))
    (task,) = result["tasks"]
    assert (task["success_rate"], task["fall_rate"], task["refused"]) == (pytest.approx(1 / 3), 0.5, 1)
    assert result["tiers"]["B"]["no_fall_rate"] == pytest.approx(2 / 3)
    assert task["all"]["mpjpe_g_mm"] == 1.0
    assert next(cost for cost in result["stages"] if cost["stage"] == "film")["s_per_s"] == 0.5
    text = imagined.imagined_table(result)
    assert "1 of 3 done, 1 fell, 1 refused" in text and "13.20" in text and "stage report: x" in text
    every = imagined.result_of(["walk to"], [lost], argparse.Namespace(controller="c", keep_place=None, seeds=1))
    assert every["tasks"][0]["fall_rate"] is None and imagined.imagined_table(every)


def test_errors_are_means_of_each_trials_worst() -> None:
    rows = [row("walk to", errors={"pose_error": 0.1}), row("walk to", errors={"pose_error": 0.3, "pitch_error": None})]
    result = imagined.result_of(["walk to"], rows, argparse.Namespace(controller="c", keep_place="off", seeds=2))
    assert result["keep_place"] == "off"
    assert result["errors"] == {"pose_error": {"mean": 0.2, "worst": 0.3}}


@pytest.mark.parametrize("more", [["--providers", "x.json", "--tier", "B"], [], ["--imagined", "--task", "dance"],
                                  ["--imagined", "--providers", "no-such-file.json"],
                                  ["--imagined", "--controller", "nobody"]])
def test_what_cannot_be_evaluated_is_refused(more: list[str], capsys: Any) -> None:
    assert main(["evaluate", "--workers", "1", "--json", *more]) == 2
    assert json.loads(capsys.readouterr().out)["outcome"] == "refused"
