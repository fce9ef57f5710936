"""From a publisher's files to a whole run on simulated time, on robots with other motor counts and rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("yaml", reason="missing dependency: yaml")

import exoactor
from export.subject import open_subject
from runtime.log_file import read_log
from runtime.pilot import Phase
from tests import tiny_onnx
from tests.publisher_files import berkeley_yaml
from tests.small_biped import ARM_JOINTS, LEG_JOINTS, write_biped
from tests.tiny_onnx import FLOAT, node
from tests.tracker_networks import Motion, beyond_mimic, make_motion

POSE = np.array([0, 0, -0.2, 0.4, -0.2, 0] * 2)


def idle_network(path: Path, size: int, joints: int) -> Path:
    """A policy that always answers zero: the default pose."""
    return tiny_onnx.write(path, [node("MatMul", ["obs", "w"], ["actions"])], [("obs", FLOAT, (1, size))],
                           [("actions", FLOAT, (1, joints))], {"w": np.zeros((size, joints))})


def call(*words: object) -> int:
    return exoactor.main([str(word) for word in words])


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize(("joints", "first", "policy_dt"), [
    (LEG_JOINTS, 0, 0.02),
    (ARM_JOINTS + LEG_JOINTS, 10, 0.04),
], ids=["biped 50 Hz", "12 of 22 joints 25 Hz"])
def test_a_berkeley_policy_runs_from_its_own_yaml(
    tmp_path: Path, joints: tuple[str, ...], first: int, policy_dt: float
) -> None:
    indices = list(range(first, len(joints)))
    (tmp_path / "policy.yaml").write_text(berkeley_yaml(joints, indices, policy_dt=policy_dt), encoding="utf-8")
    model = idle_network(tmp_path / "policy.onnx", 9 + 3 * len(indices), len(indices))
    plant = write_biped(tmp_path / "plant.xml", arms=len(joints) == 22)
    assert call("export", "manifest", "--from", tmp_path / "policy.yaml", "--model", model,
                "--out", tmp_path / "m.json") == 0
    out = tmp_path / "run"
    assert call("run", "--lockstep", "--controller", tmp_path / "m.json", "--plant", plant, "--command", "0.3,0,0",
                "--duration", "1", "--out", out) == 0
    found = report(out)
    assert (found["outcome"], found["fell"], found["faults"]) == ("done", False, [])
    assert found["robot"] == ("berkeley_humanoid_lite" if len(joints) == 22 else "berkeley_humanoid_lite_biped")
    log = read_log(out / "log.mcap").topics
    assert log["gate"]["q"].shape[1] == len(joints)
    play = log["policy"][log["policy"]["phase"] == Phase.PLAY]
    assert len(play) == round(1 / policy_dt)
    truth = log["truth"][(log["truth"]["now_ns"] >= play["now_ns"][0]) & (log["truth"]["now_ns"] <= play["now_ns"][-1])]
    assert np.abs(truth["position"][:, 2]).max() < 0.05, "the base of this robot is at its soles"


def standing_motion(rows: int) -> Motion:
    motion = make_motion(rows, 12, start_yaw=0.3)
    motion.joint_pos[:] = POSE
    motion.joint_vel[:] = 0
    motion.body_pos[:, 0] = (0, 0, 0)
    return motion


def test_a_robot_nobody_has_described_runs_a_tracker_with_its_motion_inside(tmp_path: Path) -> None:
    """Plant -> robot file -> manifest -> run, by three commands."""
    plant = write_biped(tmp_path / "mine.xml")
    assert call("export", "robot", "--plant", plant, "--out", tmp_path / "mine.json") == 0
    model = beyond_mimic(tmp_path / "policy.onnx", standing_motion(80), list(LEG_JOINTS), POSE, weight=0.0, kp=20, kd=2,
                         anchor="base", bodies=("base", "a", "b", "c"))
    assert call("export", "manifest", "--from", model, "--robot", tmp_path / "mine.json",
                "--out", tmp_path / "m.json") == 0
    assert json.loads((tmp_path / "m.json").read_text("utf-8"))["robot"] == "mine.json"  # it lies beside
    out = tmp_path / "run"
    assert call("run", "--lockstep", "--controller", tmp_path / "m.json", "--plant", plant, "--out", out) == 0
    found = report(out)
    assert (found["outcome"], found["fell"]) == ("done", False)
    assert found["tracking"]["joint_error_rad_mean"] < 0.03
    assert found["tracking"]["root_height_error_m_mean"] < 0.05
    log = read_log(out / "log.mcap").topics["policy"]
    assert (log["phase"] == Phase.PLAY).sum() == 80
    assert (out / "report.html").stat().st_size > 5_000
    assert call("export", "parity", tmp_path / "m.json", "--log", out / "log.mcap") == 0
    (recording,) = open_subject(str(tmp_path / "m.json"), None, str(out / "log.mcap"), 1, 0).recordings
    phases = log["phase"][(log["phase"] >= Phase.SETTLE) & (log["phase"] <= Phase.SETTLE_OUT)]
    asked = recording.feeds["time_step"][:, 0, 0]
    np.testing.assert_array_equal(asked[phases < Phase.PLAY], 1)  # the row after the one that is shown
    np.testing.assert_array_equal(asked[phases == Phase.PLAY], np.minimum(np.arange(80) + 1, 79))
    np.testing.assert_array_equal(asked[phases > Phase.PLAY], 79)


def test_a_motion_without_heights_makes_a_report_without_them(tmp_path: Path) -> None:
    plant = write_biped(tmp_path / "plant.xml")
    model = beyond_mimic(tmp_path / "policy.onnx", standing_motion(40), list(LEG_JOINTS), POSE, weight=0.0, kp=20, kd=2,
                         anchor="base", bodies=("base", "a", "b", "c"))
    assert call("export", "manifest", "--from", model, "--robot", "berkeley_humanoid_lite_biped",
                "--out", tmp_path / "m.json") == 0
    data = json.loads((tmp_path / "m.json").read_text("utf-8"))
    del data["reference"]["position"]
    (tmp_path / "m.json").write_text(json.dumps(data), encoding="utf-8")
    out = tmp_path / "run"
    assert call("run", "--lockstep", "--controller", tmp_path / "m.json", "--plant", plant, "--out", out) == 0
    assert report(out)["tracking"]["root_height_error_m_mean"] is None
    assert report(out)["tracking"]["joint_error_rad_mean"] is not None
    assert "NaN" not in (out / "report.json").read_text("utf-8")
    assert "nan" not in (out / "report.html").read_text("utf-8")


def test_a_robot_without_a_wire_runs_on_simulated_time_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(berkeley_yaml(LEG_JOINTS, list(range(12))), encoding="utf-8")
    idle_network(tmp_path / "policy.onnx", 45, 12)
    assert call("export", "manifest", "--from", tmp_path / "policy.yaml", "--model", tmp_path / "policy.onnx",
                "--out", tmp_path / "m.json") == 0
    capsys.readouterr()
    for target in ("sim", "dds"):
        assert call("run", "--controller", tmp_path / "m.json", "--robot", target, "--out", tmp_path / "run") == 2
        assert "--lockstep" in capsys.readouterr().err
    assert call("run", "--lockstep", "--controller", tmp_path / "m.json", "--out", tmp_path / "run") == 2
    assert "--plant FILE.xml" in capsys.readouterr().err  # the default plant is a G1


def test_a_robot_that_tips_over_fell_whatever_its_heights(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(berkeley_yaml(LEG_JOINTS, list(range(12))), encoding="utf-8")
    model = idle_network(tmp_path / "policy.onnx", 45, 12)
    plant = write_biped(tmp_path / "plant.xml")
    assert call("export", "manifest", "--from", tmp_path / "policy.yaml", "--model", model,
                "--out", tmp_path / "m.json") == 0
    out = tmp_path / "run"
    assert call("run", "--lockstep", "--controller", tmp_path / "m.json", "--plant", plant, "--push", "4,0.2,100,0,0",
                "--duration", "1", "--out", out) == 1
    assert report(out)["fell"] is True
