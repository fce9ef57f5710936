"""Free play: on made-up reversals, and on a simulated robot that hides it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration.backlash import Backlash, fit_play
from calibration.bench import Question
from calibration.envelope import enclose
from calibration.history import plant_truth
from calibration.lockstep import CalibrationRun
from exoactor import main
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.faults import Mode

WRIST, KNEE = "left_wrist_pitch_joint", "left_knee_joint"
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05}
TAU = np.tile([1.0, 0.5, -1.0, -0.5], 4)


def test_play_is_told_from_give() -> None:
    """A hand that holds is a spring: its lean grows with the torque, the gears' play does not."""
    inside, random = 0, np.random.default_rng(0)
    for _ in range(200):
        q = 0.3 + 0.004 * TAU + 0.006 * np.sign(TAU) / 2 + 2e-5 * random.standard_normal(len(TAU))
        play, width, give = fit_play(TAU, q)
        assert play == pytest.approx(0.006, abs=2e-4)
        assert give == pytest.approx(0.004, abs=2e-4)
        inside += abs(play - 0.006) <= width
    assert 0.88 <= inside / 200 <= 0.99


def test_one_size_of_torque_does_not_tell_play_from_give() -> None:
    with pytest.raises(ValueError, match="do not determine"):
        fit_play(np.sign(TAU), np.sign(TAU))


def test_hidden_play_is_found_and_exported_to_a_simulation(tmp_path: Path) -> None:
    """By the command, as typed: a knee with play and an offset, and a wrist that has none."""
    path, file = tmp_path / "truth.json", tmp_path / "cal.json"
    path.write_text(json.dumps({"schema": "exoactor-truth/1", "noise": NOISE, "joints": {
        KNEE: {"backlash_rad": 0.008, "encoder_offset_rad": 0.05, "coulomb_n_m": 1.0}, WRIST: {"coulomb_n_m": 0.1}}}))
    code = main(["calibrate", "backlash", "--robot", "sim", "--joints", f"{KNEE},{WRIST}", "--truth", str(path),
                 "--yes", "--file", str(file), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0, report
    found = plant_truth(json.loads(file.read_text())["versions"][-1])["joints"]
    assert found[KNEE]["backlash_rad"] == pytest.approx(0.008, abs=2e-4)
    assert found[WRIST]["backlash_rad"] == pytest.approx(0.0, abs=2e-4)
    assert read_truth({"schema": "exoactor-truth/1", "joints": found}).joints[KNEE].backlash_rad > 0.007


def test_a_limb_that_nobody_holds_ends_it_damping() -> None:
    routine = Backlash()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [KNEE], np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=read_truth({
        "schema": "exoactor-truth/1", "noise": NOISE})))
    look = run.assistant.look

    def let_go(question: Question | None) -> bool:
        done = look(question)
        run._simulated.lead({})
        return done

    run.assistant.look = let_go  # type: ignore[method-assign]
    run.run(60)
    assert "has to be held" in run.conductor.stopped and KNEE in run.conductor.stopped
    assert run.gate.machine.mode is Mode.DAMP


def test_a_joint_that_rubs_is_pulled_harder() -> None:
    routine = Backlash()
    routine.plant = {WRIST: {"coulomb_n_m": 0.28}}
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [WRIST], np.zeros(robot.motors))
    assert f"{WRIST} 1.1 N m" in "\n".join(routine.plan())
