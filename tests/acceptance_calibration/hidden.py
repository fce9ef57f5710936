"""What robots hide in these trials: drawn from a seed, with noise as drives and IMUs of this class have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration.envelope import enclose
from calibration.lockstep import CalibrationRun
from calibration.routine import Found, Routine
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import Truth, read_truth
from runtime.robot import load_robot

G1 = load_robot("g1_29dof")
NAMES = tuple(row.name for row in G1.joints)
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.1}
OFFSET_RAD = 0.08
LONGEST_S = 900.0


def joints_of(random: np.random.Generator) -> dict[str, dict[str, float]]:
    """Every joint's zero, friction, play and torque scale; less friction in the small motors of the wrists."""
    joints = {}
    for row in G1.joints:
        low, high = (0.05, 0.2) if row.effort_n_m < 10 else (0.2, 0.8)
        joints[row.name] = {
            "encoder_offset_rad": float(random.uniform(-OFFSET_RAD, OFFSET_RAD)),
            "coulomb_n_m": float(random.uniform(low, high)), "viscous_n_m_s_rad": float(random.uniform(0.02, 0.3)),
            "stribeck_n_m": low / 2, "torque_scale": float(random.uniform(0.95, 1.05)),
            "backlash_rad": float(random.uniform(0, 0.002)),
        }
    return joints


def mounting(random: np.random.Generator, angle_rad: float) -> list[float]:
    """A turn by that much about any axis, w first."""
    axis = random.standard_normal(3)
    return [float(np.cos(angle_rad / 2)), *(np.sin(angle_rad / 2) * axis / np.linalg.norm(axis)).tolist()]


def truth_of(seed: int, **parts: Any) -> Truth:
    """A truth of these parts."""
    return read_truth({"schema": "exoactor-truth/1", "seed": seed, "noise": NOISE, **parts})


def carried_out(
    routine: Routine, truth: Truth, *, joints: tuple[str, ...] = NAMES, tilt_rad: tuple[float, float] = (0.0, 0.0),
    slip_rad: float = 0.0, before: Any = None,
) -> tuple[Found | None, str]:
    """What a routine found on a robot that hides a truth, hanging by a torso that is not quite level; what stopped it.

    Args:
        before: (motors,) encoder offsets in force, rad; None for none.
    """
    robot = enclose(G1.name, routine.envelope)
    routine.prepare(robot, joints, np.zeros(robot.motors) if before is None else before)
    simulated = SimulatedRobot(hangs=True, truth=truth)
    simulated.tilt(np.array([*tilt_rad, 0.0]))
    run = CalibrationRun(routine, robot, simulated)
    run.assistant.slip_rad = slip_rad
    run.run(LONGEST_S)
    stopped = run.conductor.stopped
    return (routine.fit(run.conductor.bench.recording()) if run.conductor.is_done else None), stopped
