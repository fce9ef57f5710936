"""Smooths a retargeted motion behind the solver, over hundreds of frames at once; numpy alone.

What is minimised is, together, the targets' errors, the accelerations of root and joints, and the sliding of feet that
stand from frame to frame. The first pass solves with the linearisations that the causal solver has made anyway, so that
it costs no kinematics; where the sum then is not what the linear model foretold, passes with new linearisations follow,
and a step that does not lower the sum is dropped. The normal matrix is block-banded, because accelerations reach over
three frames, and is factorised block by block. Windows overlap, and begin with two frames that are already settled.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.kinematics import ROOT_Q, ROOT_V
from runtime.gauss_newton import AT_LIMIT_RAD, GaussNewton, RotationError
from runtime.retarget_quality import points_of

F64 = npt.NDArray[np.float64]
SMOOTHNESS = 24.0
"""Of an acceleration per frame squared, in the squared units of the weights, at 50 Hz; see docs/retarget.md."""
TRADE, LEAST, MOST = 0.012, 0.4, 4000.0
"""It is scaled, within limits, so that accelerations begin with this share of the errors: a walk can hardly be smoother
without leaving its targets, calm motions by far. With one weight for all, calm ones kept 0.9 of the baseline's jerk."""
FAST_RAD_S, HURRY, HURRY_S = 9.0, 16.0, 0.3
"""Where a joint is faster, up to so many times more of it, over so long before and after: a robot that throws its arms
as fast as a human trips the gate's limit of speed, or falls (13_26 of CMU, with our tracker in the plant)."""
ROOT_SHARE = 4.0
"""Of the root's translation."""
HOLD = 300.0
"""Weight of a metre by which a standing foot slides, beside its target, from one frame to the next; its square grows
with the accelerations' scale."""
WINDOW, OVERLAP, SETTLED = 1000, 60, 2
HELD = 1e6
DAMPING = 0.1
MOST_PASSES = 2
FORETOLD = 0.9
"""Share of the linear model's promise that a pass must keep to be the last one."""


class Smoother:
    """One motion's smoothing, fed frame by frame by its solver.

    Args:
        solver: whose solutions are smoothed.
        feet: rows of the feet.
        window: frames at once.
    """

    def __init__(self, solver: GaussNewton, feet: tuple[int, ...], window: int = WINDOW) -> None:
        self._solver, self._kinematics, self._feet = solver, solver.kinematics, list(feet)
        self._lower, self._upper = solver.limits
        k, size = len(solver.position_weights), len(solver.change)
        self._share = np.concatenate([np.full(3, ROOT_SHARE), np.ones(size - 3)]) * SMOOTHNESS
        self._filled, self._followed, self._settled, self._window, self._size = 0, 0, 0, window, size
        self._moved_since = np.zeros((window, size))
        self._q, self._positions, self._quats = np.empty((window, ROOT_Q + size - ROOT_V)), np.empty((window, k, 3)), \
            np.empty((window, k, 4))
        self._normal, self._gradient, self._cost = np.empty((window, size, size)), np.empty((window, size)), \
            np.empty(window)
        self._soles, self._slopes = np.empty((window, 2 * len(feet))), np.empty((window, 2 * len(feet), size))
        self._stands = np.empty((window, len(feet)))
        self._hurry: F64 = np.ones(0)
        self._scale = 1.0
        self._done: list[F64] = []

    def add(self, positions: F64, quats_wxyz: F64, stands: list[bool]) -> None:
        """The frame that the solver has just solved, with its targets (k, 3), (k, 4), and which feet stand."""
        if self._filled == self._window:
            self._emit()
        t, solver = self._filled, self._solver
        self._q[t], self._positions[t], self._quats[t], self._stands[t] = solver.q, positions, quats_wxyz, stands
        self._keep(t, solver.curvature, solver.slope, solver.cost)
        self._kinematics.difference(solver.seen_at, solver.q, self._moved_since[t])
        self._filled += 1

    def finish(self) -> F64:
        """(T, 7 + n) all frames, smoothed."""
        part = slice(0, self._filled)
        self._smooth(self._filled)
        self._done.append(self._q[part].copy())
        return np.concatenate(self._done)

    def _emit(self) -> None:
        """Smooths a full window and keeps its end as the beginning of the next."""
        self._smooth(self._window)
        kept = OVERLAP + SETTLED
        self._done.append(self._q[: -kept].copy())
        for rows in (self._q, self._positions, self._quats, self._stands, self._normal, self._gradient, self._cost,
                     self._soles, self._slopes):
            rows[:kept] = rows[-kept:].copy()
        self._filled, self._followed, self._settled = kept, kept, SETTLED

    def _keep(self, t: int, curvature: F64, slope: F64, cost: float) -> None:
        """A frame's linear model, made where the kinematics are."""
        self._normal[t], self._gradient[t], self._cost[t] = curvature, slope, cost
        self._slopes[t] = self._kinematics.jacobian[self._feet, :2].reshape(self._slopes.shape[1:])
        self._soles[t] = self._kinematics.positions[self._feet, :2].reshape(-1)

    def _follow(self, part: slice, step: F64) -> None:
        """Moves the linear models of some frames along with their states' steps (T, 6 + n)."""
        bent = np.matmul(self._normal[part], step[:, :, None])[:, :, 0]
        self._cost[part] += (step * (2 * self._gradient[part] + bent)).sum(axis=1)
        self._gradient[part] += bent
        self._soles[part] += np.matmul(self._slopes[part], step[:, :, None])[:, :, 0]

    def _smooth(self, frames: int) -> None:
        if frames < 3 + self._settled:
            return
        q, damping, new = self._q[:frames], DAMPING, slice(self._followed, frames)
        self._follow(new, self._moved_since[new])
        self._hurry, self._scale = self._hurried(q), 1.0
        self._scale = self._scaled(q)
        for again in range(MOST_PASSES):
            if again:
                self._linearise(q)
            cost, system, gradient = self._system(q)
            step = self._solve(q, *system, gradient, damping)
            foretold = cost + float((gradient * step).sum()) - damping * float((step * step).sum())
            tried = self._moved(q, step)
            found = self._sum(tried)
            is_foretold = cost - found >= FORETOLD * (cost - foretold)
            if is_foretold or found < (cost if again else self._sum(q)):
                q[:] = tried
                self._follow(slice(0, frames), step)
            else:
                damping *= 10
            if is_foretold:
                break

    def _linearise(self, q: F64) -> None:
        """Linear models of all frames where they are."""
        weights = self._solver.weights_column
        for t, (state, error) in enumerate(zip(q, self._errors(q)[0], strict=True)):
            self._kinematics.place(state)
            rows = self._kinematics.differentiate().reshape(-1, self._size) * weights
            self._keep(t, rows.T @ rows, error @ rows, float(error @ error))

    def _errors(self, q: F64) -> tuple[F64, F64]:
        """(T, 6 k) weighted errors, and the feet's places on the floor (T, 2 feet)."""
        positions, quats = points_of(self._kinematics, q)
        turns = RotationError(quats.shape[0] * quats.shape[1])
        turns.aim(self._quats[: len(q)].reshape(-1, 4))
        away = turns.of(quats.reshape(-1, 4)).reshape(positions.shape)
        errors = np.concatenate([positions - self._positions[: len(q)], away], axis=2).reshape(len(q), -1)
        return errors * self._solver.weights_column[:, 0], positions[:, self._feet, :2].reshape(len(q), -1)

    def _bends(self, q: F64) -> F64:
        """(T - 2, 6 + n) second differences."""
        velocity = np.zeros((len(q) - 1, self._size))
        for t in range(len(q) - 1):
            self._kinematics.difference(q[t], q[t + 1], velocity[t])
        return np.diff(velocity, axis=0)

    def _stiffness(self, frames: int) -> F64:
        """(T - 2, 6 + n) of accelerations."""
        return np.asarray(self._scale * self._hurry[:, None] * self._share)

    def _scaled(self, q: F64) -> float:
        """How many times the usual weight accelerations get in this window, by what they are before."""
        bent = float((self._stiffness(len(q)) * self._bends(q) ** 2).sum())
        return min(max(TRADE * float(self._cost[: len(q)].sum()) / max(bent, 1e-12), LEAST), MOST)

    def _hurried(self, q: F64) -> F64:
        """(T - 2,) from 1 to HURRY, by the fastest joint around."""
        fastest = np.abs(np.diff(q[:, ROOT_Q:], axis=0)).max(axis=1) / self._solver.frame_s
        more = np.clip((np.maximum(fastest[1:], fastest[:-1]) / FAST_RAD_S) ** 4, 1, HURRY)
        reach = max(1, round(HURRY_S / self._solver.frame_s))
        padded = np.pad(more, 2 * reach, mode="edge")
        widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
        return np.asarray(np.lib.stride_tricks.sliding_window_view(widest, 2 * reach + 1).mean(axis=1))

    def _grip(self, frames: int) -> F64:
        """(T - 1, 2 feet) squared weight of each foot's way from frame to frame, over the floor."""
        held = self._stands[1:frames] * self._stands[: frames - 1] > 0.5
        return np.asarray(np.repeat(max(1.0, self._scale) * HOLD**2 * held, 2, axis=1))

    def _slid(self, soles: F64) -> F64:
        """(T - 1, 2 feet) how far each foot moves over the floor from frame to frame, beside its target."""
        aims = self._positions[: len(soles), self._feet, :2].reshape(len(soles), -1)
        return np.asarray(np.diff(soles - aims, axis=0))

    def _sum(self, q: F64) -> float:
        """What is minimised, at states (T, 7 + n)."""
        frames, (errors, soles) = len(q), self._errors(q)
        total = float((errors * errors).sum())
        total += float((self._stiffness(frames) * self._bends(q) ** 2).sum())
        return total + float((self._grip(frames) * self._slid(soles) ** 2).sum())

    def _system(self, q: F64) -> tuple[float, tuple[F64, F64, F64], F64]:
        """The sum by the linear models, the normal matrix's blocks (see `solve_banded`), the gradient (T, m)."""
        frames = len(q)
        normal, gradient = self._normal[:frames].copy(), self._gradient[:frames].copy()
        stiff, bends = self._stiffness(frames), self._bends(q)
        pull = stiff * bends
        for place, sign in enumerate((1.0, -2.0, 1.0)):
            gradient[place : place + frames - 2] += sign * pull
            _diagonals(normal)[place : place + frames - 2] += sign * sign * stiff
        slopes, grip = self._slopes[:frames], self._grip(frames)
        slid = self._slid(self._soles[:frames])
        before, after = grip[:, :, None] * slopes[:-1], grip[:, :, None] * slopes[1:]
        normal[:-1] += slopes[:-1].swapaxes(1, 2) @ before
        normal[1:] += slopes[1:].swapaxes(1, 2) @ after
        beside = -slopes[:-1].swapaxes(1, 2) @ after
        _diagonals(beside)[:-1] -= 2 * stiff
        _diagonals(beside)[1:] -= 2 * stiff
        gradient[:-1] -= (before * slid[:, :, None]).sum(axis=1)
        gradient[1:] += (after * slid[:, :, None]).sum(axis=1)
        cost = float(self._cost[:frames].sum() + (pull * bends).sum() + (grip * slid**2).sum())
        return cost, (normal, beside, stiff), gradient

    def _solve(self, q: F64, normal: F64, beside: F64, beyond: F64, gradient: F64, damping: float) -> F64:
        joints, slope = q[:, ROOT_Q:], gradient[:, ROOT_V:]
        held = (joints <= self._lower + AT_LIMIT_RAD) & (slope > 0)
        held |= (joints >= self._upper - AT_LIMIT_RAD) & (slope < 0)
        diagonal = _diagonals(normal)
        diagonal += damping
        diagonal[:, ROOT_V:][held] += HELD
        diagonal[: self._settled] += HELD
        return solve_banded(normal, beside, beyond, -gradient)

    def _moved(self, q: F64, step: F64) -> F64:
        out: F64 = q.copy()
        for state, tangent in zip(out, step, strict=True):
            self._kinematics.integrate(state, tangent)
        np.clip(out[:, ROOT_Q:], self._lower, self._upper, out=out[:, ROOT_Q:])
        return out


def _diagonals(blocks: F64) -> F64:
    """(T, m) of blocks (T, m, m): a view."""
    view: F64 = np.einsum("tii->ti", blocks)
    return view


def solve_banded(normal: F64, beside: F64, beyond: F64, right: F64) -> F64:
    """The solution (T, m) of a symmetric positive definite block-banded system, by elimination of frame after frame.

    Args:
        normal: (T, m, m) on the diagonal; changed. beside: (T - 1, m, m) to its right; changed.
        beyond: (T - 2, m) diagonals of the diagonal blocks right of those.
        right: (T, m).
    """
    frames, m = right.shape
    out, carried = np.zeros((frames + 2, m)), np.zeros((frames, m, 2 * m + 1))
    right = right.copy()
    for t in range(frames):
        inverse, x = np.linalg.inv(normal[t]), carried[t]
        inverse = 0.5 * (inverse + inverse.T)  # else rounding that is not symmetric doubles from frame to frame
        x[:, 2 * m] = inverse @ right[t]
        if t + 1 < frames:
            np.matmul(inverse, beside[t], out=x[:, :m])
        if t + 2 < frames:
            np.multiply(inverse, beyond[t], out=x[:, m : 2 * m])
            across = beyond[t][:, None] * x[:, m:]
            normal[t + 2] -= across[:, :m]
            right[t + 2] -= across[:, m]
        if t + 1 < frames:
            taken = beside[t].T @ x
            normal[t + 1] -= taken[:, :m]
            right[t + 1] -= taken[:, 2 * m]
            if t + 2 < frames:
                beside[t + 1] -= taken[:, m : 2 * m]
    for t in range(frames - 1, -1, -1):
        out[t] = carried[t, :, 2 * m] - carried[t, :, : 2 * m] @ out[t + 1 : t + 3].reshape(-1)
    return out[:frames]
