"""Damped Gauss-Newton steps that keep a robot's points on moving targets, frame by frame, within limits.

Each frame minimises the weighted distances of points and rotations, plus a pull of every joint towards where the last
frame's change, carried on, would put it. Without that pull full steps hop between the minima of an arm. Joints at a
limit that the gradient pushes outwards are held; after each step joints are clipped to their ranges and to a fastest
change since the last frame. After Nocedal and Wright, Numerical Optimization, 10.3 (Gauss-Newton) and 16.7 (gradient
projection).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.kinematics import ROOT_Q, ROOT_V, Kinematics
from firmware_bridge.point_masses import PointMasses
from runtime.retarget_table import Solving

F64 = npt.NDArray[np.float64]
FIRST_ITERATIONS = 60
FIRST_DAMPING = 20.0
AT_LIMIT_RAD = 1e-6
HELD = 1e12
"""On the diagonal of a joint that is not to move."""
NEARLY_ONE = 1 - 1e-14
_W, _X, _Y, _Z = np.eye(4)
TIMES_INVERSE: F64 = np.stack([_W, _X, _Y, _Z, -_X, _W, -_Z, _Y, -_Y, _Z, _W, -_X, -_Z, -_Y, _X, _W], axis=1)
"""(4, 16): takes a quaternion to the matrix of multiplying by its inverse from the right."""


class RotationError:
    """Rotation vectors of R_k R_target^-1, world axes, for k rotations at once."""

    def __init__(self, k: int) -> None:
        self._times = np.zeros((k, 4, 4))
        self._product = np.zeros((k, 4, 1))
        self._cosine, self._sine, self._other = np.zeros(k), np.zeros(k), np.zeros(k)

    def aim(self, targets_wxyz: F64) -> None:
        """Take new targets (k, 4): the matrices of multiplying by their inverses from the right."""
        np.matmul(targets_wxyz, TIMES_INVERSE, out=self._times.reshape(-1, 16))

    def of(self, quats_wxyz: F64, out: F64) -> None:
        """(3, k) for the rotations (k, 4)."""
        np.matmul(self._times, quats_wxyz[:, :, None], out=self._product)
        product = self._product[:, :, 0].T
        cosine, sine = self._cosine, self._sine
        np.abs(product[0], out=cosine)
        np.minimum(cosine, NEARLY_ONE, out=cosine)  # where both are zero their ratio is none
        np.subtract(1, cosine, out=sine)
        sine *= np.add(cosine, 1, out=self._other)
        np.sqrt(sine, out=sine)
        ratio = np.divide(np.arccos(cosine, out=cosine), sine, out=cosine)
        np.copysign(ratio, product[0], out=ratio)
        ratio *= 2
        np.multiply(product[1:], ratio, out=out)


class GaussNewton:
    """The solver of one robot.

    Args:
        kinematics: with one point a row.
        position_weights, rotation_weights: (k,) of the rows.
        lower, upper: (n,) rad, in the order of the kinematics' joints.
        frame_s: between frames.

    Attributes:
        q: (7 + n,) the last solution.
        change: (6 + n,) the tangent that led to it from the one before.
        position_weights: (k,). frame_s: between frames.
        cost: sum of squared weighted errors at the start of the last iteration.
        points: the weighted points, standing where they were last looked at. slope: (6 + n,) J^T e there.
    """

    def __init__(self, kinematics: Kinematics, position_weights: F64, rotation_weights: F64, lower: F64, upper: F64,
                 frame_s: float, solving: Solving) -> None:
        self.kinematics, self.solving = kinematics, solving
        self.points = PointMasses(kinematics, position_weights, rotation_weights)
        self._lower, self._upper = lower.copy(), upper.copy()
        n, k = len(lower), len(position_weights)
        size = ROOT_V + n
        self.q: F64 = np.zeros(ROOT_Q + n)
        self.q[3] = 1
        self.position_weights, self.cost = position_weights, 0.0
        self.squares = np.stack([*[rotation_weights] * 3, *[position_weights] * 5]) ** 2
        self._away, self._pulls = np.zeros((8, k)), np.zeros((8, k))
        self._gradient = np.zeros(size)
        self._turns = RotationError(k)
        self._prior = np.concatenate([np.zeros(3), np.full(3, solving.root_turn_prior), np.ones(n)]) * solving.prior
        self._before, self._delta = self.q.copy(), np.zeros(size)
        self._diagonal, self._expected = np.zeros(size), np.zeros(size)
        self.change: F64 = np.zeros(size)
        self.frame_s, self._reach = frame_s, solving.speed_rad_s * frame_s
        self._low, self._high = self._lower.copy(), self._upper.copy()
        self.slope: F64 = np.zeros(size)

    @property
    def limits(self) -> tuple[F64, F64]:
        """(n,) each: the ranges that solutions stay in."""
        return self._lower, self._upper

    def start(self, q: F64) -> None:
        """Stand at q, at rest."""
        self.q[:] = q
        np.clip(self.q[ROOT_Q:], self._lower, self._upper, out=self.q[ROOT_Q:])
        self._before[:] = self.q
        self.change[:] = 0

    def solve_first(self, positions: F64, quats_wxyz: F64) -> float:
        """Many damped iterations from where `start` put it, ranges alone limiting; returns the cost."""
        self._turns.aim(quats_wxyz)
        self._low[:], self._high[:] = self._lower, self._upper
        for _ in range(FIRST_ITERATIONS):
            self._iterate(positions, FIRST_DAMPING, None)
        self._before[:] = self.q
        self.change[:] = 0
        return self.cost_at(self.q, positions)

    def solve(self, positions: F64, quats_wxyz: F64) -> None:
        """The next frame: targets (k, 3) m and (k, 4)."""
        self._before[:] = self.q
        joints = self._before[ROOT_Q:]
        np.maximum(self._lower, np.subtract(joints, self._reach, out=self._low), out=self._low)
        np.minimum(self._upper, np.add(joints, self._reach, out=self._high), out=self._high)
        np.multiply(self.change, self.solving.carry, out=self._expected)
        self._turns.aim(quats_wxyz)
        for _ in range(self.solving.iterations):
            self._iterate(positions, self.solving.damping, self._prior)
        self.kinematics.difference(self._before, self.q, self.change)

    def aim(self, quats_wxyz: F64) -> None:
        """Rotations (k, 4) that `look` is to compare with."""
        self._turns.aim(quats_wxyz)

    def look(self, q: F64, positions: F64) -> float:
        """The cost at q (7 + n,), where `points` then stand, and `slope` there, for targets (k, 3)."""
        cost = self.cost_at(q, positions)
        self.points.slope(self._pulls, self.slope)
        return cost

    def cost_at(self, q: F64, positions: F64) -> float:
        """The cost at q (7 + n,), where `points` then stand."""
        points, away, pulls = self.points, self._away, self._pulls
        points.place(q)
        self._turns.of(points.quats_wxyz, away[:3])
        np.subtract(points.positions.T, positions.T, out=away[3:6])
        away[6:] = away[3:5]
        np.multiply(away, self.squares, out=pulls)
        return float(away[:6].reshape(-1) @ pulls[:6].reshape(-1))

    def _iterate(self, positions: F64, damping: float, prior: F64 | None) -> None:
        q, gradient, diagonal = self.q, self._gradient, self._diagonal
        self.cost = self.look(q, positions)
        gradient[:] = self.slope
        if prior is None:
            diagonal[:] = damping
        else:
            self.kinematics.difference(self._before, q, self._delta)
            self._delta -= self._expected
            self._delta *= prior
            gradient += self._delta
            np.add(prior, damping, out=diagonal)
        joints = q[ROOT_Q:]
        slope = gradient[ROOT_V:]
        outwards = np.where(slope > 0, joints - self._low, self._high - joints)
        held = outwards <= AT_LIMIT_RAD
        if held.any():
            places = np.flatnonzero(held) + ROOT_V
            diagonal[places] = HELD
            gradient[places] = 0
        step = self.points.solve(diagonal, np.negative(gradient, out=gradient))
        self.kinematics.integrate(q, step)
        np.minimum(np.maximum(joints, self._low, out=joints), self._high, out=joints)
