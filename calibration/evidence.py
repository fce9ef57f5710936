"""Which joint each motor turns, and which way: hypotheses judged by what a robot shows that hangs.

A motor with its encoder is one thing: that it follows its own encoder tells nothing of where it sits. Three things do.
The base's IMU: its turns follow the waist and nothing else. Gravity's torques: each joint's own with its angle, and
each one's with the angles of those that it carries or that carry it, a matrix that is different for every joint. And
the torques at rest. All are linear in small motions, so that a wiring (a permutation with signs) is judged by sums of
squares against what the model says of it; wirings are searched from the intended one by exchanges and reversals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.mirrors import Mirror, mirrors
from calibration.sweeps import Swept
from runtime.rotation import conjugate_many, multiply_many, quat_from_matrix_many, rotation_vector_many

if TYPE_CHECKING:
    from firmware_bridge.hanging import Hanging

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
LEAST_N_M, LEAST_RAD, MODEL_RATIO = 0.01, 0.01, 0.1
"""What torques and turns are believed to at best, and how far models, scales and mountings are off, of the signal."""
OFFSET_RAD = 0.1
CHANGED, IMAGE = 5.0, 10.0
"""A wiring costs so much for each motor that is not where it was meant, or where a mirror image of that has it, which
costs so much itself: mistakes are rare, and plugs are exchanged by the limb. Nats.
"""
LEVEL = np.zeros(3)


@dataclass(frozen=True)
class Wiring:
    """A permutation with signs: motor s turns joint `joint[s]`, `sign[s]` times."""

    joint: Index
    sign: F64

    @property
    def key(self) -> tuple[float, ...]:
        """To tell it from others by."""
        return (*self.joint.tolist(), *self.sign.tolist())

    def exchanged(self, first: int, second: int) -> Wiring:
        """With two motors in each other's place, signs staying with the motors."""
        joint = self.joint.copy()
        joint[[first, second]] = joint[[second, first]]
        return Wiring(joint, self.sign)

    def reversed_at(self, *motors: int) -> Wiring:
        """With some motors the other way round."""
        sign = self.sign.copy()
        sign[list(motors)] *= -1
        return Wiring(self.joint, sign)

    def mirrored(self, mirror: Mirror) -> Wiring:
        """With joints taken for others."""
        return Wiring(mirror.joint[self.joint], self.sign * mirror.sign[self.joint])

    def to_joints(self, by_motor: F64) -> F64:
        """(..., motors) of the joints."""
        out = np.zeros_like(by_motor)
        out[..., self.joint] = self.sign * by_motor
        return out

    def to_motors(self, by_joint: F64) -> F64:
        """(..., motors) of the motors."""
        return np.asarray(self.sign * by_joint[..., self.joint])

    def neighbours(self, motors: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Wiring]]:
        """Every reversal and every exchange of these motors: which they are, and the wiring."""
        for motor in motors:
            yield (motor,), self.reversed_at(motor)
        for pair in combinations(motors, 2):
            swapped = self.exchanged(*pair)
            for signs in product((False, True), repeat=2):
                yield pair, swapped.reversed_at(*(motor for motor, flips in zip(pair, signs, strict=True) if flips))

    def images(self, motors: Sequence[int], of: Sequence[Mirror]) -> Iterator[tuple[tuple[int, ...], Wiring]]:
        """Every mirror image of what these motors turn, of more of them than `neighbours` change: likewise."""
        joints = self.joint[list(motors)].tolist()
        for image in of:
            part = image.among(joints)
            turned = tuple(np.flatnonzero(np.isin(self.joint, part.changed)).tolist())
            if len(turned) > 2:
                yield turned, self.mirrored(part)


def as_meant(motors: int) -> Wiring:
    """Every motor on its own joint, the way it is meant to turn."""
    return Wiring(np.arange(motors), np.ones(motors))


@dataclass(frozen=True)
class Judged:
    """One motor.

    Attributes:
        joint, sign: what it turns, and which way.
        margin: nats by which any other place or sign of it is worse.
        by: what decided.
    """

    joint: int
    sign: int
    margin: float
    by: str


class Seen:
    """Sweeps of many small patterns, as numbers to hold against wirings.

    Args:
        rows: of the patterns.
        names: (motors,) joint of each slot, "" where none is.
    """

    def __init__(self, rows: Sequence[Swept], names: Sequence[str]) -> None:
        q, tau = np.array([row.q for row in rows]), np.array([row.tau for row in rows])
        self.names, self.q, self.tau = tuple(names), q.mean(axis=0), tau.mean(axis=0)
        self.moved, self.changed = q - self.q, tau - self.tau
        turns = np.array([row.turn_wxyz for row in rows])
        vectors = rotation_vector_many(multiply_many(conjugate_many(np.tile(turns[0], (len(rows), 1))), turns))
        self.turned = vectors - vectors.mean(axis=0)
        self.sigma = np.hypot(LEAST_N_M, MODEL_RATIO * self.changed.std(axis=0))
        self.turn_sigma = np.hypot(LEAST_RAD, MODEL_RATIO * self.turned.std(axis=0))


class Judge:
    """Holds wirings against what was seen, its slopes those of the model where a wiring puts the joints."""

    def __init__(self, model: Hanging, seen: Seen) -> None:
        self._model, self._seen = model, seen
        self._mirrors = list(mirrors(seen.names))
        meant = as_meant(model.motors)
        meant_as = [meant, *(meant.mirrored(image) for image in self._mirrors)]
        self._meant = np.array([one.joint for one in meant_as]), np.array([one.sign for one in meant_as])
        self._image = np.array([0.0, *(IMAGE for _ in self._mirrors)])
        self.look_from(meant)

    def look_from(self, wiring: Wiring) -> None:
        """Take the model's slopes at the joints of this wiring."""
        q = wiring.to_joints(self._seen.q)
        self._stiffness = self._model.stiffness(q, LEVEL)
        self._turning = _turning(self._model, q)
        self._spread = OFFSET_RAD**2 * self._stiffness @ self._stiffness.T

    def cost(self, wiring: Wiring) -> F64:
        """(motors + 2,) nats: of each motor's torque as joints move, of the base's turns, of the torques at rest."""
        seen = self._seen
        moved = wiring.to_joints(seen.moved)
        wrong = (seen.changed - wiring.to_motors(moved @ self._stiffness.T)) / seen.sigma
        turned = (seen.turned - moved @ self._turning.T) / seen.turn_sigma
        at_rest = wiring.to_motors(self._model.torques(wiring.to_joints(seen.q), LEVEL))
        spread = (wiring.sign[:, None] * self._spread[np.ix_(wiring.joint, wiring.joint)]) * wiring.sign
        spread = spread + np.diag(LEAST_N_M**2 + (MODEL_RATIO * seen.tau) ** 2)
        off = seen.tau - at_rest
        wrongly = (wiring.joint != self._meant[0]) | (wiring.sign != self._meant[1])
        mistakes = float((CHANGED * wrongly.sum(axis=1) + self._image).min())
        rest = 0.5 * float(off @ np.linalg.solve(spread, off)) + 0.5 * float(np.linalg.slogdet(spread)[1]) + mistakes
        return np.concatenate([0.5 * (wrong**2).sum(axis=0), [0.5 * float((turned**2).sum()), rest]])

    def search(self, start: Wiring, free: Sequence[int]) -> tuple[Wiring, dict[int, Judged]]:
        """The best wiring from `start` on, changing `free` motors only, and how sure each of these is."""
        best, known = start, set[tuple[float, ...]]()
        while True:
            known.add(best.key)
            others = self.others(best, free)
            _, wiring, worse = min(others, key=lambda one: float(one[2].sum()))
            # The model's slopes are those of the wiring they were taken at, so that two could each prefer the other.
            if worse.sum() >= 0 or wiring.key in known:
                return best, self._judge(best, others)
            best = wiring

    def others(self, best: Wiring, free: Sequence[int]) -> list[tuple[tuple[int, ...], Wiring, F64]]:
        """Wirings that might be taken for the best one: which motors they change, and the nats they are worse by.

        Mirror images are held against the slopes of their own places: a limb's are others on the other side.
        """
        self.look_from(best)
        cost = self.cost(best)
        out = [(moved, other, self.cost(other) - cost) for moved, other in best.neighbours(free)]
        for moved, other in best.images(free, self._mirrors):
            self.look_from(other)
            out.append((moved, other, self.cost(other) - cost))
        self.look_from(best)
        return out

    def _judge(self, best: Wiring, others: Sequence[tuple[tuple[int, ...], Wiring, F64]]) -> dict[int, Judged]:
        closest: dict[int, F64] = {}
        for motors, _, worse in others:
            for motor in motors:
                if motor not in closest or worse.sum() < closest[motor].sum():
                    closest[motor] = worse
        return {motor: Judged(int(best.joint[motor]), int(best.sign[motor]), float(worse.sum()),
                              self._decisive(motor, worse)) for motor, worse in closest.items()}

    def _decisive(self, motor: int, worse: F64) -> str:
        n = len(worse) - 2
        others = worse[:n].copy()
        others[motor] = 0
        kinds = {"turns of the base's IMU": worse[n], "gravity's torque at rest": worse[n + 1],
                 "its own torque as joints move": worse[motor],
                 f"torques of others as it moves, most of {self._seen.names[int(others.argmax())]}": others.sum()}
        return max(kinds, key=lambda kind: float(kinds[kind]))


def unsure(model: Hanging, patterns: F64, names: Sequence[str], free: Collection[int], least: float) -> list[int]:
    """Motors that a person has to look at, since patterns (k, motors) tell them by less than `least` nats.

    Of a perfect robot's. Of a mirror image, the first that it changes: with that one known, the others are told.
    """
    base = quat_from_matrix_many(np.array([model.base_in_torso(row) for row in patterns]))
    rows = [Swept(q, model.torques(q, LEVEL), np.zeros(0), np.zeros(0), turn, np.zeros(3))
            for q, turn in zip(patterns, base, strict=True)]
    judge = Judge(model, Seen(rows, names))
    start = as_meant(model.motors)
    left, out = sorted(free), list[int]()
    while True:
        others = [(moved, float(worse.sum())) for moved, _, worse in judge.others(start, left)]
        few = {motor for moved, worse in others if len(moved) <= 2 and worse < least for motor in moved}
        look = few or set([moved[0] for moved, worse in others if worse - IMAGE < least][:1])
        if not look:
            return out
        out += look
        left = [motor for motor in left if motor not in look]


def _turning(model: Hanging, q: F64) -> F64:
    """(3, motors): how the base turns, in its own axes, with each joint, the torso at rest."""
    step, out = 1e-4, np.zeros((3, len(q)))
    at = model.base_in_torso(q)
    for motor in range(len(q)):
        there = q.copy()
        there[motor] += step
        turn = at.T @ model.base_in_torso(there)
        out[:, motor] = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2 / step
    return out
