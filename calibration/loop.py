"""A closed loop of limbs: from one end of a fixture through the robot to the other, how far it is from closing, where
it can go, and which postures tell most of its joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.fixture import Fixture
from firmware_bridge.kinematics import PLANTS, ROOT_Q, ROOT_V, Kinematics
from runtime.errors import Refused
from runtime.robot import Robot
from runtime.rotation import conjugate_many, multiply_many, rotate_many, rotation_vector_many

F64 = npt.NDArray[np.float64]
LEVER_M = 0.3
"""An angle counts as the distance it makes at the end of a shank or a forearm."""
CLOSED_M, STEPS, STEP_RAD = 1e-6, 60, 0.3
EDGE_RAD = 0.06
"""From a joint's ends."""
ALOFT_M = 10.0
SPREAD = 0.35
"""Share of half a joint's range, about its zero, in which postures are looked for."""
CANDIDATES, WAY_RAD = 120, 0.1


class Loop:
    """The loop of one robot in one fixture.

    Attributes:
        joints: names, in the order of q (n,) rad; those whose motion can open the loop.
        lower, upper: (n,) rad, within the plant's range.

    Raises:
        Refused: a robot that the fixture does not fit.
    """

    def __init__(self, robot: Robot, fixture: Fixture) -> None:
        path = PLANTS / f"{robot.name}.xml"
        if not path.is_file():
            raise Refused("closed chain", expected="a robot whose plant is known", found=robot.name,
                          what_to_do="check this robot's zeros by hard stop")
        self._body = body = Kinematics(path, [(name, (0.0, 0.0, 0.0)) for name in fixture.bodies])
        first, second = (_ancestors(body.model, name) for name in fixture.bodies)
        on_the_way = {body.model.body(b).jntadr[0] for b in first ^ second if body.model.body(b).jntnum[0]}
        self.joints = tuple(name for j, name in enumerate(body.joints) if j + 1 in on_the_way)
        self._index = np.array([body.joints.index(name) for name in self.joints], np.intp)
        self.lower, self.upper = body.lower[self._index] + EDGE_RAD, body.upper[self._index] - EDGE_RAD
        self._position, self._away = np.array(fixture.position_m), conjugate_many(np.array([fixture.quat_wxyz]))
        self._q = np.zeros(ROOT_Q + len(body.joints))
        self._q[2], self._q[3] = ALOFT_M, 1.0

    def gap(self, q: F64) -> tuple[F64, F64]:
        """How far the second end is from where the fixture has it, (6,), and its slope by the joints, (6, n).

        Position, m, and rotation vector times `LEVER_M`, both in the first end's axes.
        """
        self._q[ROOT_Q + self._index] = q
        body = self._body
        body.place(self._q)
        jacobian = body.differentiate()[:, :, ROOT_V + self._index]
        turn = rotate_many(np.tile(conjugate_many(body.quats_wxyz[:1])[0], (3, 1)), np.eye(3)).T
        apart = body.positions[1] - body.positions[0]
        x, y, z = apart
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turned = multiply_many(multiply_many(conjugate_many(body.quats_wxyz[:1]), body.quats_wxyz[1:]), self._away)
        gap = np.concatenate([turn @ apart - self._position, LEVER_M * rotation_vector_many(turned)[0]])
        slope = np.concatenate([turn @ (jacobian[1, :3] - jacobian[0, :3] + cross @ jacobian[0, 3:]),
                                LEVER_M * (turn @ (jacobian[1, 3:] - jacobian[0, 3:]))])
        return gap, slope

    def closed(self, q: F64) -> F64 | None:
        """The nearest posture found that closes the loop within its joints' ranges; None without one."""
        q = np.clip(q, self.lower, self.upper)
        for _ in range(STEPS):
            gap, slope = self.gap(q)
            if np.abs(gap).max() < CLOSED_M:
                return q
            step = -slope.T @ np.linalg.solve(slope @ slope.T + 1e-6 * np.eye(6), gap)
            q = np.clip(q + step * min(1.0, STEP_RAD / max(float(np.abs(step).max()), 1e-9)), self.lower, self.upper)
        return None

    def is_free(self, q: F64) -> bool:
        """Whether no part of the robot touches another, the other joints at zero."""
        self.gap(q)
        return self._body.is_free()

    def way(self, start: F64, end: F64) -> F64 | None:
        """(k, n) from one closed posture to another, closed and free all along, start left out; None without one."""
        count = max(2, int(np.ceil(float(np.abs(end - start).max()) / WAY_RAD)))
        points = [start]
        for share in np.arange(1, count + 1) / count:
            point = self.closed(start + (end - start) * share)
            if point is None or np.abs(point - points[-1]).max() > 4 * WAY_RAD or not self.is_free(point):
                return None
            points.append(point)
        return np.array(points[1:])

    def postures(self, count: int, seed: int = 0) -> list[F64]:
        """Ways (k, n) to so many postures, the first from zero, each from the one before; of many those are taken, one
        after the other, that together tell most of what tells least.

        Raises:
            Refused: the fixture leaves too little room.
        """
        rng, reach = np.random.default_rng(seed), SPREAD * (self.upper - self.lower) / 2
        found: list[F64] = []
        for _ in range(CANDIDATES):
            q = self.closed(rng.uniform(-reach, reach))
            if q is not None and self.is_free(q):
                found.append(q)
        slopes = [self.gap(q)[1] for q in found]
        known, at, ways = 1e-6 * np.eye(len(self.joints)), np.zeros(len(self.joints)), list[F64]()
        while len(ways) < count and found:
            worth = [np.linalg.slogdet(known + slope.T @ slope)[1] for slope in slopes]
            best = int(np.argmax(worth))
            end, slope = found.pop(best), slopes.pop(best)
            way = self.way(at, end)
            if way is not None:
                ways.append(way)
                known, at = known + slope.T @ slope, way[-1]
        if len(ways) < count:
            raise Refused("closed chain", expected=f"{count} postures that the fixture allows", found=f"{len(ways)}",
                          what_to_do="use a fixture that leaves the limbs more room")
        return ways


def solve(slopes: Sequence[F64], gaps: Sequence[F64], least: float) -> tuple[F64, F64, F64, F64]:
    """Changes of the joints (n,) that bring gaps to zero to first order, without the combinations that cannot be told.

    Args:
        least: singular values below this share of the largest are none.

    Returns:
        the changes; the pseudo-inverse (n, m); all n singular values; and their combinations, rows of (n, n).
    """
    a, b = np.concatenate(list(slopes)), np.concatenate(list(gaps))
    u, values, combinations = np.linalg.svd(a, full_matrices=False)
    inverse = np.where(values > least * values[0], 1 / np.maximum(values, 1e-300), 0.0)
    pseudo = (combinations.T * inverse) @ u.T
    return -pseudo @ b, pseudo, values, combinations


def _ancestors(model: Any, name: str) -> set[int]:
    """A body and all it hangs on."""
    body, found = int(model.body(name).id), set[int]()
    while body:
        found.add(body)
        body = int(model.body_parentid[body])
    return found
