"""The robot as one table: a row a joint. Orders are objects, and permutations come from names.

Every per-motor array is in MOTOR order, one entry a motor slot up to the highest in use: a variant that lacks joints
(the 23-joint G1) keeps the slot numbers of the full robot, and the slots between that it lacks are never driven.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.remote import BUTTONS
from runtime.bodies import Turn, read_bodies
from runtime.errors import Refused
from runtime.feet import Foot, read_feet
from runtime.limits import Limits

F32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]
ROBOTS = Path(__file__).with_name("robots")
SCHEMA = "exoactor-robot/1"
MAX_MOTORS = 64
_KEYS = {
    "schema", "name", "description", "source", "wire", "mode_machine", "estop_buttons", "gain_limits", "limits",
    "joint_columns", "joints",
}
_OPTIONAL = {"source", "imu_in_base_m", "feet", "bodies", "simulation"}
_OF_A_WIRE = {"mode_machine", "estop_buttons"}
NO_WIRE = "none"
"""`wire` of a robot that this runtime drives in simulation only."""


@dataclass(frozen=True)
class Joint:
    """One row of the table: rad, rad/s, N m, N m/rad, N m s/rad, kg m^2 (reflected rotor inertia)."""

    name: str
    motor: int
    lower_rad: float
    upper_rad: float
    effort_n_m: float
    velocity_rad_s: float
    kp: float
    kd: float
    damping_kd: float
    armature_kg_m2: float


@dataclass(frozen=True)
class JointOrder:
    """An order of joint names: what an array's entries belong to."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise Refused(
                "joint order", expected="every joint named once", found=f"{', '.join(twice)} twice",
                what_to_do="correct the list of joint names",
            )

    def __len__(self) -> int:
        return len(self.names)

    def index_of(self, other: JointOrder) -> Index:
        """Where each joint of `other` stands in this order: `x_other = x_self[self.index_of(other)]`."""
        missing = [name for name in other.names if name not in self.names]
        if missing:
            raise Refused(
                "joint names",
                expected=f"names among {', '.join(self.names)}",
                found=f"unknown {', '.join(missing)}",
                what_to_do="use the robot's joint names, or choose the robot these joints belong to",
            )
        place = {name: i for i, name in enumerate(self.names)}
        return np.array([place[name] for name in other.names], np.intp)


@dataclass(frozen=True)
class Robot:
    """A robot's description; see `runtime/robots/*.json` for the data and its sources.

    Attributes:
        wire: message family of its bus, or `NO_WIRE`.
        bodies: body -> joints that turn it, from the base; the base's own are none.
        fall_height_m: a base below this height has fallen; None: tilt alone tells.
    """

    name: str
    description: str
    wire: str
    mode_machine: tuple[int, ...]
    estop_buttons: tuple[tuple[str, ...], ...]
    kp_max: float
    kd_max: float
    limits: Limits
    joints: tuple[Joint, ...]
    imu_in_base_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    feet: tuple[Foot, ...] = ()
    bodies: dict[str, tuple[Turn, ...]] = field(default_factory=dict)
    fall_height_m: float | None = None

    @cached_property
    def order(self) -> JointOrder:
        """The joints as the table lists them."""
        return JointOrder(tuple(joint.name for joint in self.joints))

    @cached_property
    def motors(self) -> int:
        """Motor slots: highest motor index + 1."""
        return 1 + max(joint.motor for joint in self.joints)

    @cached_property
    def used(self) -> npt.NDArray[np.bool_]:
        """(motors,) True where a joint hangs on the slot."""
        mask = np.zeros(self.motors, np.bool_)
        mask[[joint.motor for joint in self.joints]] = True
        return mask

    def motor_index(self, order: JointOrder) -> Index:
        """Motor slot of each joint of `order`: `x_policy = x_motor[index]`, `x_motor[index] = x_policy`."""
        row = self.order.index_of(order)
        return np.array([self.joints[i].motor for i in row], np.intp)

    def column(self, name: str) -> F32:
        """(motors,) float32 of one column of the table, motor order, 0 in unused slots."""
        values = np.zeros(self.motors, np.float32)
        for joint in self.joints:
            values[joint.motor] = getattr(joint, name)
        return values


def robot_names() -> list[str]:
    """The robots that ship with the runtime."""
    return sorted(path.stem for path in ROBOTS.glob("*.json"))


def robot_path(name_or_file: str) -> Path:
    """Where a shipped robot, or one from a file, is described."""
    return Path(name_or_file) if name_or_file.endswith(".json") else ROBOTS / f"{name_or_file}.json"


def load_robot(name_or_file: str) -> Robot:
    """A shipped robot by name, or one from a JSON file of the same layout.

    Raises:
        Refused: unknown name, unreadable file, unknown or missing keys, impossible figures.
    """
    path = robot_path(name_or_file)
    if not path.is_file():
        raise Refused(
            "robot", expected=f"one of {', '.join(robot_names())} or a .json file", found=name_or_file,
            what_to_do="name a robot that ships with the runtime or give the path of its file",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"robot file {path.name}", expected="a readable file", found=str(error),
                      what_to_do="check the file's rights") from error
    return read_robot(path.name, data)


def read_robot(name: str, data: bytes) -> Robot:
    """A robot from the bytes of its file; `name` is for refusals.

    Raises:
        Refused: as `load_robot`.
    """
    try:
        return _robot_from(json.loads(data.decode("utf-8")))
    except Refused as error:
        raise Refused(error.what.replace("robot file", f"robot file {name}", 1), expected=error.expected,
                      found=error.found, what_to_do=error.what_to_do) from error
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise Refused(
            f"robot file {name}", expected="the layout of runtime/robots/g1_29dof.json",
            found=f"{type(error).__name__}: {str(error)[:200]}", what_to_do="correct the file",
        ) from error


def _refuse(key: str, expected: str, found: object) -> Refused:
    return Refused(f"robot file, {key}", expected=expected, found=str(found)[:200],
                   what_to_do="correct the robot's file")


def _number(key: str, found: Any, low: float, high: float) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high:
        raise _refuse(key, f"a number from {low} to {high}", found)
    return float(found)


def _joint(row: list[Any]) -> Joint:
    wanted = [field.name for field in fields(Joint)]
    if not isinstance(row, list) or len(row) != len(wanted) or not isinstance(row[0], str) or not row[0]:
        raise _refuse("joints", f"rows of {', '.join(wanted)}", row)
    name = row[0]
    if isinstance(row[1], bool) or not isinstance(row[1], int) or not 0 <= row[1] < MAX_MOTORS:
        raise _refuse(f"{name}.motor", f"a slot from 0 to {MAX_MOTORS - 1}", row[1])
    bounds = [(-100.0, 100.0)] * 2 + [(1e-3, 1e4)] * 2 + [(0.0, 1e4)] * 4
    numbers = [
        _number(f"{name}.{key}", value, *bound) for key, value, bound in zip(wanted[2:], row[2:], bounds, strict=True)
    ]
    if not numbers[0] < numbers[1]:
        raise _refuse(f"joint {name}", "lower < upper", f"{numbers[0]}, {numbers[1]}")
    return Joint(name, row[1], *numbers)


def _robot_from(data: dict[str, Any]) -> Robot:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise _refuse("schema", SCHEMA, data.get("schema") if isinstance(data, dict) else type(data).__name__)
    wire = str(data.get("wire"))
    optional = _OPTIONAL | (_OF_A_WIRE if wire == NO_WIRE else set())
    unknown = sorted(set(data) - _KEYS - _OPTIONAL)
    missing = sorted(_KEYS - set(data) - optional)
    if unknown or missing:
        raise _refuse("keys", ", ".join(sorted(_KEYS)), f"unknown {unknown}, missing {missing}")
    wanted = [field.name for field in fields(Joint)]
    if data["joint_columns"] != wanted:
        raise _refuse("joint_columns", ", ".join(wanted), data["joint_columns"])
    joints = tuple(_joint(row) for row in data["joints"])
    if not joints or len({joint.motor for joint in joints}) != len(joints):
        raise _refuse("joints", "at least one, each on a motor slot of its own", f"{len(joints)} joints")
    JointOrder(tuple(joint.name for joint in joints))
    modes, stops = data.get("mode_machine", []), data.get("estop_buttons", [])
    if not isinstance(modes, list) or not all(isinstance(mode, int) and 0 <= mode <= 255 for mode in modes):
        raise _refuse("mode_machine", "a list of numbers from 0 to 255", modes)
    if not modes and wire != NO_WIRE:
        raise _refuse("mode_machine", "the variants this robot may be", modes)
    if not isinstance(stops, list) or not (stops or wire == NO_WIRE) or not all(
        isinstance(keys, list) and keys and all(key in BUTTONS for key in keys) for keys in stops
    ):
        raise _refuse("estop_buttons", f"a list of combinations of {', '.join(BUTTONS)}", stops)
    simulation = _simulation(data.get("simulation", {}))
    return Robot(
        name=str(data["name"]),
        description=str(data["description"]),
        wire=wire,
        mode_machine=tuple(modes),
        estop_buttons=tuple(tuple(keys) for keys in stops),
        kp_max=_number("gain_limits.kp", data["gain_limits"]["kp"], 0, 1e4),
        kd_max=_number("gain_limits.kd", data["gain_limits"]["kd"], 0, 1e4),
        limits=_limits(data["limits"]),
        joints=joints,
        imu_in_base_m=_vector("imu_in_base_m", data.get("imu_in_base_m", [0, 0, 0])),
        feet=_feet(data["feet"], joints) if "feet" in data else (),
        bodies=_bodies(data["bodies"], joints) if "bodies" in data else {},
        fall_height_m=simulation.get("fall_height_m"),
    )


def _bodies(found: Any, joints: tuple[Joint, ...]) -> dict[str, tuple[Turn, ...]]:
    bodies = read_bodies(found)
    for turns in bodies.values():
        JointOrder(tuple(joint.name for joint in joints)).index_of(JointOrder(tuple(turn.joint for turn in turns)))
    return bodies


def _simulation(found: Any) -> dict[str, float]:
    """Checks what the simulated robot reads (`firmware_bridge/motor_table.py`)."""
    bounds = {"stand_height_m": (-5.0, 5.0), "fall_height_m": (-5.0, 5.0), "substeps": (1, 40)}
    if not isinstance(found, dict) or set(found) - set(bounds):
        raise _refuse("simulation", f"keys among {', '.join(bounds)}", found)
    values = {key: _number(f"simulation.{key}", value, *bounds[key]) for key, value in found.items()}
    if not values.get("substeps", 1.0).is_integer():
        raise _refuse("simulation.substeps", "a whole number", found["substeps"])
    return values


def _vector(key: str, found: Any) -> tuple[float, float, float]:
    if not isinstance(found, list) or len(found) != 3:
        raise _refuse(key, "[x, y, z]", found)
    x, y, z = (_number(key, value, -10, 10) for value in found)
    return x, y, z


def _feet(found: Any, joints: tuple[Joint, ...]) -> tuple[Foot, ...]:
    feet = read_feet(found)
    JointOrder(tuple(joint.name for joint in joints)).index_of(
        JointOrder(tuple(name for foot in feet for name in foot.joints))
    )
    return feet


def _limits(given: Any) -> Limits:
    known = {field.name: field for field in fields(Limits)}
    if not isinstance(given, dict) or set(given) - set(known):
        raise _refuse("limits", f"keys among {', '.join(sorted(known))}", given)
    values: dict[str, Any] = {}
    for name, value in given.items():
        number = _number(f"limits.{name}", value, 0, 1e6)
        values[name] = int(number) if isinstance(known[name].default, int) else number
    return Limits(**values)
