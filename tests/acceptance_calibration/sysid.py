"""Friction, inertia, torque constant and delay of one joint a seed, by the motions of `exoactor calibrate identify`.

Truths: Coulomb 0.1 to 2 N m and viscous friction 0.02 to 1 N m s/rad, log-uniform, and no more than a motor of that
size has (6 % and 2 s/rad % of its torque); the table's rotor inertia +- 40 %; delays of both ways up to 6 ms together,
in physics steps; the torque constant +- 8 %, of joints too that no weight turns: their intervals have to carry it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.envelope import enclose
from calibration.identify import Identify
from calibration.lockstep import CalibrationRun
from firmware_bridge.imperfections import SUBSTEP_S
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.robot import load_robot
from tests.acceptance_calibration.figures import Asked, Check, Measured

TENTH = Asked(0.1, is_relative=True)
ASKED = {
    "Coulomb friction": TENTH, "viscous friction": TENTH, "armature": TENTH, "latency": Asked(0.001, "s"),
    "torque constant": Asked(None, is_relative=True),
    "Coulomb friction of hips": TENTH, "viscous friction of hips": TENTH, "armature of hips": TENTH,
}
"""Hips have rows of their own: their rotors are 1 to 3 % of what they move, and noise of every joint shows in them."""
NAMES = {"coulomb_n_m": "Coulomb friction", "viscous_n_m_s_rad": "viscous friction", "armature_kg_m2": "armature",
         "torque_scale": "torque constant"}
JOINTS = ("left_knee_joint", "right_hip_pitch_joint", "left_ankle_pitch_joint", "right_shoulder_pitch_joint",
          "left_elbow_joint", "waist_yaw_joint", "right_wrist_pitch_joint", "left_hip_roll_joint",
          "right_ankle_roll_joint", "left_shoulder_roll_joint")
HEAVY = [f"{joint}_joint.armature_kg_m2" for joint in ("right_hip_pitch", "waist_yaw")]
"""Rotors of 2 % of what hangs on them, which a torque constant is hardly known to: left as they were, and said."""
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05}
G1 = load_robot("g1_29dof")


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """One joint of one robot."""
    joint = JOINTS[seed % len(JOINTS)]
    row = next(row for row in G1.joints if row.name == joint)
    random = np.random.default_rng((seed, 7))

    def drawn(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    true = {"coulomb_n_m": drawn(0.1, min(2.0, 0.06 * row.effort_n_m)),
            "viscous_n_m_s_rad": drawn(0.02, min(1.0, 0.02 * row.effort_n_m)),
            "armature_kg_m2": row.armature_kg_m2 * random.uniform(0.6, 1.4),
            "torque_scale": random.uniform(0.92, 1.08)}
    delay = {"command_s": SUBSTEP_S * int(random.integers(0, 17)), "state_s": SUBSTEP_S * int(random.integers(0, 9))}
    routine = Identify()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [joint], np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=read_truth({
        "schema": "exoactor-truth/1", "seed": seed, "noise": NOISE, "delay": delay, "joints": {joint: true}})))
    run.run(300)
    yield Check("the motion ends", run.conductor.is_done, f"seed {seed}, {joint}: {run.conductor.stopped}")
    if not run.conductor.is_done:
        return
    found = routine.fit(run.conductor.bench.recording())
    bad = "; ".join(f"{one.name}: {one.measured}" for one in found.verdicts if not one.ok)
    of_hips = " of hips" if "hip" in joint else ""
    yield Check(f"every verdict is good{of_hips}", found.ok, f"seed {seed}: {bad}")
    left_out = [key for key in found.facts.get("not_told", []) if key not in HEAVY]
    yield Check(f"every value is told{of_hips}, but rotors of the heaviest limbs", not left_out,
                f"seed {seed}: {', '.join(left_out)}")
    for value in found.values:
        key = value.key.split(".")[-1]
        if key in NAMES:
            quantity = NAMES[key] + (of_hips if key != "torque_scale" else "")
            yield Measured(quantity, true[key], value.value, value.half_width, joint)
        elif key == "command_s":
            yield Measured("latency", sum(delay.values()), value.value, value.half_width, joint)
