"""Step responses and the check of gains: on made-up responses, and on a simulated joint."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration.envelope import enclose
from calibration.gains import PERIOD_S, Gains, response, second_order
from calibration.lockstep import CalibrationRun
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth

ELBOW = "left_elbow_joint"


@pytest.mark.parametrize(("omega", "zeta"), [(20.0, 0.3), (35.0, 0.8), (15.0, 1.0)])
def test_a_second_order_response_is_found_again(omega: float, zeta: float) -> None:
    t = np.arange(300) * PERIOD_S
    noise = 0.005 * np.random.default_rng(0).normal(size=len(t))
    found_omega, found_zeta, late_s, _ = second_order(response(t - 0.006, omega, zeta) + noise)
    assert found_omega == pytest.approx(omega, rel=0.1)
    assert found_zeta == pytest.approx(zeta, abs=0.1)
    assert late_s == pytest.approx(0.006, abs=0.003)


def test_a_response_overshoots_as_its_damping_says() -> None:
    t = np.arange(2000) * 1e-3
    assert response(t, 20.0, 0.4).max() - 1 == pytest.approx(np.exp(-0.4 * np.pi / np.sqrt(1 - 0.16)), rel=1e-3)


@pytest.mark.slow
def test_a_drive_uses_the_gains_it_is_told_and_one_that_does_not_is_found() -> None:
    routine = Gains()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [ELBOW], np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=read_truth({
        "schema": "exoactor-truth/1", "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
        "delay": {"command_s": 0.002}})))
    run.run(60)
    recording = run.conductor.bench.recording()
    found = routine.fit(recording)
    assert found.ok, [verdict for verdict in found.verdicts if not verdict.ok]
    assert json.dumps([*map(asdict, found.verdicts), found.facts])
    facts = found.facts[ELBOW]
    assert facts["kp_ratio"] == pytest.approx(1, abs=0.03) and facts["kd_ratio"] == pytest.approx(1, abs=0.1)
    assert 0.02 < facts["rise_s"] < 0.2 and facts["zeta"] < 1
    recording.rows["tau"] *= 1.3
    assert not routine.fit(recording).ok
