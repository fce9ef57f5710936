"""Where bodies of a robot point, from its base outwards: the chains of a robot's file, orientation only.

A tracker compares the orientation of one body, its anchor, with the reference's. Where that is not the base, the joints
between the two turn it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime import rotation
from runtime.errors import Refused
from runtime.reader import Reader

Quat = tuple[float, float, float, float]
_UPRIGHT: Quat = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Turn:
    """One joint on the way from the base to a body.

    Attributes:
        joint: its name.
        axis: (3,) in its own frame, unit.
        turn_wxyz: orientation of that frame in the one before it, joint at zero.
    """

    joint: str
    axis: tuple[float, float, float]
    turn_wxyz: Quat = _UPRIGHT


Bodies = Mapping[str, tuple[Turn, ...]]


def read_bodies(data: Any) -> dict[str, tuple[Turn, ...]]:
    """The key `bodies` of a robot's file: body name -> rows [joint, axis] or [joint, turn_wxyz, axis].

    Raises:
        Refused: rows of another form, vectors that are not unit.
    """
    reader = Reader("robot file", "correct the robot's file")
    if not isinstance(data, dict) or not data:
        raise reader.refuse("bodies", "an object: body name -> its joints from the base", f"{data!r}"[:200])
    return {name: _chain(reader, f"bodies.{name}", rows) for name, rows in data.items()}


def _chain(reader: Reader, key: str, rows: Any) -> tuple[Turn, ...]:
    if not isinstance(rows, list):
        raise reader.refuse(key, "a list, empty for the base itself", f"{rows!r}"[:200])
    turns = []
    for i, row in enumerate(rows):
        where = f"{key}[{i}]"
        if not isinstance(row, list) or len(row) not in (2, 3):
            raise reader.refuse(where, "[joint, axis] or [joint, turn_wxyz, axis]", f"{row!r}"[:200])
        axis = _unit(reader, f"{where}, axis", row[-1], 3)
        turn = _unit(reader, f"{where}, turn_wxyz", row[1], 4) if len(row) == 3 else _UPRIGHT
        turns.append(Turn(reader.text(f"{where}, joint", row[0]), axis, turn))
    return tuple(turns)


def _unit(reader: Reader, key: str, found: Any, size: int) -> Any:
    values = reader.numbers(key, reader.listed(key, found))
    length = math.sqrt(sum(x * x for x in values))
    if len(values) != size or not 0.999 < length < 1.001:
        raise reader.refuse(key, f"a unit vector of {size}", f"{found}")
    return tuple(x / length for x in values)


class Chain:
    """A body's orientation in the base for joint positions in one order.

    Args:
        bodies: of the robot.
        body: whose orientation.
        joints: names, in the order of the joint positions.

    Raises:
        Refused: the robot's file does not know the body, or a joint on the way is not in the order.
    """

    def __init__(self, bodies: Bodies, body: str, joints: Sequence[str]) -> None:
        if body not in bodies:
            raise Refused("anchor body", expected=f"one of {', '.join(bodies) or 'no bodies at all'}", found=body,
                          what_to_do="add its chain to `bodies` in the robot's file (docs/robots.md)")
        self.body = body
        missing = [turn.joint for turn in bodies[body] if turn.joint not in joints]
        if missing:
            raise Refused(f"anchor body {body}", expected=f"{', '.join(missing)} among the controller's joints",
                          found="not there", what_to_do="its orientation depends on them: choose the robot's base")
        self._turns = [(list(joints).index(turn.joint), turn.axis, turn.turn_wxyz) for turn in bodies[body]]
        self._all_fixed = all(turn_wxyz == _UPRIGHT for _, _, turn_wxyz in self._turns)

    def orientation(self, q: Any) -> Quat:
        """(w, x, y, z) of the body in the base, for joint positions q."""
        found = _UPRIGHT
        for place, (x, y, z), fixed in self._turns:
            half = 0.5 * float(q[place])
            sine = math.sin(half)
            if not self._all_fixed:
                found = rotation.multiply(found, fixed)
            found = rotation.multiply(found, (math.cos(half), sine * x, sine * y, sine * z))
        return found


def base_of(bodies: Bodies) -> str | None:
    """The body that is the base itself, None where the file does not say."""
    return next((name for name, turns in bodies.items() if not turns), None)

