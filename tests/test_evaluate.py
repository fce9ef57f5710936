"""`exoactor evaluate`: one quick task through the whole path, and what its summary says."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from exoactor import main
from export.evaluation.command import summary, tracker_of
from export.evaluation.tasks import TASKS
from firmware_bridge.scene import load_scene
from runtime.human_motion import load_human_motion

LISTED = {"B": {"walk to", "go round", "walk to basket"}, "S": {"pick and place"},
          "A": {"sweep aside", "sit down", "lift and stand", "duck", "step over", "wipe"}}


def test_the_tiers_hold_the_published_tasks():
    assert {tier: {task.name for task in TASKS if task.tier == tier} for tier in LISTED} == LISTED


def test_a_task_goes_the_whole_way_from_human_to_plant(tmp_path, capsys):
    assert main(["evaluate", "--tier", "A", "--task", "wipe", "--seeds", "1", "--workers", "1", "--json",
                 "--keep-place", "off", "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["keep_place"] == "off"
    (row,) = result["trials"]
    assert not row["fell"] and row["has_finished"]
    assert result["tasks"][0]["success_rate"] == float(row["success"])
    assert 0 < row["tracking"]["mpjpe_l_mm"] < 100 and row["tracking"]["fps"] == 50
    assert json.loads((tmp_path / "evaluation.json").read_text("utf-8")) == result
    assert load_human_motion(tmp_path / "wipe_0" / "human.npz").frames > 100
    assert [thing.name for thing in load_scene(tmp_path / "wipe_0" / "scene.json").things] == ["table"]


@pytest.mark.parametrize(("said", "meant"), [(None, None), ("on", True), ("off", False)])
def test_who_tracks_is_told_whether_to_keep_its_place(said, meant):
    assert tracker_of(Namespace(controller="x", model=None, keep_place=said)).keep_place is meant


def test_both_figures_stand_side_by_side_so_that_survivors_do_not_speak_for_all():
    def row(success: bool, error: float) -> dict[str, object]:
        return {"success": success, "fell": not success, "tracking": {
            "success": success, "mpjpe_g_mm": error, "mpjpe_l_mm": error, "joint_error_rad_mean": error,
            "root_drift_m_per_m": None}}

    found = summary("walk to", [row(True, 10.0), row(False, 90.0)])
    assert (found["success_rate"], found["fall_rate"], found["tracking_success_rate"]) == (0.5, 0.5, 0.5)
    assert (found["all"]["mpjpe_g_mm"], found["tracked"]["mpjpe_g_mm"]) == (50.0, 10.0)
    assert found["all"]["root_drift_m_per_m"] is None


@pytest.mark.parametrize("more", [["--task", "dance"], ["--seeds", "0"], ["--controller", "nobody"]])
def test_what_cannot_be_evaluated_is_refused(more, capsys):
    assert main(["evaluate", "--tier", "B", "--workers", "1", "--json", *more]) == 2
    assert json.loads(capsys.readouterr().out)["outcome"] == "refused"
