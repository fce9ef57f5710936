"""Closed chain: a plate under both feet that is off within its tolerance, offsets, friction and noise drawn anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.closed_chain import ClosedChain
from calibration.envelope import enclose
from calibration.lockstep import CalibrationRun
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.rotation import quat_from_vector_many
from tests.acceptance_calibration.figures import Asked, Check, Measured

ASKED = {"joint offset": Asked(0.01, "rad")}


def trial(seed: int, folder: Path) -> list[Measured | Check]:
    """One robot."""
    rng, routine = np.random.default_rng((seed, 71)), ClosedChain()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [row.name for row in robot.joints], np.zeros(robot.motors))
    names = [name for foot in robot.feet for name in foot.joints]
    off = {name: float(rng.uniform(-0.08, 0.08)) for name in names}
    truth = read_truth({
        "schema": "exoactor-truth/1", "seed": seed, "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
        "joints": {name: {"encoder_offset_rad": value, "coulomb_n_m": float(rng.uniform(0.1, 0.5))}
                   for name, value in off.items()}})
    made = routine.fixture
    position = np.array(made.position_m) + made.position_tolerance_m * rng.standard_normal(3)
    quat = quat_from_vector_many(made.angle_tolerance_rad * rng.standard_normal((1, 3)))[0]
    x, y, z = position.tolist()
    w, i, j, k = quat.tolist()
    plate = replace(made, position_m=(x, y, z), quat_wxyz=(w, i, j, k))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=truth, fixture=plate))
    run.run(300)
    if not run.conductor.is_done:
        return [Check("runs to its end", False, run.conductor.stopped)]
    found = routine.fit(run.conductor.bench.recording())
    out: list[Measured | Check] = [
        Check("is verified", found.ok, "; ".join(verdict.name for verdict in found.verdicts if not verdict.ok)),
        Check("tells what it cannot tell", sorted(found.facts["not_told"]) == sorted(
            name for name in names if "hip_pitch" in name), f"{found.facts['not_told']}")]
    for value in found.values:
        joint, key = value.key.split(".")[1:]
        if key == "encoder_offset_rad":
            out.append(Measured("joint offset", off[joint], value.value, value.half_width, joint))
    return out
