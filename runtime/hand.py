"""A pair of hands as data: joints, ranges, the poses of the three states, gains. `runtime/hands/*.json`, docs/hands.md.

The file gives the left hand; a right joint stands at `mirror` times the left one's angle. Where a hand's own program
gives ranges for both, both are kept, and they have to agree with the mirror: a wrong sign is refused, not discovered by
a thumb that bends backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.clip import is_file
from runtime.errors import Refused
from runtime.human_motion import HAND_STATES
from runtime.reader import Reader, parse_json

F32 = npt.NDArray[np.float32]

HANDS = Path(__file__).with_name("hands")
FORMAT = "exoactor-hand/1"
KEEP, OPEN = "keep", "open"
NO_HANDS = "none"
USUAL_HAND = "dex3-1"
MIRROR_RAD = 0.05
"""How far the right hand's range may be from the left one's in the mirror: published ones differ by a typing error."""
MOST_JOINTS, MOST_BYTES = 32, 1 << 20
_COLUMNS = ("name", "lower_rad", "upper_rad", "right_lower_rad", "right_upper_rad", "mirror", "open_rad",
            "half_open_rad", "closed_rad", "effort_n_m", "velocity_rad_s")
_NUMBERS = {"kp": (0, 100), "kd": (0, 10), "kept_kp": (0, 100), "kept_kd": (0, 10), "reach_rad": (0.01, 3.2),
            "move_s": (0.05, 5), "lost_s": (0.02, 5), "hot_c": (30, 150), "cool_c": (20, 150)}
_KEYS = {"format", "name", "description", "sources", "bus", "joint_columns", "joints", "on_damp", *_NUMBERS}


@dataclass(frozen=True)
class HandModel:
    """Two hands of one make. Arrays are float32, left first, in the hand's motor order.

    Attributes:
        bus: which `HandBus` speaks to them.
        joints: names, without the side.
        lower_rad, upper_rad: (2, n).
        states_rad: (3, 2, n) the poses of `HAND_STATES`.
        effort_n_m, velocity_rad_s: (n,).
        kp, kd: in use. kept_kp, kept_kd: while a grip is only kept (damping, silence, heat).
        reach_rad: a target is never further from where its joint stands: kp times this is the strongest grip.
        move_s: from one state to another.
        lost_s: a hand unheard of for longer is lost.
        hot_c, cool_c: a hand is kept at low gain from the first until it is below the second.
        table_rad: lower and upper ends of the hand's file, (2, n) each, where a calibration moved them; else None.
        on_damp: KEEP the grip at low gain while the robot damps, or OPEN.
    """

    name: str
    description: str
    bus: str
    joints: tuple[str, ...]
    lower_rad: F32
    upper_rad: F32
    states_rad: F32
    effort_n_m: F32
    velocity_rad_s: F32
    kp: float
    kd: float
    kept_kp: float
    kept_kd: float
    reach_rad: float
    move_s: float
    lost_s: float
    hot_c: float
    cool_c: float
    on_damp: str
    table_rad: tuple[F32, F32] | None = None

    def placed(self, side: int, q: F32) -> F32:
        """A pose (n,) rad of the hand as its file has it, where this very one stands so."""
        if self.table_rad is None:
            return q
        low, high = self.table_rad[0][side], self.table_rad[1][side]
        share = (q - low) / (high - low)
        return np.asarray(self.lower_rad[side] + share * (self.upper_rad[side] - self.lower_rad[side]), np.float32)


def hand_names() -> list[str]:
    """The hands that ship with the runtime."""
    return sorted(path.stem.replace("_", "-") for path in HANDS.glob("*.json"))


def hand_path(name_or_path: str) -> Path:
    """A file, or a shipped hand by its name."""
    shipped = HANDS / f"{name_or_path.replace('-', '_')}.json"
    return shipped if not is_file(Path(name_or_path)) and is_file(shipped) else Path(name_or_path)


def load_hand(name_or_path: str) -> HandModel:
    """Read and check a pair of hands.

    Raises:
        Refused: no such file, unknown or missing keys, values out of range, a right hand that is no mirror of the left.
    """
    path = hand_path(name_or_path)
    if not is_file(path) or path.stat().st_size > MOST_BYTES:
        raise Refused("hand", expected=f"a .json file, or one of {', '.join(hand_names())}",
                      found=f"none at {str(path)[:200]}", what_to_do="check the name")
    return parse_hand(path.read_bytes(), path.name)


def parse_hand(text: bytes, name: str) -> HandModel:
    """The hands of a file's text; refuses as `load_hand`."""
    reader = Reader(f"hand {name}", "see docs/hands.md for the format")
    data = parse_json(text, reader)
    reader.keys("file", data, _KEYS, _KEYS)
    reader.one_of("format", data["format"], (FORMAT,))
    reader.texts("sources", data["sources"])
    numbers: dict[str, Any] = {key: reader.number(key, data[key], *span) for key, span in _NUMBERS.items()}
    if numbers["cool_c"] > numbers["hot_c"]:
        raise reader.refuse("cool_c", f"at most hot_c ({numbers['hot_c']:g})", numbers["cool_c"])
    for kept, full in (("kept_kp", "kp"), ("kept_kd", "kd")):
        if numbers[kept] > numbers[full]:
            raise reader.refuse(kept, f"at most {full} ({numbers[full]:g})", numbers[kept])
    names, table = _table(reader, data)
    return HandModel(
        name=reader.text("name", data["name"]), description=reader.text("description", data["description"]),
        bus=reader.text("bus", data["bus"]), joints=names, **_arrays(reader, names, table),
        on_damp=reader.one_of("on_damp", data["on_damp"], (KEEP, OPEN)), **numbers,
    )


def _table(reader: Reader, data: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, F32]]:
    """Names, and the other columns by theirs, (n,) each."""
    columns, rows = reader.texts("joint_columns", data["joint_columns"]), reader.listed("joints", data["joints"])
    if sorted(columns) != sorted(_COLUMNS):
        raise reader.refuse("joint_columns", ", ".join(_COLUMNS), ", ".join(columns))
    if len(rows) > MOST_JOINTS:
        raise reader.refuse("joints", f"at most {MOST_JOINTS}", len(rows))
    for i, row in enumerate(rows):
        if len(reader.listed(f"joints[{i}]", row)) != len(columns):
            raise reader.refuse(f"joints[{i}]", f"{len(columns)} values", len(row))
    place = {name: columns.index(name) for name in columns}
    names = [reader.text(f"joints[{i}].name", row[place["name"]]) for i, row in enumerate(rows)]
    reader.distinct("joints", names)
    table = {
        column: np.array([reader.number(f"{names[i]}.{column}", row[at], -1e4, 1e4) for i, row in enumerate(rows)],
                         np.float32)
        for column, at in place.items() if column != "name"
    }
    return tuple(names), table


def _arrays(reader: Reader, names: tuple[str, ...], table: dict[str, F32]) -> dict[str, Any]:
    """The arrays of a model, checked against each other."""
    mirror = table["mirror"]
    lower = np.stack([table["lower_rad"], table["right_lower_rad"]])
    upper = np.stack([table["upper_rad"], table["right_upper_rad"]])
    turned = np.sort(np.stack([mirror * table["lower_rad"], mirror * table["upper_rad"]]), axis=0)
    poses = np.stack([table[f"{state.replace('-', '_')}_rad"] for state in HAND_STATES])
    states = np.stack([poses, mirror * poses], axis=1)
    for i, name in enumerate(names):
        if abs(mirror[i]) != 1:
            raise reader.refuse(f"{name}.mirror", "1 or -1", f"{mirror[i]:g}")
        if not (lower[:, i] < upper[:, i]).all():
            raise reader.refuse(f"{name}", "lower below upper, left and right", f"{lower[:, i]} to {upper[:, i]}")
        if abs(turned[0, i] - lower[1, i]) > MIRROR_RAD or abs(turned[1, i] - upper[1, i]) > MIRROR_RAD:
            raise reader.refuse(
                f"{name}.mirror", f"a right range within {MIRROR_RAD} rad of [{turned[0, i]:.3f}, {turned[1, i]:.3f}]",
                f"[{lower[1, i]:.3f}, {upper[1, i]:.3f}]")
        if not ((states[:, :, i] >= lower[:, i]) & (states[:, :, i] <= upper[:, i])).all():
            raise reader.refuse(f"{name}", "the poses of the states within its ranges", f"{states[:, :, i].tolist()}")
        for column in ("effort_n_m", "velocity_rad_s"):
            if not table[column][i] > 0:
                raise reader.refuse(f"{name}.{column}", "above 0", f"{table[column][i]:g}")
    return {"lower_rad": lower, "upper_rad": upper, "states_rad": states, "effort_n_m": table["effort_n_m"],
            "velocity_rad_s": table["velocity_rad_s"]}
