"""Normal equations of weighted points on a robot, as the mass matrix of one that has masses for weights.

A point p that is to be met with weight w, and a rotation with weight v, add w^2 J_p^T J_p + v^2 J_r^T J_r to the normal
matrix. A body with the mass w^2 at p and the inertia v^2 about every axis adds the same to a mass matrix. So a copy of
the plant with such bodies gives that matrix, sparse as the tree is, by the composite rigid body algorithm, and solves
with it; what is added to its diagonal is armature. After Featherstone, Rigid Body Dynamics Algorithms, 6.2 and 6.5.
"""

from __future__ import annotations

import copy

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.kinematics import Kinematics

F64 = npt.NDArray[np.float64]
ONES: F64 = np.ones(6)
HAS_OLD_LAYOUT = hasattr(mujoco.MjData, "qM")
"""Older ones (3.2) hand the sparse matrix to what unfolds it; newer ones (3.17) find it in the data."""


class PointMasses:
    """The points of a robot's kinematics, weighted.

    Args:
        kinematics: whose points count; one a body.
        position_weights, rotation_weights: (k,) of a metre and of a radian.

    Attributes:
        positions: (k, 3) m in world, as of the last `place`.
        quats_wxyz: (k, 4) of their bodies.
    """

    def __init__(self, kinematics: Kinematics, position_weights: F64, rotation_weights: F64) -> None:
        bodies, offsets = kinematics.bodies, kinematics.offsets_m
        self._model = model = copy.copy(kinematics.model)
        model.body_mass[:], model.body_inertia[:] = 0, 0
        model.body_mass[bodies] = position_weights**2
        model.body_inertia[bodies] = rotation_weights[:, None] ** 2
        model.body_ipos[bodies] = offsets
        model.body_sameframe[:], model.dof_simplenum[:] = 0, 0  # what was compiled for the plant's own masses
        parents, carried = np.asarray(model.body_parentid), model.body_mass.copy()
        for body in range(model.nbody - 1, 0, -1):
            carried[parents[body]] += carried[body]
        model.body_subtreemass[:] = carried
        self._data = data = mujoco.MjData(model)
        self._bodies, self._root = bodies, int(model.jnt_bodyid[0])
        k, size = len(bodies), int(model.nv)
        self.positions: F64 = np.zeros((k, 3))
        self.quats_wxyz: F64 = np.zeros((k, 4))
        self._carries = np.zeros((size, k))
        for row, body in enumerate(bodies):
            above = {int(body)}
            while body:
                body = parents[body]
                above.add(int(body))
            self._carries[:, row] = [int(of) in above for of in model.dof_bodyid]
        self._qpos, self._xipos, self._xquat, self._cdof = data.qpos, data.xipos, data.xquat, data.cdof
        self._centre, self._armature = data.subtree_com[self._root][:, None], model.dof_armature
        self._arms, self._across, self._other = np.zeros((5, k)), np.zeros((3, k)), np.zeros((3, k))
        self._carried, self._along = np.zeros((size, 6)), np.zeros((size, 6))
        self._right, self._found = np.zeros((1, size)), np.zeros((1, size))
        self._dense: F64 = np.zeros((size, size))

    def place(self, q: F64) -> None:
        """Moves the robot to q (7 + n,), refreshes `positions` and `quats_wxyz`, and what the rest needs."""
        self._qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        self._xipos.take(self._bodies, axis=0, out=self.positions, mode="clip")
        self._xquat.take(self._bodies, axis=0, out=self.quats_wxyz, mode="clip")

    def slope(self, pulls: F64, out: F64) -> None:
        """J^T f (6 + n,) of torques and forces at the points, world axes.

        Args:
            pulls: (8, k) torque x, y, z, force x, y, z, and force x, y again; changed.
        """
        arms, across, forces = self._arms, self._across, pulls[3:]
        np.subtract(self.positions.T, self._centre, out=arms[:3])
        arms[3:] = arms[:2]
        np.multiply(arms[1:4], forces[2:], out=across)
        across -= np.multiply(arms[2:], forces[1:4], out=self._other)
        pulls[:3] += across
        np.matmul(self._carries, pulls[:6].T, out=self._carried)
        np.multiply(self._cdof, self._carried, out=self._along)
        np.matmul(self._along, ONES, out=out)

    def weigh(self) -> F64:
        """J^T J (6 + n, 6 + n) of the weighted points where the robot stands; overwritten by the next call."""
        self._armature[:] = 0
        mujoco.mj_crb(self._model, self._data)
        if HAS_OLD_LAYOUT:
            mujoco.mj_fullM(self._model, self._dense, self._data.qM)
        else:
            mujoco.mj_fullM(self._model, self._data, self._dense)
        return self._dense

    def solve(self, diagonal: F64, right: F64) -> F64:
        """x (6 + n,) of (J^T J + diagonal) x = right; overwritten by the next call."""
        model, data = self._model, self._data
        self._armature[:], self._right[0] = diagonal, right
        mujoco.mj_crb(model, data)
        mujoco.mj_factorM(model, data)
        mujoco.mj_solveM(model, data, self._found, self._right)
        return np.asarray(self._found[0])

    def slide(self, row: int, out: F64) -> None:
        """(3, 6 + n) how a point moves."""
        mujoco.mj_jac(self._model, self._data, out, None, self.positions[row], int(self._bodies[row]))
