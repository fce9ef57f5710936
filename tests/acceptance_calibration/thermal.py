"""Thermal soak: motors that warm and cool in seconds, each hip in its own way."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np

from calibration import thermal
from calibration.envelope import enclose
from calibration.lockstep import CalibrationRun
from calibration.thermal import Thermal
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from tests.acceptance_calibration.figures import Asked, Check, Measured

ASKED = {"heating": Asked(0.1, is_relative=True), "cooling": Asked(0.1, is_relative=True), "ambient": Asked(1.0, "C")}
SHORT = {"COLD_S": 1.0, "LOAD_S": 20.0, "REST_S": 15.0, "CHECK_S": 5.0, "MOVE_RAD_S": 0.9}
"""Real motors take minutes; these are ten times as quick, so that a trial ends."""
HIPS = ("left_hip_pitch_joint", "right_hip_pitch_joint")


def trial(seed: int, folder: Path) -> list[Measured | Check]:
    """One robot."""
    rng, routine = np.random.default_rng((seed, 72)), Thermal()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [row.name for row in robot.joints], np.zeros(robot.motors))
    ambient, first = float(rng.uniform(15, 30)), float(rng.uniform(0.008, 0.014))
    true = {name: (first * float(rng.uniform(0.9, 1.1)), float(rng.uniform(0.05, 0.12))) for name in HIPS}
    truth = read_truth({
        "schema": "exoactor-truth/1", "seed": seed, "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
        "heat": {"ambient_c": ambient, "c_per_n2m2s": 0.01, "cooling_per_s": 0.08},
        "joints": {name: {"heat_c_per_n2m2s": c, "heat_cooling_per_s": k} for name, (c, k) in true.items()}})
    with patch.multiple(thermal, **SHORT):
        run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=truth))
        run.run(300)
        if not run.conductor.is_done:
            return [Check("runs to its end", False, run.conductor.stopped)]
        found = routine.fit(run.conductor.bench.recording())
    out: list[Measured | Check] = [Check("is verified", found.ok, "; ".join(
        verdict.name for verdict in found.verdicts if not verdict.ok))]
    values = {value.key: value for value in found.values}
    for name, pair in true.items():
        if name not in found.facts:
            out.append(Check("hips warm enough", False, name))
            continue
        for quantity, key, truth_of in (("heating", "heat_c_per_n2m2s", pair[0]),
                                        ("cooling", "heat_cooling_per_s", pair[1])):
            value = values[f"plant.{name}.{key}"]
            out.append(Measured(quantity, truth_of, value.value, value.half_width, name))
        facts = found.facts[name]
        out.append(Measured("ambient", ambient, facts["ambient_c"], facts["ambient_half_width_c"], name))
    return out
