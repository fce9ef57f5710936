"""What the joints of a hanging robot have to do to carry and move its links: the plant's inverse dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
TORSO = "torso_link"


class LimbTorques:
    """Of one robot, held by its torso (or its base, where it has none), upright and still.

    Links as the plant has them; without rotor inertia and friction.

    Raises:
        Refused: MuJoCo, or a plant of this robot, is missing.
    """

    def __init__(self, robot: Robot) -> None:
        try:
            import mujoco
        except ImportError as error:
            raise Refused("inverse dynamics", expected="MuJoCo", found=f"cannot import it: {error}",
                          what_to_do='pip install "exoactor[calibration]"') from error
        from firmware_bridge.plant import compile_plant
        from firmware_bridge.simulated_robot import PLANTS

        self._mujoco: Any = mujoco
        self._model = model = compile_plant(PLANTS / f"{robot.name}.xml")
        self._data = mujoco.MjData(model)
        joints = [model.joint(row.name) for row in robot.joints]
        self._motors, self._motor = robot.motors, np.array([row.motor for row in robot.joints], np.intp)
        self._qpos = np.array([int(joint.qposadr[0]) for joint in joints], np.intp)
        self._dof = np.array([int(joint.dofadr[0]) for joint in joints], np.intp)
        named = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, TORSO)
        self._held = int(named) if named >= 0 else 1

    def torques(self, q: F64, dq: F64, ddq: F64) -> F64:
        """(T, motors) N m for positions, speeds and accelerations (T, motors)."""
        out = np.zeros((len(q), self._motors))
        for row, (place, speed, change) in enumerate(zip(q, dq, ddq, strict=True)):
            out[row, self._motor] = self._of_pose(place[self._motor], speed[self._motor], change[self._motor])
        return out

    def inertia(self, q: F64) -> F64:
        """(motors,) kg m^2: of the links, each joint alone, in a pose (motors,)."""
        still = np.zeros((1, self._motors))
        rest = self.torques(q[None], still, still)[0]
        out = np.zeros(self._motors)
        for motor in self._motor:
            push = still.copy()
            push[0, motor] = 1.0
            out[motor] = self.torques(q[None], still, push)[0, motor] - rest[motor]
        return out

    def friction(self, joint: str) -> tuple[float, float]:
        """The plant's own, of a joint: Coulomb N m, viscous N m s/rad."""
        dof = int(self._model.joint(joint).dofadr[0])
        return float(self._model.dof_frictionloss[dof]), float(self._model.dof_damping[dof])

    def _of_pose(self, q: F64, dq: F64, ddq: F64) -> F64:
        """The base moves so that what is held does not; the force that holds it leaves the base's own rows at zero."""
        mujoco, model, data = self._mujoco, self._model, self._data
        self._stand_still(q)
        jacobian, dot = np.zeros((6, model.nv)), np.zeros((6, model.nv))
        mujoco.mj_jac(model, data, jacobian[:3], jacobian[3:], data.xpos[self._held], self._held)
        base = jacobian[:, :6]
        data.qvel[:], data.qacc[:] = 0, 0
        data.qvel[self._dof], data.qacc[self._dof] = dq, ddq
        data.qvel[:6] = -np.linalg.solve(base, jacobian[:, 6:] @ data.qvel[6:])
        mujoco.mj_comVel(model, data)
        mujoco.mj_jacDot(model, data, dot[:3], dot[3:], data.xpos[self._held], self._held)
        data.qacc[:6] = -np.linalg.solve(base, jacobian[:, 6:] @ data.qacc[6:] + dot @ data.qvel)
        needed = np.zeros(model.nv)
        mujoco.mj_rne(model, data, 1, needed)
        force = np.linalg.solve(base.T, needed[:6])
        return np.asarray((needed - jacobian.T @ force)[self._dof])

    def _stand_still(self, q: F64) -> None:
        """Joints at q, and the base where the held body is upright at the origin."""
        mujoco, model, data = self._mujoco, self._model, self._data
        data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
        data.qpos[self._qpos] = q
        mujoco.mj_kinematics(model, data)
        back, away = np.zeros(4), np.zeros(3)
        mujoco.mju_negQuat(back, data.xquat[self._held])
        mujoco.mju_rotVecQuat(away, -data.xpos[self._held], back)
        data.qpos[:3], data.qpos[3:7] = away, back
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
