"""Gravity's torques on a robot that hangs by its torso, from its model: what a perfect robot's drives would report.

The torso is held, everything else hangs on it: arms directly, pelvis and legs by the waist. Static equilibrium of all
bodies, M g = tau + J' f with the wrench f of the gantry at the torso (R. Featherstone, Rigid Body Dynamics Algorithms,
chapter 3), gives the joints' torques; rates are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from firmware_bridge.plant import compile_plant

PLANTS = Path(__file__).with_name("plants")
F64 = npt.NDArray[np.float64]
TORSO = "torso_link"
GRAVITY_M_S2 = 9.81
STEP_RAD = 1e-4
APART_RATIO = 0.6
CLEAR_M = 0.06
"""Bodies nearer than this count as touching: what offsets of 0.1 rad and a sweep may close."""


class Hanging:
    """One robot's model, joints by motor slot.

    Args:
        name: of the robot; the model is the plant of the same name.
        joints: its joints, by motor slot; "" for a slot that is not used.
        apart: (motors,) rad, where no limb touches another: what is near there may be nearly as near elsewhere.

    Raises:
        BridgeError: no plant of this robot, or joints that it lacks.
    """

    def __init__(self, name: str, joints: Sequence[str], apart: F64) -> None:
        path = PLANTS / f"{name}.xml"
        if not path.is_file():
            raise BridgeError("gravity's model", expected=f"a plant named {name}", found="none",
                              what_to_do="touch hard stops or use a jig instead, or add the plant of this robot")
        model = self._model = compile_plant(path)
        self._data = mujoco.MjData(model)
        names = {model.joint(j).name: j for j in range(model.njnt)}
        missing = [joint for joint in joints if joint and joint not in names]
        if missing:
            raise BridgeError("gravity's model", expected=f"the joints of {name}", found=f"no {', '.join(missing)}",
                              what_to_do="correct the plant's names")
        self.motors = len(joints)
        self._slot = np.array([slot for slot, joint in enumerate(joints) if joint], np.intp)
        used = np.array([names[joint] for joint in joints if joint], np.intp)
        self._qpos, self._dof = model.jnt_qposadr[used], model.jnt_dofadr[used]
        torso = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, TORSO)
        self._torso = torso if torso >= 0 else 1
        self._bias, self._jacobian = np.zeros(model.nv), np.zeros((6, model.nv))
        model.geom_margin[:] = CLEAR_M
        self._near = {pair: APART_RATIO * gap for pair, gap in self._gaps(apart).items()}

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
