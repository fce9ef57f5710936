"""States of a robot that stands on still feet while its base moves as told: what an estimator must find."""

from __future__ import annotations

import numpy as np

from runtime import rotation
from runtime.legs import Legs
from runtime.robot import load_robot
from runtime.state import RobotState

ROBOT = load_robot("g1_29dof")
STANCE = np.tile([-0.3, 0.0, 0.0, 0.6, -0.3, 0.0], 2)
WEIGHT_N = 330.0
G = np.array([0.0, 0.0, 9.81])


def planted(
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
    *,
    stance: np.ndarray = STANCE,
    quat: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0),
    gyro: tuple[float, float, float] = (0.0, 0.0, 0.0),
    carries: tuple[float, float] = (0.5, 0.5),
    acceleration: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> RobotState:
    """Both feet still in the world, the base at `velocity` and `gyro` (both in base), `acceleration` in world.

    Args:
        stance: (12,) legs' joint positions.
        carries: share of the weight on each foot.
    """
    state, legs = RobotState(ROBOT.motors), Legs(ROBOT)
    omega, v = np.array(gyro), np.array(velocity)
    legs.update(stance, np.zeros(12))
    up = -np.array(rotation.gravity_in_base(quat))
    for i in range(2):
        motors = legs.motor_index[6 * i : 6 * i + 6]
        J = legs.jacobian[i].copy()
        still = np.concatenate([-(v + np.cross(omega, legs.position[i])), -omega])
        state.q[motors], state.dq[motors] = stance[6 * i : 6 * i + 6], np.linalg.solve(J, still)
        state.tau[motors] = -J.T @ np.concatenate([carries[i] * WEIGHT_N * up, np.zeros(3)])
    state.quat_wxyz[:], state.gyro[:] = quat, gyro
    arm = np.array(ROBOT.imu_in_base_m)
    felt = rotation.rotate_inverse(quat, np.array(acceleration) + G)
    state.accel[:] = felt + np.cross(omega, np.cross(omega, arm))
    return state


def height_of(stance: np.ndarray = STANCE) -> float:
    """Height of an upright base above its soles."""
    legs = Legs(ROBOT)
    legs.update(stance, np.zeros(12))
    return float((legs.sole_radius_m - legs.sole[..., 2].min(axis=1)).max())
