"""Leg kinematics from the robot's own table: where the feet are, how they move, what the ground presses them with.

Everything is seen from the base (the pelvis), in float64. A tick is some tens of small numpy calls, so what counts is
their number: the frames of all feet stand as blocks on the diagonal of one matrix, a link of every leg is one product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.feet import Foot
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]


def matrix_from_quat(q_wxyz: F64) -> F64:
    """(3, 3) rotation of a unit quaternion."""
    w, x, y, z = (float(part) for part in q_wxyz)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])


class Legs:
    """The legs of one robot at one joint state.

    f feet, n joints each. `joints` is the order in which `update` wants the legs' joints: foot after foot, from the
    base outwards.

    Attributes:
        position: (f, 3) origin of the last frame of each leg, m.
        jacobian: (f, 6, n) of linear (rows 0 to 2, m/rad) and angular velocity of that frame.
        twist: (f, 6) these velocities, m/s and rad/s.
        sole: (f, k, 3) centres of the spheres under each foot, m.
    """

    def __init__(self, robot: Robot) -> None:
        feet = robot.feet
        if not feet:
            raise Refused(f"robot {robot.name}", expected="`feet` in its file (docs/estimator.md)", found="none",
                          what_to_do="describe the legs, or leave out what needs them")
        self.names = tuple(foot.name for foot in feet)
        self.joints = JointOrder(tuple(name for foot in feet for name in foot.joints))
        self.motor_index = robot.motor_index(self.joints)
        self.sole_radius_m = np.array([foot.sole_radius_m for foot in feet])
        count, links, points = len(feet), len(feet[0].joints), len(feet[0].sole_m)
        rows = 4 * count
        self._angle_index = np.repeat(np.arange(count * links).reshape(count, links).T, 4, axis=1)
        self._fixed, self._sine, self._cosine = _locals(feet)
        self._angle = np.zeros((links, rows, 1))
        self._sin, self._cos = np.zeros_like(self._angle), np.zeros_like(self._angle)
        self._local, self._term, self._frames = (np.zeros((links, rows, rows)) for _ in range(3))
        # One column picks every foot's axis, the other its origin: (links, 4 f, 2), then (links, f, 4, 2).
        self._pick = np.zeros((links, rows, 2))
        self._picked = np.zeros((links, rows, 2))
        blocks = self._pick.reshape(links, count, 4, 2)
        blocks[:, :, :3, 0] = np.swapaxes([foot.axis for foot in feet], 0, 1)
        blocks[:, :, 3, 1] = 1
        self.position = self._picked.reshape(links, count, 4, 2)[-1, :, :3, 1]
        self._arm = np.zeros_like(self._picked)
        self._cross_index = _cross_index(links, count)
        self._axis, self._arm_1, self._axis_2, self._arm_2 = (np.zeros((count, 3, links)) for _ in range(4))
        self.jacobian = np.zeros((count, 6, links))
        self._linear, self._angular = self.jacobian[:, :3], self.jacobian[:, 3:]
        self.twist = np.zeros((count, 6))
        sole = np.zeros((rows, points))
        sole.reshape(count, 4, points)[:, :3] = np.swapaxes([foot.sole_m for foot in feet], 1, 2)
        sole.reshape(count, 4, points)[:, 3] = 1
        self._sole_local, self._sole_found = sole, np.zeros((rows, points))
        self.sole = self._sole_found.reshape(count, 4, points)[:, :3].swapaxes(1, 2)
        self._square = np.zeros((count, 6, 6))
        self._diagonal = np.einsum("fii->fi", self._square)

    def update(self, q: F64, dq: F64) -> None:
        """Everything from the legs' joint positions and velocities, (f n,) in the order of `joints`, rad, rad/s."""
        q.take(self._angle_index, out=self._angle[..., 0], mode="clip")
        local, term, frames = self._local, self._term, self._frames
        np.multiply(self._sine, np.sin(self._angle, out=self._sin), out=local)
        np.multiply(self._cosine, np.cos(self._angle, out=self._cos), out=term)
        np.add(local, term, out=local)
        np.add(local, self._fixed, out=local)
        frames[0] = local[0]
        for i in range(1, len(local)):
            np.dot(frames[i - 1], local[i], out=frames[i])
        np.matmul(frames, self._pick, out=self._picked)
        np.dot(frames[-1], self._sole_local, out=self._sole_found)
        self._fill_jacobian()
        np.matmul(self.jacobian, dq.reshape(len(self.twist), -1, 1), out=self.twist[..., None])

    def _fill_jacobian(self) -> None:
        """Linear velocity of the last frame is axis x (its origin - the joint's), angular velocity the axis."""
        picked, arm, (axis, one, two, arm_one, arm_two) = self._picked, self._arm, self._cross_index
        np.subtract(picked[-1], picked, out=arm)
        self._angular[:] = picked.take(axis, out=self._axis, mode="clip")
        picked.take(one, out=self._axis, mode="clip")
        arm.take(arm_two, out=self._arm_2, mode="clip")
        picked.take(two, out=self._axis_2, mode="clip")
        arm.take(arm_one, out=self._arm_1, mode="clip")
        np.multiply(self._axis, self._arm_2, out=self._arm_2)
        np.multiply(self._axis_2, self._arm_1, out=self._arm_1)
        np.subtract(self._arm_2, self._arm_1, out=self._linear)

    def ground_force(self, torque: F64, damping: float) -> F64:
        """(f, 3) N: what the ground presses each foot with, seen from the base, if the motors' torques hold it there.

        Static: torque = J^T w, w the wrench of the foot on the ground, in damped least squares (a stretched leg says
        nothing of the force along it). The legs' own weight and inertia are left in.

        Args:
            torque: (f n,) N m, in the order of `joints`.
            damping: added to J J^T, m^2 for the force, 1 for the moment.
        """
        J = self.jacobian
        np.matmul(J, J.swapaxes(1, 2), out=self._square)
        np.add(self._diagonal, damping, out=self._diagonal)
        pushed = np.matmul(J, torque.reshape(len(self.twist), -1, 1))
        return np.asarray(-np.linalg.solve(self._square, pushed)[:, :3, 0])


def _cross_index(links: int, count: int) -> tuple[npt.NDArray[np.intp], ...]:
    """(f, 3, n) places in (n, 4 f, 2): of each axis, of it turned by one and by two, of the arm turned likewise."""
    place = np.arange(links * count * 8).reshape(links, count, 4, 2)
    vectors = place[:, :, :3].transpose(1, 2, 0, 3)
    one, two = vectors[:, [1, 2, 0]], vectors[:, [2, 0, 1]]
    return tuple(np.ascontiguousarray(part) for part in (
        vectors[..., 0], one[..., 0], two[..., 0], one[..., 1], two[..., 1]
    ))


def _locals(feet: tuple[Foot, ...]) -> tuple[F64, F64, F64]:
    """(links, 4 f, 4 f) each: a joint's frame in the one before it is fixed + sin(q) sine + cos(q) cosine.

    Rodrigues: the rotation is turn (1 + sin K + (1 - cos) K K), K the cross product with the axis.
    """
    count, links = len(feet), len(feet[0].joints)
    fixed, sine, cosine = (np.zeros((links, 4 * count, 4 * count)) for _ in range(3))
    for f, foot in enumerate(feet):
        for i in range(links):
            x, y, z = foot.axis[i]
            K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
            turn = matrix_from_quat(foot.turn_wxyz[i])
            block = slice(4 * f, 4 * f + 3)
            fixed[i, block, block] = turn @ (np.eye(3) + K @ K)
            sine[i, block, block] = turn @ K
            cosine[i, block, block] = -turn @ K @ K
            fixed[i, block, 4 * f + 3] = foot.offset_m[i]
            fixed[i, 4 * f + 3, 4 * f + 3] = 1
    return fixed, sine, cosine
