"""The pre-flight of a motion as the robot's body does it: feet, floor, and parts that run into each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.motion.check import check_data, check_movement, run_of
from export.motion.findings import Finding, accepted, judge
from export.motion.robot_motion import RobotMotion
from firmware_bridge.posed import PLANTS, Posed, PosedPlant
from runtime.clip import WRISTS
from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
GROUND_PERCENTILE = 5
"""Of the lowest point over time: a few frames below are penetration, not the floor's height."""
NEAR_M = 0.05
"""Above the ground: a foot lower than this may stand."""
STANDING_M_S = 0.5
"""A foot slower than this at one end of its sole may stand (between 0.1 and 0.5 m/s in practice)."""


def plant_of(robot: Robot, plant: Path | None = None) -> Path:
    """The plant file of a robot.

    Raises:
        Refused: none ships for it.
    """
    path = plant or PLANTS / f"{robot.name}.xml"
    if not path.is_file():
        raise Refused("plant", expected=f"a plant of {robot.name}", found=f"no file {path}",
                      what_to_do="give one with --plant FILE.xml")
    return path


def feet_of(robot: Robot) -> list[str]:
    """The bodies of the feet: what the last joint of each leg turns, by the plants' naming."""
    return [foot.joints[-1].removesuffix("_joint") + "_link" for foot in robot.feet]


def standing_pose(motion: RobotMotion, robot: Robot, pose: dict[str, float] | None) -> F64:
    """(n,) rad in the motion's order: of the controller where it names a joint, otherwise zero."""
    return np.array([(pose or {}).get(name, 0.0) for name in motion.order.names])


def check_robot_motion(
    motion: RobotMotion, robot: Robot, *, pose: dict[str, float] | None = None, plant: Path | None = None,
) -> list[Finding]:
    """Every finding; those after the data only where the data are sound.

    Args:
        pose: joint name -> rad, of the controller's standing pose; None: not compared.

    Raises:
        Refused: no plant of the robot.
    """
    findings = check_data(motion, robot)
    if not accepted([f for f in findings if f.check in ("joints", "frames", "finite", "quaternion_norm")]):
        return findings
    standing = standing_pose(motion, robot, pose)
    findings += check_movement(motion, robot, standing if pose is not None else None)
    if motion.joints != WRISTS:
        body = PosedPlant(plant_of(robot, plant), motion.order.names, feet_of(robot), standing)
        findings += check_body(body.follow(body.states(motion.root_pos, motion.root_quat_wxyz, motion.joint_pos)),
                               motion.fps)
    return findings


def check_body(posed: Posed, fps: float) -> list[Finding]:
    """Feet against the floor at z = 0, and the body against itself."""
    height = ground_m(posed)
    deepest = int(np.argmin(posed.lowest_m))
    findings = [judge("ground", abs(height), fps, None, f"at {height:+.3f} m"),
                judge("penetration", max(-posed.lowest_m[deepest], 0.0), fps, (deepest, deepest))]
    if posed.foot_points.shape[1]:
        findings += check_feet(posed.foot_points, posed.foot_lowest_m, posed.lowest_m, height, fps)
    worst = int(np.argmax(posed.overlap_m))
    findings.append(judge("self_collision", posed.overlap_m[worst], fps, (worst, worst), posed.pair[worst]))
    return findings


def ground_m(posed: Posed) -> float:
    """Height that the body's lowest point usually has."""
    return float(np.percentile(posed.lowest_m, GROUND_PERCENTILE))


def check_feet(points: F64, foot_lowest: F64, lowest: F64, ground: float, fps: float) -> list[Finding]:
    """Time in the air, gliding and skate.

    Args:
        points: (T, k, m, 3) fixed on each foot; a foot that rolls stands on the slowest.
        foot_lowest, lowest: (T, k), (T,) heights of feet and body.
    """
    speed = np.linalg.norm(np.diff(points, axis=0), axis=-1).min(axis=-1) * fps
    level = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1).min(axis=-1) * fps
    near, slow = foot_lowest[1:] < ground + NEAR_M, speed < STANDING_M_S
    stands = near & slow
    in_air = (lowest[1:] > ground + NEAR_M) & ~slow.any(axis=1)
    glides = near.any(axis=1) & ~slow.any(axis=1)
    findings = []
    for check, flags in (("floating", in_air), ("gliding", glides)):
        run = run_of(flags)
        findings.append(judge(check, 0.0 if run is None else (run[1] - run[0] + 1) / fps, fps,
                              None if run is None else (run[0], run[1] + 1)))
    skate = float(level[stands].mean()) if stands.any() else 0.0
    at = int(np.argmax(np.where(stands, level, 0).max(axis=1)))
    worst = float(np.where(stands, level, 0).max())
    findings.append(judge("foot_skate", skate, fps, None, f"worst {worst:.2f} m/s at {at / fps:.2f} s"))
    return findings
