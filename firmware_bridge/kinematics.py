"""A robot's kinematics for solvers: named points on its bodies, where they are, and their Jacobians, nothing allocated.

The state is MuJoCo's: q (7 + n,) is root position in world, root rotation (w, x, y, z), then the joints; a tangent
(6 + n,) is the root's translation in world, its rotation in its own axes, then the joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from firmware_bridge.plant import compile_plant

PLANTS = Path(__file__).with_name("plants")
F64 = npt.NDArray[np.float64]
ROOT_Q, ROOT_V = 7, 6
Point = tuple[str, tuple[float, float, float]]


def plant_path(name_or_file: str, beside: Path | None = None) -> Path:
    """A shipped plant by its name, or a file, looked for beside another one."""
    shipped = PLANTS / f"{name_or_file}.xml"
    if shipped.is_file():
        return shipped
    return Path(name_or_file) if beside is None else beside / name_or_file


class Kinematics:
    """One floating-base robot, alone in its plant.

    Args:
        path: MJCF.
        points: (body, offset in its axes, m) each.

    Attributes:
        joints: names, in the order of q.
        lower, upper: (n,) rad, the ranges of the plant.
        positions: (k, 3) of the points in world, m, as of the last `place`.
        quats_wxyz: (k, 4) of their bodies.
        bodies: (k,) numbers of their bodies in the model. offsets_m: (k, 3) in the bodies' axes.
        jacobian: (k, 6, 6 + n) as of the last `differentiate`: rows of translation, then of rotation, in world axes.

    Raises:
        BridgeError: it does not compile, its root is not free, other joints than hinges and slides, unknown bodies.
    """

    def __init__(self, path: Path, points: Sequence[Point]) -> None:
        self._path, self._points = path, tuple(points)
        self.model = model = compile_plant(path)
        self.data = mujoco.MjData(model)
        kinds = [int(kind) for kind in model.jnt_type]
        simple = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
        if not kinds or kinds[0] != mujoco.mjtJoint.mjJNT_FREE or any(kind not in simple for kind in kinds[1:]):
            raise BridgeError(f"plant {path.name}", expected="one free joint, then hinges and slides", found=f"{kinds}",
                              what_to_do="use a plant of the robot alone")
        self.joints = tuple(str(model.joint(j).name) for j in range(1, model.njnt))
        limited = np.asarray(model.jnt_limited[1:], np.bool_)
        self.lower: F64 = np.where(limited, model.jnt_range[1:, 0], -np.inf)
        self.upper: F64 = np.where(limited, model.jnt_range[1:, 1], np.inf)
        self.bodies = np.array([self._body(name) for name, _ in points], np.intp)
        self.offsets_m: F64 = np.array([offset for _, offset in points], np.float64).reshape(-1, 3)
        self._is_offset = bool(self.offsets_m.any())
        self._root = int(model.jnt_bodyid[0])
        k = len(points)
        self.positions: F64 = np.zeros((k, 3))
        self.quats_wxyz: F64 = np.zeros((k, 4))
        self.jacobian: F64 = np.zeros((k, 6, model.nv))
        self._turned: F64 = np.zeros((k, 3, 3))
        self._arms: F64 = np.zeros((k, 3, 1))
        self._rows = [(self.jacobian[i, :3], self.jacobian[i, 3:], self.positions[i], int(body))
                      for i, body in enumerate(self.bodies)]
        self.place(self.data.qpos.copy())

    def _body(self, name: str) -> int:
        found = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if found < 0:
            names = [self.model.body(b).name for b in range(1, self.model.nbody)]
            raise BridgeError("kinematics", expected=f"a body among {', '.join(names)}", found=name,
                              what_to_do="correct the body's name")
        return int(found)

    def model_with_points(self, names: Sequence[str]) -> Any:
        """Another model of the same plant, with a site of a given name at every point: for other solvers."""
        spec = mujoco.MjSpec.from_file(str(self._path))
        for name, (body, offset) in zip(names, self._points, strict=True):
            spec.body(body).add_site(name=name, pos=list(offset))
        return spec.compile()

    def place(self, q: F64) -> None:
        """Moves the robot to q (7 + n,) and refreshes `positions` and `quats_wxyz`."""
        data = self.data
        data.qpos[:] = q
        mujoco.mj_kinematics(self.model, data)
        np.take(data.xquat, self.bodies, axis=0, out=self.quats_wxyz, mode="clip")
        np.take(data.xpos, self.bodies, axis=0, out=self.positions, mode="clip")
        if self._is_offset:
            np.take(data.xmat.reshape(-1, 3, 3), self.bodies, axis=0, out=self._turned, mode="clip")
            np.matmul(self._turned, self.offsets_m[:, :, None], out=self._arms)
            self.positions += self._arms[:, :, 0]

    def place_all(self, qs: F64) -> tuple[F64, F64]:
        """Points (T, k, 3), m in world, and their bodies' rotations (T, k, 4), w-first, at states (T, 7 + n).

        The robot stands in the last one afterwards; `positions` and `quats_wxyz` are as of the last `place`.
        """
        model, data = self.model, self.data
        qpos, xpos, xquat, xmat = data.qpos, data.xpos, data.xquat, data.xmat
        found, quats, turns = (np.empty((len(qs), *of.shape)) for of in (xpos, xquat, xmat))
        for t, q in enumerate(qs):  # the rest is quicker for all at once
            qpos[:] = q
            mujoco.mj_kinematics(model, data)
            found[t], quats[t], turns[t] = xpos, xquat, xmat
        positions = found.take(self.bodies, axis=1)
        if self._is_offset:
            turned = turns.take(self.bodies, axis=1).reshape(*positions.shape, 3)
            positions += np.matmul(turned, self.offsets_m[:, :, None])[..., 0]
        return positions, quats.take(self.bodies, axis=1)

    def differentiate(self) -> F64:
        """`jacobian`, refreshed for where the robot stands."""
        model, data = self.model, self.data
        mujoco.mj_comPos(model, data)  # mj_jac reads the motion axes that it fills, and says nothing without
        for translation, turn, point, body in self._rows:
            mujoco.mj_jac(model, data, translation, turn, point, body)
        return self.jacobian

    def is_free(self) -> bool:
        """Whether, where the robot stands, nothing touches anything."""
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)
        return int(self.data.ncon) == 0

    def centre_of_mass(self, q: F64) -> F64:
        """(3,) in world, at q (7 + n,)."""
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        return np.asarray(self.data.subtree_com[self._root])

    def integrate(self, q: F64, tangent: F64) -> None:
        """q moved along a tangent, in place."""
        mujoco.mj_integratePos(self.model, q, tangent, 1.0)

    def difference(self, before: F64, after: F64, out: F64) -> None:
        """The tangent that leads from one state to another."""
        mujoco.mj_differentiatePos(self.model, out, 1.0, before, after)
