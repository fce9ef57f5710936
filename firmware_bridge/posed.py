"""What a plant's body does over a row of poses: heights and paths of its feet, and parts that run into each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError

F64 = npt.NDArray[np.float64]
PLANTS = Path(__file__).with_name("plants")
SOLE_BAND_M = 0.02
"""A foot's shapes that reach this close to its lowest point, standing flat, are its sole."""


@dataclass(frozen=True)
class Posed:
    """Of T poses and k feet.

    Attributes:
        lowest_m: (T,) of the whole body that can touch something, in world.
        foot_lowest_m: (T, k) of each foot.
        foot_points: (T, k, 2, 3) m, a point at either end of each foot's sole, in world.
        overlap_m: (T,) how deep the worst pair of parts reaches into each other; 0 without any.
        pair: (T,) names of the two bodies; "" without any.
    """

    lowest_m: F64
    foot_lowest_m: F64
    foot_points: F64
    overlap_m: F64
    pair: tuple[str, ...]


class PosedPlant:
    """A plant, posed frame by frame.

    Args:
        path: MJCF, the robot its only floating body.
        joints: names of the joints of a pose, in its order.
        feet: bodies.
        standing: (n,) rad; parts that overlap there are built so, and not counted.

    Raises:
        BridgeError: it does not compile, does not float, or has no such joints or bodies.
    """

    def __init__(self, path: Path, joints: Sequence[str], feet: Sequence[str], standing: F64) -> None:
        try:
            self.model = model = mujoco.MjModel.from_xml_path(str(path))
        except ValueError as error:
            raise BridgeError(f"plant {path.name}", expected="an MJCF file that compiles", found=str(error)[:200],
                              what_to_do="give the path of an existing .xml plant") from error
        if not model.njnt or model.jnt_type[0] != mujoco.mjtJoint.mjJNT_FREE:
            raise BridgeError(f"plant {path.name}", expected="a floating base", found="none",
                              what_to_do="use a plant whose first joint is free")
        self.data = mujoco.MjData(model)
        self._qpos = np.array([model.jnt_qposadr[_id(model, mujoco.mjtObj.mjOBJ_JOINT, name)] for name in joints],
                              np.intp)
        own = model.body_rootid[model.jnt_bodyid[0]]
        felt = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        self._felt = [g for g in range(model.ngeom) if felt[g] and model.body_rootid[model.geom_bodyid[g]] == own]
        bodies = [_id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in feet]
        self._foot_geoms = [[g for g in self._felt if model.geom_bodyid[g] == body] for body in bodies]
        self._foot_bodies = bodies
        self._seen: list[int] = []
        self._built: set[tuple[int, int]] = set()
        self._place(self._state(np.zeros(3), np.array([1.0, 0, 0, 0]), standing))
        self._built = {pair for _, pair in self._overlaps(0.0)}
        self._ends = np.array([self._sole_ends(geoms, body)
                               for geoms, body in zip(self._foot_geoms, bodies, strict=True)]).reshape(-1, 2, 3)

    def _state(self, root_pos: F64, root_quat_wxyz: F64, joints: F64) -> F64:
        q = self.data.qpos.copy()
        q[:3], q[3:7], q[self._qpos] = root_pos, root_quat_wxyz, joints
        return np.asarray(q)

    def states(self, root_pos: F64, root_quat_wxyz: F64, joint_pos: F64) -> F64:
        """(T, nq) the plant's own state of each frame."""
        rows = zip(root_pos, root_quat_wxyz, joint_pos, strict=True)
        return np.array([self._state(*row) for row in rows])

    def shapes(self) -> list[tuple[str, F64, tuple[int, int, int]]]:
        """What the robot looks like: "box", "cylinder" or "ball", (3,) half sizes in m, RGB; a mesh as its box."""
        self._seen = [g for g in range(self.model.ngeom) if self.model.geom_bodyid[g] and self.model.geom_rgba[g, 3]]
        return [(_KINDS.get(int(self.model.geom_type[g]), "box"), _half_size(self.model, g), _colour(self.model, g))
                for g in self._seen]

    def shape_poses(self, state: F64) -> tuple[F64, F64]:
        """(m, 3) places and (m, 4) w, x, y, z of the shapes, in world, in a state."""
        self.data.qpos[:] = state
        mujoco.mj_kinematics(self.model, self.data)
        quats = np.zeros((len(self._seen), 4))
        for quat, g in zip(quats, self._seen, strict=True):
            mujoco.mju_mat2Quat(quat, self.data.geom_xmat[g])
        return self.data.geom_xpos[self._seen].copy(), quats

    def _place(self, q: F64) -> None:
        self.data.qpos[:] = q
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_collision(self.model, self.data)

    def _overlaps(self, beyond_m: float) -> list[tuple[float, tuple[int, int]]]:
        """Depth and bodies of pairs of the robot's own parts that reach further into each other."""
        out = []
        for contact in self.data.contact:
            one, two = sorted(int(self.model.geom_bodyid[g]) for g in contact.geom)
            if one and -contact.dist > beyond_m and (one, two) not in self._built:
                out.append((-float(contact.dist), (one, two)))
        return out

    def _sole_ends(self, geoms: list[int], body: int) -> F64:
        """(2, 3) the rear and front of a sole, in the foot's axes; the body's own origin where it has no shapes."""
        turned, at = self.data.xmat[body].reshape(3, 3), self.data.xpos[body]
        if not geoms:
            return np.zeros((2, 3))
        corners = np.concatenate([_corners(self.model, self.data, g) for g in geoms])
        local = (corners - at) @ turned
        sole = local[local[:, 2] <= local[:, 2].min() + SOLE_BAND_M]
        middle, low = (sole[:, 1].min() + sole[:, 1].max()) / 2, sole[:, 2].min()
        return np.array([[sole[:, 0].min(), middle, low], [sole[:, 0].max(), middle, low]])

    def follow(self, states: F64) -> Posed:
        """Poses one after the other, (T, nq)."""
        frames, k = len(states), len(self._foot_bodies)
        lowest, overlap = np.zeros(frames), np.zeros(frames)
        feet, points = np.zeros((frames, k)), np.zeros((frames, k, 2, 3))
        pairs = []
        for t, state in enumerate(states):
            self._place(state)
            heights = {g: _corners(self.model, self.data, g)[:, 2].min() for g in self._felt}
            lowest[t] = min(heights.values(), default=0.0)
            for i, (body, geoms) in enumerate(zip(self._foot_bodies, self._foot_geoms, strict=True)):
                points[t, i] = self.data.xpos[body] + self._ends[i] @ self.data.xmat[body].reshape(3, 3).T
                feet[t, i] = min((heights[g] for g in geoms), default=points[t, i, :, 2].min())
            worst = max(self._overlaps(0.0), default=(0.0, (0, 0)))
            overlap[t] = worst[0]
            pairs.append(" and ".join(self.model.body(b).name for b in worst[1]) if worst[0] else "")
        return Posed(lowest, feet, points, overlap, tuple(pairs))


_KINDS = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "ball", int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ball",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "cylinder", int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
}


def _half_size(model: Any, geom: int) -> F64:
    size = np.array(model.geom_size[geom], np.float64)
    if int(model.geom_type[geom]) == mujoco.mjtGeom.mjGEOM_MESH:
        return np.asarray(model.geom_aabb[geom, 3:], np.float64)
    return np.full(3, size[0]) if int(model.geom_type[geom]) == mujoco.mjtGeom.mjGEOM_SPHERE else size


def _colour(model: Any, geom: int) -> tuple[int, int, int]:
    material = int(model.geom_matid[geom])
    rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[geom]
    red, green, blue = (int(255 * value) for value in rgba[:3])
    return red, green, blue


def _id(model: Any, kind: Any, name: str) -> int:
    found = int(mujoco.mj_name2id(model, kind, name))
    if found < 0:
        raise BridgeError("plant", expected=f"a part named {name}", found="none",
                          what_to_do="give the plant of this robot with --plant FILE.xml")
    return found


def _corners(model: Any, data: Any, geom: int) -> F64:
    """(m, 3) points in world that hold a shape's lowest one: its extreme points downwards and along its axes."""
    kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom]
    at, turned = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        return np.asarray(at + (signs * size) @ turned.T)
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        first = int(model.mesh_vertadr[model.geom_dataid[geom]])
        vertices = model.mesh_vert[first : first + int(model.mesh_vertnum[model.geom_dataid[geom]])]
        return np.asarray(at + vertices @ turned.T)
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER):
        ends = at + np.array([[-size[1]], [size[1]]]) * turned[:, 2]
        tilt = 1.0 if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else float(np.hypot(turned[2, 0], turned[2, 1]))
        return np.asarray(ends - np.array([0.0, 0.0, size[0] * tilt]))
    down = size[0] if kind == mujoco.mjtGeom.mjGEOM_SPHERE else float(model.geom_rbound[geom])
    return np.asarray(at - np.array([0.0, 0.0, down]))[None]
