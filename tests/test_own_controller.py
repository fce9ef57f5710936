"""What ships runs: our controller and clips, with nothing from outside the project."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

import exoactor
from firmware_bridge.simulated_robot import Disturbance, Push
from runtime.admission import admit, check_golden
from runtime.clip import OWN_CLIP, clip_names, load_clip
from runtime.estimator import ESTIMATORS, estimator_names, open_learned
from runtime.manifest import OWN_CONTROLLER
from runtime.policy import open_admitted
from runtime.robot import load_robot
from runtime.steered import USUAL
from tests.acceptance_own import JOINT_RAD, trial

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", [OWN_CONTROLLER, USUAL])
def test_our_controllers_are_signed_by_a_key_that_ships_and_do_what_was_recorded(name):
    admitted = admit(name)
    assert not admitted.warnings
    assert "the exoactor project" in admitted.trust
    assert admitted.bundle is not None
    worst = check_golden(admitted.bundle, open_admitted(admitted))
    assert all(entry.error <= entry.limit for entry in worst.values())


@pytest.mark.parametrize(("name", "teacher", "whose"), [
    (OWN_CONTROLLER, "twist2", "TWIST2"), (USUAL, "holosoma-velocity", "holosoma"),
])
def test_our_controllers_are_small_and_say_who_taught_them(name, teacher, whose):
    bundle = admit(name).bundle
    assert bundle is not None
    assert len(bundle.files["policy.onnx"]) <= 3_000_000
    assert bundle.listing.provenance["teacher"] == teacher
    assert whose in (ROOT / "NOTICE").read_text("utf-8")


@pytest.mark.slow
def test_our_velocity_controller_walks_where_it_is_told(tmp_path):
    words = ["run", "--controller", USUAL, "--command", "0.5,0,0", "--duration", "6", "--lockstep", "--out"]
    assert exoactor.main([*words, str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert not report["fell"]
    assert report["tracking"]["speed_m_s_mean"] > 0.25


@pytest.mark.parametrize("name", clip_names())
def test_a_shipped_clip_is_accepted_and_small(name):
    clip = load_clip(name, load_robot("g1_29dof"))
    assert 2.0 < clip.duration_s < 20.0
    assert np.abs(clip.joint_vel).max() < 12.0


def test_at_least_eight_clips_ship_and_the_one_that_plays_by_default():
    assert len(clip_names()) >= 8
    assert OWN_CLIP in clip_names()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["walk", "walk_sideways", "squat", "wave"])
def test_our_controller_follows_our_clips(name):
    upright, error = trial(OWN_CONTROLLER, name)
    assert upright
    assert error <= JOINT_RAD


@pytest.mark.slow
@pytest.mark.parametrize("disturbance", [
    Disturbance(pushes=(Push(7.0, 0.1, (0.0, 150.0, 0.0)),)),
    Disturbance(latency_s=0.02),
    Disturbance(noise_q_rad=0.01, noise_dq_rad_s=0.5, noise_gyro_rad_s=0.2, seed=1),
], ids=["push", "latency", "noise"])
def test_our_controller_survives(disturbance):
    upright, _ = trial(OWN_CONTROLLER, "walk", disturbance)
    assert upright


@pytest.mark.slow
def test_our_controller_survives_old_states():
    upright, _ = trial(OWN_CONTROLLER, "walk", stale_ticks=3)
    assert upright


def test_a_trial_notices_a_fall():
    upright, _ = trial(OWN_CONTROLLER, "walk", Disturbance(pushes=(Push(7.0, 0.3, (0.0, 900.0, 0.0)),)))
    assert not upright


def test_run_needs_nothing_but_its_output_folder(tmp_path):
    assert exoactor.main(["run", "--lockstep", "--duration", "2", "--out", str(tmp_path)]) == exoactor.DONE
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["outcome"] == "done"
    assert report["fell"] is False


@pytest.mark.parametrize("name", estimator_names())
def test_a_shipped_estimator_is_signed_by_a_key_that_ships(name):
    opened = open_learned(ESTIMATORS / name)
    assert not opened.warnings
    assert "the exoactor project" in opened.bundle.trust.text
