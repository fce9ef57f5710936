"""The robot as one table: a row a joint. Orders are objects, and permutations come from names.

Every per-motor array is in MOTOR order, one entry a motor slot: a variant that lacks joints (the 23-joint G1)
keeps the slots of the full robot, and the slots it lacks are never driven.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

F32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]
ROBOTS = Path(__file__).with_name("robots")


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
class Limits:
    """What the gate holds a robot to; every one is a setting of the robot's file (key `limits`).

    Sources: state ages libfranka (20 ms) and moteus (100 ms); target age measured, two 50 Hz periods;
    tilt dimensionalOS/dimos#3621; the rest is this project's own and measured in simulation.
    """

    state_warn_s: float = 0.010
    state_hold_s: float = 0.040
    state_damp_s: float = 0.100
    frozen_s: float = 0.010
    non_finite_samples: int = 3
    target_s: float = 0.040
    bad_targets: int = 3
    tilt_rad: float = math.radians(45)
    overspeed_ratio: float = 1.0
    overspeed_samples: int = 2
    target_rate_ratio: float = 10.0
    target_margin_rad: float = 0.0
    damp_min_s: float = 2.0


@dataclass(frozen=True)
class Robot:
    """A robot's description; see `runtime/robots/*.json` for the data and its sources."""

    name: str
    description: str
    wire: str
    mode_machine: tuple[int, ...]
    plant: str | None
    stand_height_m: float
    estop_buttons: tuple[tuple[str, ...], ...]
    kp_max: float
    kd_max: float
    limits: Limits
    joints: tuple[Joint, ...]

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


def load_robot(name_or_file: str) -> Robot:
    """A shipped robot by name, or one from a JSON file of the same layout.

    Raises:
        Refused: unknown name, unreadable file, unknown or missing keys, impossible figures.
    """
    path = Path(name_or_file) if name_or_file.endswith(".json") else ROBOTS / f"{name_or_file}.json"
    if not path.is_file():
        raise Refused(
            "robot", expected=f"one of {', '.join(robot_names())} or a .json file", found=name_or_file,
            what_to_do="name a robot that ships with the runtime or give the path of its file",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _robot_from(data)
    except Refused:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"robot file {path}", expected="the layout of runtime/robots/g1_29dof.json",
            found=f"{type(error).__name__}: {error}", what_to_do="correct the file",
        ) from error


def _robot_from(data: dict[str, Any]) -> Robot:
    columns = data["joint_columns"]
    wanted = [field.name for field in fields(Joint)]
    if columns != wanted:
        raise Refused("robot file", expected=f"joint_columns {wanted}", found=f"{columns}",
                      what_to_do="write the columns in this order")
    joints = tuple(Joint(str(row[0]), int(row[1]), *(float(x) for x in row[2:])) for row in data["joints"])
    for joint in joints:
        if not joint.lower_rad < joint.upper_rad or joint.effort_n_m <= 0 or joint.velocity_rad_s <= 0:
            raise Refused(f"joint {joint.name}", expected="lower < upper and positive effort and velocity",
                          found=f"{joint}", what_to_do="correct the robot's file")
    if len({joint.motor for joint in joints}) != len(joints):
        raise Refused("robot file", expected="one joint a motor slot", found="a motor index used twice",
                      what_to_do="correct the motor column")
    known = {field.name for field in fields(Limits)}
    unknown = sorted(set(data["limits"]) - known)
    if unknown:
        raise Refused("robot limits", expected=f"keys among {sorted(known)}", found=f"{unknown}",
                      what_to_do="remove or rename them")
    return Robot(
        name=data["name"],
        description=data["description"],
        wire=data["wire"],
        mode_machine=tuple(int(mode) for mode in data["mode_machine"]),
        plant=data["plant"],
        stand_height_m=float(data["stand_height_m"]),
        estop_buttons=tuple(tuple(combination) for combination in data["estop_buttons"]),
        kp_max=float(data["gain_limits"]["kp"]),
        kd_max=float(data["gain_limits"]["kd"]),
        limits=Limits(**data["limits"]),
        joints=joints,
    )
