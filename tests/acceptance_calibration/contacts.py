"""Foot forces: legs whose torques are not true, a robot whose weight is off within its tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.contacts import WEIGHT_TOLERANCE, Contacts
from calibration.envelope import enclose
from calibration.lockstep import CalibrationRun
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from tests.acceptance_calibration.figures import Asked, Check, Measured

ASKED = {"force scale": Asked(0.06, is_relative=True)}


def trial(seed: int, folder: Path) -> list[Measured | Check]:
    """One robot."""
    rng, routine = np.random.default_rng((seed, 73)), Contacts()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [], np.zeros(robot.motors))
    scales = {foot.name: float(rng.uniform(0.8, 1.2)) for foot in robot.feet}
    truth = read_truth({
        "schema": "exoactor-truth/1", "seed": seed, "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
        "joints": {name: {"torque_scale": scales[foot.name], "coulomb_n_m": float(rng.uniform(0.0, 0.3))}
                   for foot in robot.feet for name in foot.joints}})
    simulated = SimulatedRobot(hangs=True, truth=truth)
    simulated.model.body_mass[:] *= 1 + WEIGHT_TOLERANCE * rng.standard_normal()
    run = CalibrationRun(routine, robot, simulated)
    run.run(200)
    if not run.conductor.is_done:
        return [Check("runs to its end", False, run.conductor.stopped)]
    found = routine.fit(run.conductor.bench.recording())
    values = {value.key: value for value in found.values}
    rows: list[Measured | Check] = [Check("is verified", found.ok, "; ".join(
        verdict.name for verdict in found.verdicts if not verdict.ok))]
    for name, scale in scales.items():
        value = values[f"feet.{name}.force_scale"]
        rows.append(Measured("force scale", 1 / scale, value.value, value.half_width, name))
    return rows
