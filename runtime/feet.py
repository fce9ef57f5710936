"""Feet as a robot's file describes them: the chain of joints to each, and what its sole stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.reader import Reader

F64 = npt.NDArray[np.float64]
_LINK = 4
"""Entries of a chain's row: joint, offset_m, turn_wxyz, axis."""


@dataclass(frozen=True)
class Foot:
    """One leg as the robot's file has it, from the base outwards.

    Attributes:
        joints: names, from the base to the foot.
        offset_m: (n, 3) each joint's frame in the one before it.
        turn_wxyz: (n, 4) its orientation there at joint angle zero, unit.
        axis: (n, 3) joint axis in its own frame, unit.
        sole_m: (k, 3) centres of the spheres the sole stands on, in the last frame.
        sole_radius_m: of these spheres.
    """

    name: str
    joints: tuple[str, ...]
    offset_m: F64
    turn_wxyz: F64
    axis: F64
    sole_m: F64
    sole_radius_m: float


def read_feet(data: Any) -> tuple[Foot, ...]:
    """The key `feet` of a robot's file.

    Raises:
        Refused: rows of another form, vectors that are not unit, legs of different length.
    """
    reader = Reader("robot file", "correct the robot's file")
    feet = tuple(_foot(reader, f"feet[{i}]", row) for i, row in enumerate(reader.listed("feet", data)))
    reader.distinct("feet: names", [foot.name for foot in feet])
    if len({(len(foot.joints), len(foot.sole_m)) for foot in feet}) != 1:
        raise reader.refuse("feet", "as many joints and sole points in every leg", "different ones")
    return feet


def _foot(reader: Reader, key: str, row: Any) -> Foot:
    wanted = {"name", "sole_radius_m", "sole_m", "chain"}
    reader.keys(key, row, wanted, wanted)
    chain = reader.listed(f"{key}.chain", row["chain"])
    for i, link in enumerate(chain):
        if len(reader.listed(f"{key}.chain[{i}]", link)) != _LINK:
            raise reader.refuse(f"{key}.chain[{i}]", "joint, offset_m, turn_wxyz, axis", f"{link}")
    names = reader.texts(f"{key}.chain", [link[0] for link in chain])

    def vectors(name: str, found: list[Any], size: int) -> F64:
        rows = [reader.numbers(f"{key}.{name}", reader.listed(f"{key}.{name}", vector)) for vector in found]
        if any(len(vector) != size for vector in rows):
            raise reader.refuse(f"{key}.{name}", f"{size} numbers", f"{found}"[:100])
        return np.array(rows, np.float64)

    turn, axis = vectors("turn_wxyz", [link[2] for link in chain], 4), vectors("axis", [link[3] for link in chain], 3)
    for name, values in (("turn_wxyz", turn), ("axis", axis)):
        length = np.linalg.norm(values, axis=1, keepdims=True)
        if np.abs(length - 1).max() > 1e-4:
            raise reader.refuse(f"{key}.{name}", "unit length", f"{values[np.abs(length - 1).argmax()]}")
        values /= length
    return Foot(
        reader.text(f"{key}.name", row["name"]), names, vectors("offset_m", [link[1] for link in chain], 3), turn, axis,
        vectors("sole_m", reader.listed(f"{key}.sole_m", row["sole_m"]), 3),
        reader.number(f"{key}.sole_radius_m", row["sole_radius_m"], 0, 1),
    )
