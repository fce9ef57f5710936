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
from runtime.retarget_table import Solving

F64 = npt.NDArray[np.float64]
FIRST_ITERATIONS = 60
FIRST_DAMPING = 20.0
AT_LIMIT_RAD = 1e-6


class RotationError:
    """Rotation vectors of R_k R_target^-1, world axes, for k rotations at once."""

    def __init__(self, k: int) -> None:
        self._times = np.zeros((k, 4, 4))
        self._product = np.zeros((k, 4, 1))

    def aim(self, targets_wxyz: F64) -> None:
        """Take new targets (k, 4): the matrices of multiplying by their inverses from the right."""
        w, x, y, z = targets_wxyz.T
        times = self._times
        times[:, 0, 0], times[:, 0, 1], times[:, 0, 2], times[:, 0, 3] = w, x, y, z
        times[:, 1, 0], times[:, 1, 1], times[:, 1, 2], times[:, 1, 3] = -x, w, -z, y
        times[:, 2, 0], times[:, 2, 1], times[:, 2, 2], times[:, 2, 3] = -y, z, w, -x
        times[:, 3, 0], times[:, 3, 1], times[:, 3, 2], times[:, 3, 3] = -z, -y, x, w

    def of(self, quats_wxyz: F64) -> F64:
        """(k, 3) for the rotations (k, 4)."""
        np.matmul(self._times, quats_wxyz[:, :, None], out=self._product)
        product = self._product[:, :, 0]
        vector = product[:, 1:]
        sine = np.sqrt((vector * vector).sum(axis=1))
        w = product[:, 0]
        angle = 2 * np.arctan2(sine, np.abs(w))
        ratio = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)
        return np.asarray(vector * np.copysign(ratio, w)[:, None])


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
        seen_at: (7 + n,) the state at that start. curvature: (6 + n, 6 + n) J^T J there. slope: (6 + n,) J^T e there.
    """

    def __init__(self, kinematics: Kinematics, position_weights: F64, rotation_weights: F64, lower: F64, upper: F64,
                 frame_s: float, solving: Solving) -> None:
        self.kinematics, self.solving = kinematics, solving
        self._lower, self._upper = lower.copy(), upper.copy()
        n, k = len(lower), len(position_weights)
        size = ROOT_V + n
        self.q: F64 = np.zeros(ROOT_Q + n)
        self.q[3] = 1
        self.position_weights, self.cost = position_weights, 0.0
        self._weights = np.repeat(np.stack([position_weights, rotation_weights], axis=1), 3, axis=1)
        self._weights_column = self._weights.reshape(-1, 1)
        self._error = np.zeros((k, 6))
        self._weighted = np.zeros((6 * k, size))
        self._normal = np.zeros((size, size))
        self._step, self._gradient = np.zeros(size), np.zeros(size)
        self._turns = RotationError(k)
        self._prior = np.concatenate([np.zeros(3), np.full(3, solving.root_turn_prior), np.ones(n)]) * solving.prior
        self._before, self._delta = self.q.copy(), np.zeros(size)
        self.change: F64 = np.zeros(size)
        self.frame_s, self._reach = frame_s, solving.speed_rad_s * frame_s
        self._low, self._high = self._lower.copy(), self._upper.copy()
        self.seen_at: F64 = self.q.copy()
        self.curvature: F64 = np.zeros((size, size))
        self.slope: F64 = np.zeros(size)

    @property
    def weights_column(self) -> F64:
        """(6 k, 1) of the errors' rows: three of a point's position, three of its rotation."""
        return self._weights_column

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
        return self.cost_at(positions)

    def solve(self, positions: F64, quats_wxyz: F64) -> None:
        """The next frame: targets (k, 3) m and (k, 4)."""
        self._before[:] = self.q
        joints = self._before[ROOT_Q:]
        np.maximum(self._lower, joints - self._reach, out=self._low)
        np.minimum(self._upper, joints + self._reach, out=self._high)
        self._turns.aim(quats_wxyz)
        for _ in range(self.solving.iterations):
            self._iterate(positions, self.solving.damping, self._prior)
        self.kinematics.difference(self._before, self.q, self.change)

    def cost_at(self, positions: F64) -> float:
        """The cost where it stands, for the rotations last aimed at."""
        self.kinematics.place(self.q)
        return float((self._look(positions) ** 2).sum())

    def _look(self, positions: F64) -> F64:
        error = self._error
        np.subtract(self.kinematics.positions, positions, out=error[:, :3])
        error[:, 3:] = self._turns.of(self.kinematics.quats_wxyz)
        error *= self._weights
        return error

    def _iterate(self, positions: F64, damping: float, prior: F64 | None) -> None:
        kinematics = self.kinematics
        kinematics.place(self.q)
        error = self._look(positions).reshape(-1)
        self.cost = float(error @ error)
        weighted, normal, gradient = self._weighted, self._normal, self._gradient
        np.multiply(kinematics.differentiate().reshape(weighted.shape), self._weights_column, out=weighted)
        np.matmul(weighted.T, weighted, out=self.curvature)
        np.matmul(error, weighted, out=self.slope)
        self.seen_at[:], normal[:], gradient[:] = self.q, self.curvature, self.slope
        diagonal = normal.reshape(-1)[:: len(normal) + 1]
        diagonal += damping
        if prior is not None:
            kinematics.difference(self._before, self.q, self._delta)
            self._delta -= self.solving.carry * self.change
            gradient += prior * self._delta
            diagonal += prior
        joints = self.q[ROOT_Q:]
        slope = gradient[ROOT_V:]
        held = (joints <= self._low + AT_LIMIT_RAD) & (slope > 0)
        held |= (joints >= self._high - AT_LIMIT_RAD) & (slope < 0)
        if held.any():
            places = np.flatnonzero(held) + ROOT_V
            normal[places] = 0
            normal[:, places] = 0
            normal[places, places] = 1
            gradient[places] = 0
        np.negative(np.linalg.solve(normal, gradient), out=self._step)
        kinematics.integrate(self.q, self._step)
        np.clip(joints, self._low, self._high, out=joints)
