"""Smooths a retargeted motion behind the solver, over hundreds of frames at once.

What is minimised is, together, the targets' errors, the jerks of root and joints, and the sliding of feet that stand
from frame to frame, by damped Gauss-Newton steps over all frames: the normal matrix is a band, because jerks reach over
four frames. A step that does not lower the sum is dropped, and where the sum then is not what the linear model
foretold, another follows. Windows overlap, and begin with three frames that are already settled.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.banded import Band
from firmware_bridge.kinematics import ROOT_Q, ROOT_V
from runtime import rotation
from runtime.gauss_newton import AT_LIMIT_RAD, GaussNewton
from runtime.other_way import OtherWay, costs_of

F64 = npt.NDArray[np.float64]
ORDER = 3
SIGNS = (-1.0, 3.0, -3.0, 1.0)
SMOOTHNESS = 24.0
"""Of a jerk per frame cubed, in the squared units of the weights, at 50 Hz; see docs/retarget.md."""
TRADE, LEAST, MOST = 0.006, 0.05, 1e7
"""It is scaled, within limits, so that jerks begin with this share of the errors: a walk can hardly be smoother
without leaving its targets, calm motions by far."""
MOST_JERK, AIMED, GUESS = 0.485, 0.478, 0.3
"""And so that jerks are at most this share of those of frames that are solved each by itself; where they are not, it is
scaled for this share. GUESS: where that begins, of what `Roughness` says, which for walks is three times too much."""
FAST_RAD_S, HURRY, HURRY_S = 9.0, 64.0, 0.3
"""Where a joint is faster, up to so many times more of it, over so long before and after: a robot that throws its arms
as fast as a human trips the gate's limit of speed, or falls (13_26 of CMU, with our tracker in the plant)."""
ROOT_SHARE = 4.0
"""Of the root's translation."""
HOLD, GROWTH = 600.0, 0.35
"""Weight of a metre by which a standing foot slides, beside its target, from one frame to the next; its square grows
with this power of the jerks' scale."""
WINDOW, OVERLAP, SETTLED = 1000, 60, ORDER
HELD = 1e12
DAMPING = 0.1
MOST_PASSES, MOST_TRIALS, BISECTIONS = 2, 3, 24
MISSED, WORTH = 2e-4, 1e-3
"""Shares of the sum: a pass is the last one where the linear model promised hardly more than it kept, or kept hardly
anything."""


class Roughness:
    """How much of the jerks of frames that are solved each by itself smoothing leaves, as if joints were alone.

    Args:
        jerks: (T, n) of joints.
        softness: (n,) weight of jerks over the stiffness of each joint.
    """

    def __init__(self, jerks: F64, softness: F64) -> None:
        self._rms = max(float(np.sqrt((jerks**2).mean())), 1e-12)
        power = np.abs(np.fft.rfft(jerks, axis=0)) ** 2
        self._power = power / max(float(power.sum()), 1e-300)
        self._yield = (2 * np.sin(np.pi * np.fft.rfftfreq(len(jerks))))[:, None] ** (2 * ORDER) * softness

    def share(self, q: F64) -> float:
        """What states (T, 7 + n) have of them."""
        return float(np.sqrt((np.diff(q[:, ROOT_Q:], ORDER, axis=0) ** 2).mean())) / self._rms

    def weight(self, share: float) -> float:
        """Times the usual weight at which that share is likely to be left."""
        low, high = LEAST, MOST
        for _ in range(BISECTIONS):
            middle = math.sqrt(low * high)
            left = float((self._power / (1 + middle * self._yield) ** 2).sum())
            low, high = (middle, high) if left > share**2 else (low, middle)
        return high

    def stiffer(self, share: float) -> float:
        """How many times the weight that leaves a share leaves what is aimed at."""
        return self.weight(AIMED) / self.weight(share)


class Smoother:
    """One motion's smoothing, fed frame by frame by its solver.

    Args:
        solver: whose solutions are smoothed.
        feet: rows of the feet.
        window: frames at once.
    """

    def __init__(self, solver: GaussNewton, feet: tuple[int, ...], window: int = WINDOW) -> None:
        self._solver, self._feet = solver, list(feet)
        self._lower, self._upper = solver.limits
        k, size = len(solver.position_weights), len(solver.change)
        self._share = np.concatenate([np.full(3, ROOT_SHARE), np.ones(size - 3)]) * SMOOTHNESS
        self._filled, self._settled, self._window, self._size = 0, 0, window, size
        self._q = np.empty((window, ROOT_Q + size - ROOT_V))
        self._positions, self._quats = np.empty((window, k, 3)), np.empty((window, k, 4))
        self._stands = np.empty((window, len(feet)))
        self._band = Band(window, size, ORDER)
        self._normal, self._blocks = np.empty((window, size, size)), np.empty((window, size, size))
        self._gradient, self._alone = np.empty((window, size)), np.empty((window, size))
        self._alone_damping = np.full(size, solver.solving.damping)
        self._costs = np.empty(window)
        self._soles, self._slopes = np.empty((window, len(feet), 2)), np.empty((window, len(feet), 3, size))
        self._hurry: F64 = np.ones(0)
        self._scale = 1.0
        self._done: list[F64] = []

    def add(self, positions: F64, quats_wxyz: F64, stands: list[bool]) -> None:
        """The frame that the solver has just solved, with its targets (k, 3), (k, 4), and which feet stand."""
        if self._filled == self._window:
            self._emit()
        t = self._filled
        self._q[t], self._positions[t], self._quats[t], self._stands[t] = self._solver.q, positions, quats_wxyz, stands
        self._costs[t] = self._solver.cost
        self._filled += 1

    def finish(self) -> F64:
        """(T, 7 + n) all frames, smoothed."""
        self._smooth(self._filled)
        self._done.append(self._q[: self._filled].copy())
        out: F64 = np.concatenate(self._done)
        np.clip(out[:, ROOT_Q:], self._lower, self._upper, out=out[:, ROOT_Q:])  # other ways end 1e-16 beyond a limit
        return out

    def _emit(self) -> None:
        """Smooths a full window and keeps its end as the beginning of the next."""
        self._smooth(self._window)
        kept = OVERLAP + SETTLED
        self._done.append(self._q[: -kept].copy())
        for rows in (self._q, self._positions, self._quats, self._stands, self._costs):
            rows[:kept] = rows[-kept:].copy()
        self._filled, self._settled = kept, SETTLED

    def _smooth(self, frames: int) -> None:
        if frames <= ORDER + self._settled:
            return
        q, damping = self._q[:frames], DAMPING
        self._take_another_way(q)
        self._hurry, self._scale = self._hurried(q), 1.0
        for again in range(MOST_PASSES):
            errors = self._linearise(q, is_first=again == 0)
            if again == 0:
                likely = self._weighed(q, errors)
            for _ in range(MOST_TRIALS):
                step, promised = self._step(q, damping)
                tried = self._moved(q, step)
                share = likely.share(tried)
                if share <= MOST_JERK:
                    break
                self._scale = min(self._scale * likely.stiffer(share), MOST)
            cost = errors + self._roughness(q)
            gained = cost - self._errors(tried) - self._roughness(tried)
            if gained <= 0:
                damping *= 10
                continue
            q[:] = tried
            if promised - gained < MISSED * cost or gained < WORTH * cost:
                break

    def _take_another_way(self, q: F64) -> None:
        part = slice(0, len(q))
        found = OtherWay(self._solver, q, self._positions[part], self._quats[part], self._costs[part],
                         self._settled).found()
        if found is not None:
            q[:] = found

    def _linearise(self, q: F64, is_first: bool) -> float:
        """Linear models of all frames where they are; the sum of their squared errors."""
        solver, points, total = self._solver, self._solver.points, 0.0
        for t, state in enumerate(q):
            solver.aim(self._quats[t])
            total += solver.look(state, self._positions[t])
            self._gradient[t], self._normal[t] = solver.slope, points.weigh()
            if is_first:
                self._alone[t] = points.solve(self._alone_damping, -solver.slope)
            for foot, row in enumerate(self._feet):
                points.slide(row, self._slopes[t, foot])
                self._soles[t, foot] = points.positions[row, :2]
        return total

    def _errors(self, q: F64) -> float:
        """The sum of squared errors, and `_soles`."""
        frames = len(q)
        costs, found = costs_of(self._solver, q, self._positions[:frames], self._quats[:frames])
        self._soles[:frames] = found[:, self._feet, :2]
        return float(costs.sum())

    def _bends(self, q: F64) -> F64:
        """(T - ORDER, 6 + n) jerks, a frame being the unit of time."""
        velocity = np.empty((len(q) - 1, self._size))
        turn = rotation.multiply_many(rotation.conjugate_many(q[:-1, 3:ROOT_Q]), q[1:, 3:ROOT_Q])
        velocity[:, :3], velocity[:, ROOT_V:] = np.diff(q[:, :3], axis=0), np.diff(q[:, ROOT_Q:], axis=0)
        velocity[:, 3:ROOT_V] = rotation.rotation_vector_many(turn)
        return np.diff(velocity, ORDER - 1, axis=0)

    def _stiffness(self) -> F64:
        """(T - ORDER, 6 + n) of jerks."""
        return np.asarray(self._scale * self._hurry[:, None] * self._share)

    def _weighed(self, q: F64, errors: float) -> Roughness:
        """Sets how many times the usual weight jerks get in this window; what it has to do with how many are left."""
        frames = len(q)
        alone = self._moved(q, self._alone[:frames])
        mean = self._normal[:frames].mean(axis=0)
        mean[np.diag_indices(self._size)] += self._solver.solving.damping
        stiff = 1 / np.diagonal(np.linalg.inv(mean))[ROOT_V:]
        likely = Roughness(np.diff(alone[:, ROOT_Q:], ORDER, axis=0), SMOOTHNESS / stiff)
        bent = float((self._stiffness() * self._bends(q) ** 2).sum())
        self._scale = min(max(TRADE * errors / max(bent, 1e-12), GUESS * likely.weight(AIMED), LEAST), MOST)
        return likely

    def _hurried(self, q: F64) -> F64:
        """(T - ORDER,) from 1 to HURRY, by the fastest joint around."""
        fastest = np.abs(np.diff(q[:, ROOT_Q:], axis=0)).max(axis=1) / self._solver.frame_s
        widest = np.lib.stride_tricks.sliding_window_view(fastest, ORDER).max(axis=1)
        more = np.clip((widest / FAST_RAD_S) ** 6, 1, HURRY)
        reach = max(1, round(HURRY_S / self._solver.frame_s))
        padded = np.pad(more, 2 * reach, mode="edge")
        widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
        return np.asarray(np.lib.stride_tricks.sliding_window_view(widest, 2 * reach + 1).mean(axis=1))

    def _grip(self, frames: int) -> F64:
        """(T - 1, feet) squared weight of each foot's way from frame to frame, over the floor."""
        held = self._stands[1:frames] * self._stands[: frames - 1] > 0.5
        return np.asarray(max(1.0, self._scale) ** GROWTH * HOLD**2 * held)

    def _slid(self, frames: int) -> F64:
        """(T - 1, feet, 2) how far each foot moves over the floor from frame to frame, beside its target."""
        return np.asarray(np.diff(self._soles[:frames] - self._positions[:frames, self._feet, :2], axis=0))

    def _roughness(self, q: F64) -> float:
        """What is minimised beside the errors, at states (T, 7 + n) whose `_soles` are known."""
        slid = (self._grip(len(q))[:, :, None] * self._slid(len(q)) ** 2).sum()
        return float((self._stiffness() * self._bends(q) ** 2).sum() + slid)

    def _step(self, q: F64, damping: float) -> tuple[F64, float]:
        """The step (T, 6 + n) of the linear models, and by how much it lowers the sum if they hold."""
        frames, band = len(q), self._band
        gradient, stiff = self._gradient[:frames].copy(), self._stiffness()
        self._grip_feet(frames, gradient)
        pull = stiff * self._bends(q)
        for place, sign in enumerate(SIGNS):
            gradient[place : place + len(stiff)] += sign * pull
            for apart in range(place + 1):
                band.diagonals(apart)[place : place + len(stiff)] += sign * SIGNS[place - apart] * stiff
        joints, slope, diagonal = q[:, ROOT_Q:], gradient[:, ROOT_V:], band.diagonals(0)[:frames]
        held = (joints <= self._lower + AT_LIMIT_RAD) & (slope > 0)
        held |= (joints >= self._upper - AT_LIMIT_RAD) & (slope < 0)
        diagonal += damping
        diagonal[:, ROOT_V:][held] += HELD
        diagonal[: self._settled] += HELD
        step = band.solve(-gradient)
        return step, damping * float((step * step).sum()) - float((gradient * step).sum())

    def _grip_feet(self, frames: int, gradient: F64) -> None:
        """Begins the band with the targets' normal matrix, and with standing feet that are not to slide."""
        weights = np.zeros((frames + 1, 2 * len(self._feet), 1))
        weights[1:-1, :, 0] = np.repeat(self._grip(frames), 2, axis=1)  # of the way from the frame before
        ways = self._slopes[:frames, :, :2].reshape(frames, -1, self._size)
        pulls = weights.copy()
        pulls[1:-1] *= self._slid(frames).reshape(frames - 1, -1, 1)
        gradient += ((pulls[:-1] - pulls[1:]) * ways).sum(axis=1)
        both = (weights[:-1] + weights[1:]) * ways
        blocks = np.matmul(ways.swapaxes(1, 2), both, out=self._blocks[:frames])
        blocks += self._normal[:frames]
        self._band.begin(blocks)
        np.matmul(ways[1:].swapaxes(1, 2), -weights[1:-1] * ways[:-1], out=self._band.beside[1:frames])

    def _moved(self, q: F64, step: F64) -> F64:
        out: F64 = q.copy()
        out[:, :3] += step[:, :3]
        turned = rotation.multiply_many(q[:, 3:ROOT_Q], rotation.quat_from_vector_many(step[:, 3:ROOT_V]))
        out[:, 3:ROOT_Q] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        np.clip(q[:, ROOT_Q:] + step[:, ROOT_V:], self._lower, self._upper, out=out[:, ROOT_Q:])
        return out
