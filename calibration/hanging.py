"""Gravity's torques on a robot that hangs by its torso, from its model: what a perfect robot's drives would report.

The torso is held, everything else hangs on it: arms directly, pelvis and legs by the waist. Static equilibrium of all
bodies, M g = tau + J' f with the wrench f of the gantry at the torso (R. Featherstone, Rigid Body Dynamics Algorithms,
chapter 3), gives the joints' torques; rates are zero.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from calibration.postures import posture_for
from firmware_bridge.plant import compile_plant
from firmware_bridge.simulated_robot import PLANTS
from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
TORSO = "torso_link"
GRAVITY_M_S2 = 9.81
STEP_RAD = 1e-4
HOLD_RATIO = 0.6
"""Of a joint's effort within the envelope, to hold a pose."""
APART_RATIO = 0.6
CLEAR_M = 0.06
"""Bodies nearer than this count as touching: what offsets of 0.1 rad and a sweep may close."""


class Hanging:
    """One robot's model, joints by motor slot.

    Args:
        robot: its table; the model is the plant of the same name.

    Raises:
        Refused: no plant of this robot, or joints that it lacks.
    """

    def __init__(self, robot: Robot) -> None:
        path = PLANTS / f"{robot.name}.xml"
        if not Path(path).is_file():
            raise Refused("gravity's model", expected=f"a plant named {robot.name}", found="none",
                          what_to_do="touch hard stops or use a jig instead, or add the plant of this robot")
        model = self._model = compile_plant(path)
        self._data = mujoco.MjData(model)
        names = {model.joint(j).name: j for j in range(model.njnt)}
        missing = [row.name for row in robot.joints if row.name not in names]
        if missing:
            raise Refused("gravity's model", expected=f"the joints of {robot.name}", found=f"no {', '.join(missing)}",
                          what_to_do="correct the plant's names")
        self.motors = robot.motors
        self._slot = np.array([row.motor for row in robot.joints], np.intp)
        joints = np.array([names[row.name] for row in robot.joints], np.intp)
        self._qpos, self._dof = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        torso = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, TORSO)
        self._torso = torso if torso >= 0 else 1
        self._bias, self._jacobian = np.zeros(model.nv), np.zeros((6, model.nv))
        model.geom_margin[:] = CLEAR_M
        self._near = {pair: APART_RATIO * gap for pair, gap in self._gaps(apart(robot)).items()}

    def torques(self, q: F64, tilt_rad: F64, ddq: F64 | None = None) -> F64:
        """(motors,) N m that hold the joints at q (motors,), the torso turned by a rotation vector (3,) from upright.

        Args:
            ddq: (motors,) rad/s^2, what they accelerate with besides, the torso at rest; None: nothing.
        """
        model, data = self._model, self._data
        self._turn_to(q)
        torso_in_base = data.xmat[self._torso].reshape(3, 3)
        model.opt.gravity[:] = torso_in_base @ _down_in(tilt_rad)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacBody(model, data, self._jacobian[:3], self._jacobian[3:], self._torso)
        data.qacc[:] = 0
        if ddq is not None:
            data.qacc[self._dof] = ddq[self._slot]
            data.qacc[:6] = -np.linalg.solve(self._jacobian[:, :6], self._jacobian @ data.qacc)
        mujoco.mj_rne(model, data, 1, self._bias)
        wrench = np.linalg.solve(self._jacobian[:, :6].T, self._bias[:6])
        out = np.zeros(self.motors)
        out[self._slot] = (self._bias - self._jacobian.T @ wrench)[self._dof]
        return out

    def stiffness(self, q: F64, tilt_rad: F64) -> F64:
        """(motors, motors) N m/rad: how the torques change with the joints, columns."""
        out = np.zeros((self.motors, self.motors))
        for slot in self._slot:
            step = np.zeros(self.motors)
            step[slot] = STEP_RAD
            out[:, slot] = (self.torques(q + step, tilt_rad) - self.torques(q - step, tilt_rad)) / (2 * STEP_RAD)
        return out

    def by_tilt(self, q: F64, tilt_rad: F64) -> F64:
        """(motors, 2) N m/rad: how the torques change with the torso's tilt to its side and forwards."""
        steps = STEP_RAD * np.eye(3)[:2]
        return np.stack([(self.torques(q, tilt_rad + step) - self.torques(q, tilt_rad - step)) / (2 * STEP_RAD)
                         for step in steps], axis=1)

    def base_in_torso(self, q: F64) -> F64:
        """(3, 3) orientation of the base in the torso."""
        self._turn_to(q)
        return np.array(self._data.xmat[self._torso].reshape(3, 3).T)

    def touches(self, q: F64) -> bool:
        """Whether bodies come near each other: nearer than `CLEAR_M`, or than those do that are near in `apart`."""
        return any(gap < self._near.get(pair, CLEAR_M) for pair, gap in self._gaps(q).items())

    def _turn_to(self, q: F64) -> None:
        data = self._data
        data.qpos[:7] = 0, 0, 0, 1, 0, 0, 0
        data.qpos[self._qpos] = q[self._slot]
        mujoco.mj_kinematics(self._model, data)

    def _gaps(self, q: F64) -> dict[tuple[int, int], float]:
        """Pairs of bodies within `CLEAR_M` of each other, and how near, m."""
        model, data = self._model, self._data
        self._turn_to(q)
        data.qpos[2] = 100.0  # far from any floor
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        gaps: dict[tuple[int, int], float] = {}
        for (a, b), gap in zip(data.contact.geom[: data.ncon], data.contact.dist[: data.ncon], strict=True):
            pair = int(model.geom_bodyid[a]), int(model.geom_bodyid[b])
            gaps[pair] = min(float(gap), gaps.get(pair, np.inf))
        return gaps


def _down_in(tilt_rad: F64) -> F64:
    """Gravity (3,), m/s^2, in axes turned by a rotation vector from upright."""
    turn = np.zeros(4)
    angle = float(np.linalg.norm(tilt_rad))
    mujoco.mju_axisAngle2Quat(turn, tilt_rad / angle if angle > 0 else np.array([1.0, 0, 0]), -angle)
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, np.array([0, 0, -GRAVITY_M_S2]), turn)
    return out


def apart(robot: Robot) -> F64:
    """(motors,) legs a little apart and arms off the body, where a robot that hangs straight can go at once."""
    places = posture_for(robot, "")
    out = np.zeros(robot.motors)
    for row in robot.joints:
        out[row.motor] = places[row.name]
    return out


def safe_poses(model: Hanging, robot: Robot, count: int, reach_rad: float, margin_rad: float, seed: int) -> list[F64]:
    """So many poses (motors,), spread over the joints' ranges, on whose way from `apart` on nothing nears anything.

    Args:
        reach_rad: at most so far from zero, or from the end of the range that is nearest to it.
        margin_rad: kept from both ends.
        seed: the same one gives the same poses.

    Raises:
        Refused: too few are found.
    """
    random = np.random.default_rng(seed)
    lower, upper, effort = (robot.column(name).astype(np.float64) for name in ("lower_rad", "upper_rad", "effort_n_m"))
    zero = np.clip(np.zeros(robot.motors), lower, upper)
    low, high = np.maximum(lower + margin_rad, zero - reach_rad), np.minimum(upper - margin_rad, zero + reach_rad)
    poses: list[F64] = []
    last = apart(robot)
    for _ in range(200 * count):
        if len(poses) == count:
            return poses
        pose = low + (high - low) * random.random(robot.motors)
        if (np.abs(model.torques(pose, np.zeros(3))) > HOLD_RATIO * effort)[robot.used].any():
            continue
        if any(model.touches(last + share * (pose - last)) for share in np.linspace(0.1, 1, 10)):
            continue
        poses.append(pose)
        last = pose
    raise Refused("poses", expected=f"{count} poses that no limb runs into another in", found=f"{len(poses)}",
                  what_to_do="ask for a smaller reach")
