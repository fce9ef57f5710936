"""Smooths a retargeted motion as a whole: the targets' errors and the accelerations of root and joints, together.

Each pass is one damped Gauss-Newton step over all frames of a window at once. The normal matrix is block-banded,
because accelerations reach over three frames; it is solved by a banded Cholesky factorisation. A step that does not
lower the sum is dropped and tried again with more damping. Windows overlap, and begin with two frames that are already
settled.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.kinematics import ROOT_Q, ROOT_V, Kinematics
from runtime.errors import Refused
from runtime.gauss_newton import RotationError

F64 = npt.NDArray[np.float64]
SMOOTHNESS = 400.0
"""Of an acceleration per frame squared, in the squared units of the weights, at 50 Hz; see docs/retarget.md."""
ROOT_SHARE = 4.0
"""Of the root's translation."""
WINDOW, OVERLAP, SETTLED = 1000, 60, 2
HELD = 1e6
FIRST_DAMPING, LEAST_DAMPING = 0.1, 1e-2


class Smoother:
    """One robot's smoothing.

    Args:
        kinematics: one point a row.
        weights: (k, 2) of positions and rotations.
        lower, upper: (n,) rad.
    """

    def __init__(self, kinematics: Kinematics, weights: F64, lower: F64, upper: F64) -> None:
        self._kinematics, self._lower, self._upper = kinematics, lower, upper
        self._weights = np.repeat(weights, 3, axis=1)
        self._turns = RotationError(len(weights))
        self._size = ROOT_V + len(lower)
        self._share = np.concatenate([np.full(3, ROOT_SHARE), np.ones(self._size - 3)]) * SMOOTHNESS

    def smooth(self, qs: F64, positions: F64, quats_wxyz: F64, passes: int) -> F64:
        """States (T, 7 + n) smoothed against targets (T, k, 3) and (T, k, 4)."""
        out: F64 = qs.copy()
        start = 0
        while start < len(out):
            end = min(start + WINDOW, len(out))
            if end - start >= 3 + SETTLED:
                part = slice(start, end)
                out[part] = self._window(out[part], positions[part], quats_wxyz[part], passes, SETTLED if start else 0)
            if end == len(out):
                break
            start = end - OVERLAP
        return out

    def _window(self, qs: F64, positions: F64, quats: F64, passes: int, settled: int) -> F64:
        damping, cost = FIRST_DAMPING, np.inf
        best = qs
        system: tuple[F64, F64] | None = None
        for _ in range(passes):
            if system is None:
                cost, system = self._system(best, positions, quats)
            step = self._solve(best, *system, damping, settled)
            tried = self._moved(best, step)
            if self._cost(tried, positions, quats) < cost:
                best, system, damping = tried, None, max(0.3 * damping, LEAST_DAMPING)
            else:
                damping *= 10
        return best

    def _error(self, q: F64, position: F64, quat: F64) -> F64:
        self._kinematics.place(q)
        self._turns.aim(quat)
        error = np.concatenate([self._kinematics.positions - position,
                                self._turns.of(self._kinematics.quats_wxyz)], axis=1)
        error *= self._weights
        return np.asarray(error.reshape(-1), np.float64)

    def _accelerations(self, qs: F64) -> F64:
        """(T - 2, 6 + n) second differences."""
        velocity = np.zeros((len(qs) - 1, self._size))
        for t in range(len(qs) - 1):
            self._kinematics.difference(qs[t], qs[t + 1], velocity[t])
        return np.diff(velocity, axis=0)

    def _cost(self, qs: F64, positions: F64, quats: F64) -> float:
        errors = sum(float((self._error(*frame) ** 2).sum()) for frame in zip(qs, positions, quats, strict=True))
        return errors + float((self._share * self._accelerations(qs) ** 2).sum())

    def _system(self, qs: F64, positions: F64, quats: F64) -> tuple[float, tuple[F64, F64]]:
        """The cost, and the normal matrices (T, m, m) and gradients (T, m) of the errors with those of smoothness."""
        frames, size, cost = len(qs), self._size, 0.0
        normal, gradient = np.empty((frames, size, size)), np.empty((frames, size))
        for t in range(frames):
            error = self._error(qs[t], positions[t], quats[t])
            rows = self._kinematics.differentiate().reshape(-1, size) * self._weights.reshape(-1, 1)
            normal[t], gradient[t] = rows.T @ rows, error @ rows
            cost += float(error @ error)
        bend = self._share * self._accelerations(qs)
        cost += float((bend * bend / self._share).sum())
        gradient[:-2] += bend
        gradient[1:-1] -= 2 * bend
        gradient[2:] += bend
        return cost, (normal, gradient)

    def _solve(self, qs: F64, normal: F64, gradient: F64, damping: float, settled: int) -> F64:
        solveh_banded = _banded_solver()
        frames, size = gradient.shape
        inside, next_to, beyond = _second_difference_bands(frames)
        diagonal = np.full((frames, size), damping) + inside[:, None] * self._share
        joints = qs[:, ROOT_Q:]
        slope = gradient[:, ROOT_V:]
        held = ((joints <= self._lower + 1e-6) & (slope > 0)) | ((joints >= self._upper - 1e-6) & (slope < 0))
        diagonal[:, ROOT_V:][held] += HELD
        diagonal[:settled] += HELD
        bands = np.zeros((2 * size + 1, frames, size))
        for below in range(size):
            bands[below, :, : size - below] = np.diagonal(normal, -below, axis1=1, axis2=2)
        bands[0] += diagonal
        bands[size, :-1] = next_to[:, None] * self._share
        bands[2 * size, :-2] = beyond[:, None] * self._share
        step = solveh_banded(bands.reshape(2 * size + 1, -1), -gradient.reshape(-1), lower=True, check_finite=False)
        return np.asarray(step, np.float64).reshape(frames, size)

    def _moved(self, qs: F64, step: F64) -> F64:
        out: F64 = qs.copy()
        for q, tangent in zip(out, step, strict=True):
            self._kinematics.integrate(q, tangent)
        np.clip(out[:, ROOT_Q:], self._lower, self._upper, out=out[:, ROOT_Q:])
        return out


def _second_difference_bands(frames: int) -> tuple[F64, F64, F64]:
    """Diagonals of D^T D for second differences D: main (T,), first (T - 1,), second (T - 2,)."""
    rows = np.zeros((frames - 2, 3)) + np.array([1.0, -2.0, 1.0])
    inside, next_to = np.zeros(frames), np.zeros(frames - 1)
    for place in range(3):
        inside[place : place + frames - 2] += rows[:, place] ** 2
    for place in range(2):
        next_to[place : place + frames - 2] += rows[:, place] * rows[:, place + 1]
    return inside, next_to, rows[:, 0] * rows[:, 2]


def _banded_solver() -> Any:
    try:
        solveh_banded = importlib.import_module("scipy.linalg").solveh_banded
    except ImportError as error:
        raise Refused("smoothing a retargeted motion", expected="scipy", found=f"cannot import: {error}",
                      what_to_do="pip install 'exoactor[export]', or retarget with no passes") from error
    return solveh_banded
