"""How a robot stands in for a human, as data: which point of it follows which joint, how strongly, at which scale."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, Skeleton
from runtime.reader import Reader

F64 = npt.NDArray[np.float64]
TABLES = Path(__file__).with_name("retargets")
SCHEMA = "exoactor-retarget/1"
ALONG = ("height", "width", "length")
_SCALE_RANGE = (0.2, 5.0)
_NO_VECTOR = [0.0, 0.0, 0.0]


@dataclass(frozen=True)
class Scale:
    """A length of the robot and the human's that it stands for.

    Attributes:
        robot_m: the robot's.
        joints: the two human joints between which the human's is measured, at rest.
        along: "height" or "width" between them, or "length" of the bones from the one to the other.
    """

    name: str
    robot_m: float
    joints: tuple[str, str]
    along: str

    def of(self, skeleton: Skeleton) -> float:
        """Robot's over human's.

        Raises:
            Refused: bones of no human.
        """
        rest = skeleton.at_rest()
        first, last = (HUMAN_JOINTS.index(name) for name in self.joints)
        if self.along == "length":
            human = 0.0
            while last != first and last > 0:
                human += float(np.linalg.norm(skeleton.offsets_m[last]))
                last = HUMAN_PARENTS[last]
        else:
            human = abs(float((rest[last] - rest[first])[1 if self.along == "height" else 0]))
        ratio = self.robot_m / max(human, 1e-6)
        if not _SCALE_RANGE[0] <= ratio <= _SCALE_RANGE[1]:
            raise Refused(f"skeleton ({skeleton.source}), {self.along} from {self.joints[0]} to {self.joints[1]}",
                          expected=f"{self.robot_m / _SCALE_RANGE[1]:.2f} to {self.robot_m / _SCALE_RANGE[0]:.2f} m",
                          found=f"{human:.3f} m", what_to_do="check the unit of the motion's bones")
        return ratio


@dataclass(frozen=True)
class Row:
    """One point of the robot and what it follows.

    Attributes:
        body, point_m: the point, in the body's axes.
        position_of: human joints; the mean of their positions is followed.
        rotation_of: human joint whose rotation the body follows.
        scale: name of the scale of distances.
        anchor: the row that distances are taken from; None: from the ground and the world's origin.
        position_weight: of a metre. rotation_weight: of a radian.
        turn_wxyz: the body's axes in those of the human joint at rest.
        offset_m: added to the target, in the target's own axes.
        sole_m: of a foot: height of the point while the foot stands flat; None: no foot.
        rest_ahead_m: of a foot: how far the point is ahead of the hips while the robot stands straight; None: as the
            human's at rest.
    """

    body: str
    point_m: tuple[float, float, float]
    position_of: tuple[str, ...]
    rotation_of: str
    scale: str
    anchor: str | None
    position_weight: float
    rotation_weight: float
    turn_wxyz: tuple[float, float, float, float]
    offset_m: tuple[float, float, float]
    sole_m: float | None
    rest_ahead_m: float | None


@dataclass(frozen=True)
class Solving:
    """Figures of the solver; see `gauss_newton.py`.

    Attributes:
        iterations: a frame.
        prior: pull towards the last frame's solution, carried on, for each joint, in squared units of the weights.
        carry: share of the last frame's change that the pull expects again.
        damping: on the diagonal.
        root_turn_prior: share of the prior that the root's rotation gets.
        speed_rad_s: fastest joint.
        margin_rad: how far within the robot's ranges solutions stay.
    """

    iterations: int
    prior: float
    carry: float
    damping: float
    root_turn_prior: float
    speed_rad_s: float
    margin_rad: float


@dataclass(frozen=True)
class Contact:
    """When a foot stands, by the human's foot joint, and how it is let go; see `foot_lock.py`."""

    begin_m_s: float
    end_m_s: float
    height_m: float
    release_s: float
    most_drift_m: float


@dataclass(frozen=True)
class Balancing:
    """How a standing robot is kept over its feet; see `balance.py`.

    Attributes:
        sole_centre_m: the middle of the sole, ahead of a foot's point.
        slack_m: how far the centre of mass may be ahead of it or behind.
        time_s: of shifting the body.
        most_m: largest shift.
        crouch_m: below this height the root's is compressed, never to reach the lowest.
        lowest_m: of the root.
        lean_rad: beyond this the root's lean is compressed, and the body above with it, never to reach the most.
        most_lean_rad: less than the gate's limit of tilt.
    """

    sole_centre_m: float
    slack_m: float
    time_s: float
    most_m: float
    crouch_m: float
    lowest_m: float
    lean_rad: float
    most_lean_rad: float


@dataclass(frozen=True)
class RetargetTable:
    """One robot's table.

    Attributes:
        robot: its name.
        plant: path or name of its kinematics.
        beside: folder that the plant's path counts from.
    """

    robot: str
    plant: str
    beside: Path
    scales: dict[str, Scale]
    rows: tuple[Row, ...]
    solving: Solving
    contact: Contact
    balancing: Balancing

    @property
    def points(self) -> list[tuple[str, tuple[float, float, float]]]:
        """Body and offset of each row, as `Kinematics` wants them."""
        return [(row.body, row.point_m) for row in self.rows]

    @property
    def feet(self) -> tuple[int, ...]:
        """The rows that are feet."""
        return tuple(i for i, row in enumerate(self.rows) if row.sole_m is not None)

    def row_of(self, body: str) -> int:
        """Where a body's row stands."""
        return next(i for i, row in enumerate(self.rows) if row.body == body)


def load_retarget_table(name_or_file: str) -> RetargetTable:
    """A shipped robot's table by the robot's name, or one from a JSON file.

    Raises:
        Refused: there is none, or it does not hold up.
    """
    path = Path(name_or_file) if name_or_file.endswith(".json") else TABLES / f"{name_or_file}.json"
    names = ", ".join(sorted(file.stem for file in TABLES.glob("*.json")))
    if not path.is_file():
        raise Refused("retargeting", expected=f"a robot among {names}, or a table (.json)", found=name_or_file,
                      what_to_do="write a table for this robot (docs/retarget.md)")
    reader = Reader(f"retarget table {path.name}", "correct the table (docs/retarget.md)")
    try:
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise reader.refuse("the file", "JSON", str(error)[:200]) from error
    return _table(reader, data, path.parent)


def _table(reader: Reader, data: Any, beside: Path) -> RetargetTable:
    keys = {"schema", "robot", "plant", "source", "scales", "solver", "contact", "balance", "rows"}
    reader.keys("the file", data, keys, keys)
    reader.one_of("schema", data["schema"], (SCHEMA,))
    reader.keys("scales", data["scales"], None)
    scales = {name: _scale(reader, name, given) for name, given in data["scales"].items()}
    listed = reader.listed("rows", data["rows"])
    rows = tuple(_row(reader, f"rows[{i}]", given, scales) for i, given in enumerate(listed))
    reader.distinct("rows: bodies", [row.body for row in rows])
    for i, row in enumerate(rows):
        if row.anchor is not None and row.anchor not in [above.body for above in rows[:i]]:
            raise reader.refuse(f"rows[{i}].anchor", "the body of a row above", row.anchor)
    return RetargetTable(
        reader.text("robot", data["robot"]), reader.text("plant", data["plant"]), beside, scales, rows,
        _solving(reader, data["solver"]), _contact(reader, data["contact"]), _balancing(reader, data["balance"]),
    )


def _scale(reader: Reader, name: str, given: Any) -> Scale:
    key, keys = f"scales.{name}", {"robot_m", "from", "to", "along"}
    reader.keys(key, given, keys, keys)
    joints = tuple(reader.one_of(f"{key}.{end}", given[end], HUMAN_JOINTS) for end in ("from", "to"))
    along = reader.one_of(f"{key}.along", given["along"], ALONG)
    if along == "length" and joints[0] not in _above(joints[1]):
        raise reader.refuse(f"{key}.from", f"a joint on the way from the pelvis to {joints[1]}", joints[0])
    return Scale(name, reader.number(f"{key}.robot_m", given["robot_m"], 0.01, 10), (joints[0], joints[1]), along)


def _above(joint: str) -> list[str]:
    found, at = [], HUMAN_JOINTS.index(joint)
    while HUMAN_PARENTS[at] >= 0:
        at = HUMAN_PARENTS[at]
        found.append(HUMAN_JOINTS[at])
    return found


def _row(reader: Reader, key: str, given: Any, scales: dict[str, Scale]) -> Row:
    needed = {"body", "position_of", "rotation_of", "scale", "position_weight", "rotation_weight", "turn_wxyz"}
    reader.keys(key, given, needed | {"point_m", "anchor", "offset_m", "sole_m", "rest_ahead_m"}, needed)

    def vector(name: str, size: int) -> Any:
        values = reader.numbers(f"{key}.{name}", given.get(name, _NO_VECTOR))
        if len(values) != size:
            raise reader.refuse(f"{key}.{name}", f"{size} numbers", given[name])
        return values

    def maybe(name: str) -> float | None:
        return None if given.get(name) is None else reader.number(f"{key}.{name}", given[name], -1, 1)

    turn = np.array(vector("turn_wxyz", 4))
    if abs(np.linalg.norm(turn) - 1) > 1e-4:
        raise reader.refuse(f"{key}.turn_wxyz", "a unit quaternion, w first", given["turn_wxyz"])
    turn /= np.linalg.norm(turn)
    return Row(
        body=reader.text(f"{key}.body", given["body"]), point_m=vector("point_m", 3),
        position_of=tuple(reader.one_of(f"{key}.position_of", name, HUMAN_JOINTS)
                          for name in reader.listed(f"{key}.position_of", given["position_of"])),
        rotation_of=reader.one_of(f"{key}.rotation_of", given["rotation_of"], HUMAN_JOINTS),
        scale=reader.one_of(f"{key}.scale", given["scale"], tuple(scales)),
        anchor=None if given.get("anchor") is None else reader.text(f"{key}.anchor", given["anchor"]),
        position_weight=reader.number(f"{key}.position_weight", given["position_weight"], 0, 1e4),
        rotation_weight=reader.number(f"{key}.rotation_weight", given["rotation_weight"], 0, 1e4),
        turn_wxyz=(float(turn[0]), float(turn[1]), float(turn[2]), float(turn[3])), offset_m=vector("offset_m", 3),
        sole_m=maybe("sole_m"), rest_ahead_m=maybe("rest_ahead_m"),
    )


def _solving(reader: Reader, given: Any) -> Solving:
    bounds = {"prior": (1e-3, 1e6), "carry": (0.0, 1.0), "damping": (1e-6, 1e6), "root_turn_prior": (0.0, 1.0),
              "speed_rad_s": (0.1, 100.0), "margin_rad": (0.0, 0.2)}
    reader.keys("solver", given, {*bounds, "iterations"}, {*bounds, "iterations"})
    reader.whole("solver.iterations", given["iterations"], 1, 20)
    return Solving(given["iterations"], **{name: reader.number(f"solver.{name}", given[name], *span)
                                           for name, span in bounds.items()})


def _contact(reader: Reader, given: Any) -> Contact:
    bounds = {"begin_m_s": (0.0, 5.0), "end_m_s": (0.0, 5.0), "height_m": (0.0, 1.0), "release_s": (0.02, 5.0),
              "most_drift_m": (0.0, 1.0)}
    reader.keys("contact", given, set(bounds), set(bounds))
    values = {name: reader.number(f"contact.{name}", given[name], *span) for name, span in bounds.items()}
    if values["begin_m_s"] > values["end_m_s"]:
        raise reader.refuse("contact.end_m_s", "at least begin_m_s", given["end_m_s"])
    return Contact(**values)


def _balancing(reader: Reader, given: Any) -> Balancing:
    bounds = {"sole_centre_m": (-1.0, 1.0), "slack_m": (0.0, 1.0), "time_s": (0.05, 10.0), "most_m": (0.0, 1.0),
              "crouch_m": (0.0, 5.0), "lowest_m": (0.0, 5.0), "lean_rad": (0.0, 3.1), "most_lean_rad": (0.0, 3.14)}
    reader.keys("balance", given, set(bounds), set(bounds))
    values = {name: reader.number(f"balance.{name}", given[name], *span) for name, span in bounds.items()}
    if values["lowest_m"] >= values["crouch_m"]:
        raise reader.refuse("balance.lowest_m", "less than crouch_m", given["lowest_m"])
    if values["lean_rad"] >= values["most_lean_rad"]:
        raise reader.refuse("balance.most_lean_rad", "more than lean_rad", given["most_lean_rad"])
    return Balancing(**values)
