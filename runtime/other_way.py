"""Another way for an arm whose joints have come to the ends of their ranges: looked for, followed, taken where it pays.

A shoulder that turns about three axes has two ways to most places, and the causal solver keeps to the one it came on,
even where a range ends it. The worst frame with a joint at its end is solved anew from straight joints. If that is much
better, the solution is followed forwards and backwards in time until it meets the old one, and the part of it is taken
that saves most, changes within the robot's speed included. Of nineteen motions two have such a frame.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.kinematics import ROOT_Q
from runtime.gauss_newton import GaussNewton, RotationError

F64 = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
AT_END_RAD = 1e-3
AROUND = 9
"""Frames over which a frame's cost is averaged before the worst is chosen."""
DEAR = 2.0
"""Times the cost that three quarters of the frames have, at which one is worth solving anew."""
BETTER = 0.5
"""Of the cost of that frame: where another solution has no less, there is no other way."""
MET_RAD = 0.05
CHANGE_SHARE = 0.3
"""Of the solver's fastest speed: what a change from one way to the other comes to; passes and tracker add to it."""
EVERY, THINNED = 10, 4
"""Frames between the places where a change is tried, and between those whose cost is taken for it."""


def costs_of(solver: GaussNewton, q: F64, positions: F64, quats_wxyz: F64) -> tuple[F64, F64]:
    """(T,) sums of squared weighted errors of states (T, 7 + n), targets (T, k, 3) and (T, k, 4); points (T, k, 3)."""
    found, quats = solver.kinematics.place_all(q)
    turns, away = RotationError(quats.shape[0] * quats.shape[1]), np.empty((6, *quats.shape[:2]))
    turns.aim(quats_wxyz.reshape(-1, 4))
    turns.of(quats.reshape(-1, 4), away[:3].reshape(3, -1))
    away[3:] = np.moveaxis(found - positions, 2, 0)
    away *= away
    return np.einsum("dtk,dk->t", away, solver.squares[:6]), found


class OtherWay:
    """One motion's other way.

    Args:
        solver: of the robot.
        q: (T, 7 + n) the solutions so far.
        positions, quats_wxyz: (T, k, 3), (T, k, 4) their targets.
        costs: (T,) theirs, or nearly.
        begin: the first frame that may be changed.
    """

    def __init__(self, solver: GaussNewton, q: F64, positions: F64, quats_wxyz: F64, costs: F64, begin: int) -> None:
        self._solver, self._q, self._positions, self._quats = solver, q, positions, quats_wxyz
        self._costs, self._begin = costs, begin

    def found(self) -> F64 | None:
        """The states with the other way where it pays; None where there is none. The solver stands as before."""
        worst, solver = self._worst(), self._solver
        if worst is None:
            return None
        stood, changed = solver.q.copy(), solver.change.copy()
        try:
            return self._by(worst)
        finally:
            solver.start(stood)
            solver.change[:] = changed

    def _by(self, worst: int) -> F64 | None:
        """The same, by way of the worst frame."""
        start = self._q[worst].copy()
        start[ROOT_Q:] = 0
        self._solver.start(start)
        self._solver.solve_first(self._positions[worst], self._quats[worst])
        anew = self._solver.cost_at(self._solver.q, self._positions[worst])
        if anew > BETTER * self._solver.cost_at(self._q[worst], self._positions[worst]):
            return None
        other = self._q.copy()
        other[worst] = self._solver.q
        first = self._follow(other, worst, -1)
        last = self._follow(other, worst, 1)
        return self._joined(other, first, worst, last)

    def _worst(self) -> int | None:
        """The costliest frame around which a joint is at an end of its range."""
        lower, upper = self._solver.limits
        joints = self._q[:, ROOT_Q:]
        ends = np.asarray(((joints <= lower + AT_END_RAD) | (joints >= upper - AT_END_RAD)).any(axis=1))
        ends[: self._begin] = False
        if len(ends) < AROUND or not ends.any():
            return None
        around = np.convolve(self._costs, np.full(AROUND, 1 / AROUND), "same")
        worst = int(np.where(ends, around, -1).argmax())
        return worst if around[worst] > DEAR * float(np.percentile(self._costs, 25)) else None

    def _follow(self, other: F64, worst: int, way: int) -> int:
        """Fills `other` from the worst frame on, in either direction of time; the last frame before the ways meet."""
        solver, frame, end = self._solver, worst, (len(other) - 1 if way > 0 else self._begin)
        solver.start(other[worst])
        while frame != end:
            frame += way
            solver.solve(self._positions[frame], self._quats[frame])
            if np.abs(solver.q[ROOT_Q:] - self._q[frame, ROOT_Q:]).max() < MET_RAD:
                return frame - way
            other[frame] = solver.q
        return frame

    def _joined(self, other: F64, first: int, worst: int, last: int) -> F64 | None:
        """The old way with the part of the other that saves most."""
        self._costs = self._cost_of(self._q, slice(0, len(other)))
        saved = self._costs - self._cost_of(other, slice(0, len(other)))
        enter = self._best_change(other, saved, [*range(first, worst, EVERY), worst], is_entry=True)
        leave = self._best_change(other, saved, [*range(last, worst, -EVERY), worst + 1], is_entry=False)
        share = np.minimum(enter, leave)
        out: F64 = np.where(share[:, None] > 0, self._between(other, share, slice(0, len(share))), self._q)
        return out if self._cost_of(out, slice(0, len(out))).sum() < self._costs.sum() else None

    def _best_change(self, other: F64, saved: F64, places: list[int], *, is_entry: bool) -> F64:
        """(T,) share of the other way, by the place of its begin or its end that saves most."""
        frames, tried, around = len(saved), [], []
        for at in places:
            half = self._half(other, at)
            if is_entry and at - half < self._begin and self._begin > 0:
                continue  # it would reach over what is settled
            share = np.clip((np.arange(frames) - at + half + 0.5) / (2 * half), 0, 1)
            share = share * share * (3 - 2 * share) if is_entry else 1 - share * share * (3 - 2 * share)
            if at == (0 if is_entry else frames - 1):
                share[:] = 1  # the other way from the first frame on, or to the last
            tried.append(share)
            around.append(np.arange(max(at - half, 0), min(at + half, frames), THINNED))
        if not tried:
            return np.zeros(frames)
        where = np.concatenate(around)
        share = np.concatenate([share[of] for share, of in zip(tried, around, strict=True)])
        blended = self._cost_of(self._between(other, share, where), where)
        bent = np.split(self._costs[where] - blended - saved[where] * share, np.cumsum([len(of) for of in around])[:-1])
        gains = [float((saved * share).sum()) + THINNED * float(of.sum())
                 for share, of in zip(tried, bent, strict=True)]
        return np.asarray(tried[int(np.argmax(gains))])

    def _half(self, other: F64, at: int) -> int:
        """Frames before and after a change there, so that it is no faster than it may be."""
        solver, place = self._solver, min(max(at, 0), len(other) - 1)
        apart = float(np.abs(other[place, ROOT_Q:] - self._q[place, ROOT_Q:]).max())
        return max(2, round(0.75 * apart / (CHANGE_SHARE * solver.solving.speed_rad_s * solver.frame_s)))

    def _between(self, other: F64, share: F64, where: slice | Places) -> F64:
        """States so far from the old way to the other."""
        old, new, share = self._q[where], other[where].copy(), share[:, None]
        new[:, 3:ROOT_Q] *= np.copysign(1, (old[:, 3:ROOT_Q] * new[:, 3:ROOT_Q]).sum(axis=1, keepdims=True))
        out: F64 = old + share * (new - old)
        out[:, 3:ROOT_Q] /= np.linalg.norm(out[:, 3:ROOT_Q], axis=1, keepdims=True)
        return out

    def _cost_of(self, q: F64, where: slice | Places) -> F64:
        return costs_of(self._solver, q, self._positions[where], self._quats[where])[0]
