"""A calibration file's history: what a routine adds, what two versions differ in, and the way back."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.routine import Value
from runtime.calibration_file import OFFSETS, SCHEMA, TIME, parse_calibration, with_version, write_data
from runtime.classical_estimator import AIR_N
from runtime.errors import Refused
from runtime.rotation import quat_from_vector_many, rotation_vector_many

NEUTRAL_IMU: dict[str, Any] = {"mounting_wxyz": [1.0, 0.0, 0.0, 0.0], "gyro_bias_rad_s": [0.0, 0.0, 0.0],
                               "accel_bias_m_s2": [0.0, 0.0, 0.0], "accel_scale": [1.0, 1.0, 1.0]}
NEUTRAL_FOOT: dict[str, float] = {"air_force_n": AIR_N, "force_scale": 1.0}
MOUNTING = "imu.mounting_rad."
TRUTH = "exoactor-truth/1"
DELAY = "delay"
"""Of `plant`: no joint, but the whole robot's."""


def read_data(path: Path, robot: str, serial: str) -> dict[str, Any]:
    """A file's data, checked; an empty one where there is no file yet.

    Raises:
        Refused: not a calibration of this robot.
    """
    if not path.exists():
        return {"schema": SCHEMA, "robot": robot, "serial": serial, "versions": []}
    data = open_data(path)
    if (data["robot"], data["serial"]) != (robot, serial):
        raise Refused(f"calibration {path.name}", expected=f"{robot}, serial {serial}",
                      found=f"{data['robot']}, serial {data['serial']}", what_to_do="name this very robot's file")
    return data


def open_data(path: Path) -> dict[str, Any]:
    """A file's data, checked.

    Raises:
        Refused: it cannot be read, or was changed by hand.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"calibration {path.name}", expected="a readable file", found=str(error),
                      what_to_do="check its path and rights") from error
    return dict(parse_calibration(path.name, content).data)


def in_force(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the version in force, without its seal; an empty one where there is none."""
    if not data["versions"]:
        return {"created_utc": "", "valid_days": 0, "joints": {}}
    version = copy.deepcopy(data["versions"][-1])
    for key in ("before", "sha256", "undoes"):
        version.pop(key, None)
    return dict(version)


def add(
    path: Path, data: Mapping[str, Any], values: Sequence[Value], record: Mapping[str, Any], *, now: datetime,
    valid_days: float, operator: str,
) -> None:
    """Write the file with one more version: the one in force with these values in it.

    Raises:
        Refused: values that no calibration file may hold; the file stays as it was.
    """
    version = in_force(data)
    version.update(created_utc=now.strftime(TIME), valid_days=valid_days)
    if operator:
        version["operator"] = operator
    version["records"] = [*version.get("records", []), dict(record)]
    put(version, values)
    _write(path, with_version(data, version))


def put(version: dict[str, Any], values: Sequence[Value]) -> None:
    """Values into a version, each at its key's place; a mounting arrives as a rotation vector."""
    uncertainty = dict(version.get("uncertainty", {}))
    mounting: list[float] = []
    for value in values:
        uncertainty[value.key] = round(value.half_width, 9)
        part, *way = value.key.split(".")
        if value.key.startswith(MOUNTING):
            mounting.append(value.value)
        elif part == "joints":
            row = version["joints"].setdefault(way[0], dict.fromkeys(OFFSETS, 0.0))
            row[way[1]] = round(value.value, 9)
        elif part == "imu":
            imu = version.setdefault("imu", copy.deepcopy(NEUTRAL_IMU))
            imu[way[0]][int(way[1])] = round(value.value, 9)
        elif part == "hands":
            make, side, joint, key = way
            hand = version.setdefault("hands", {}).setdefault(make, {}).setdefault(side, {})
            hand.setdefault(joint, {})[key] = round(value.value, 9)
        elif part == "feet":
            foot = version.setdefault("feet", {}).setdefault(way[0], copy.deepcopy(NEUTRAL_FOOT))
            foot[way[1]] = round(value.value, 9)
        else:
            version.setdefault("plant", {}).setdefault(way[0], {})[way[1]] = round(value.value, 9)
    if mounting:
        imu = version.setdefault("imu", copy.deepcopy(NEUTRAL_IMU))
        imu["mounting_wxyz"] = quat_from_vector_many(np.array([mounting]))[0].round(9).tolist()
    version["uncertainty"] = uncertainty


def undo(path: Path, now: datetime) -> int:
    """Bring back the version before the one in force, as a new one; returns its number, from 1.

    Raises:
        Refused: there is none before.
    """
    data = open_data(path)
    versions = data["versions"]
    number = len(versions)
    while number and "undoes" in versions[number - 1]:  # what an undo brought back has a predecessor of its own
        number = versions[number - 1]["undoes"] - 1
    if number < 2:
        raise Refused("undo", expected="a version before the one in force", found="none",
                      what_to_do="a robot without a calibration is run without --calibration; or calibrate again")
    back = in_force({**data, "versions": versions[: number - 1]})
    back["undoes"] = number
    _write(path, with_version(data, back))
    return number - 1


def flat(version: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a version by its key, mountings as rotation vectors in rad."""
    out: dict[str, float] = {}
    for joint, row in version["joints"].items():
        out.update({f"joints.{joint}.{name}": row[name] for name in OFFSETS})
    if "imu" in version:
        imu = version["imu"]
        vector = rotation_vector_many(np.array([imu["mounting_wxyz"]]))[0]
        out.update({f"{MOUNTING}{axis}": float(vector[axis]) for axis in range(3)})
        for key in ("gyro_bias_rad_s", "accel_bias_m_s2", "accel_scale"):
            out.update({f"imu.{key}.{axis}": imu[key][axis] for axis in range(3)})
    for make, sides in version.get("hands", {}).items():
        out.update({f"hands.{make}.{side}.{joint}.{key}": value for side, rows in sides.items()
                    for joint, row in rows.items() for key, value in row.items()})
    for part in ("feet", "plant"):
        for name, row in version.get(part, {}).items():
            out.update({f"{part}.{name}.{key}": value for key, value in row.items()})
    return out


def differences(old: Mapping[str, float], new: Mapping[str, float]) -> list[tuple[str, float | None, float | None]]:
    """Keys whose numbers differ: (key, before, after), None where one lacks it."""
    return [(key, old.get(key), new.get(key)) for key in dict.fromkeys([*old, *new])
            if old.get(key) != new.get(key)]


def plant_truth(version: Mapping[str, Any]) -> dict[str, Any]:
    """A truth for the simulated robot: what a calibration knows of this robot's physics, without its offsets.

    Raises:
        Refused: it knows nothing.
    """
    plant = version.get("plant", {})
    if not plant:
        raise Refused("export", expected="identified plant parameters", found="none in this file",
                      what_to_do="run a routine that identifies them first")
    delay = {"delay": dict(plant[DELAY])} if DELAY in plant else {}
    return {"schema": TRUTH, "joints": {joint: dict(row) for joint, row in plant.items() if joint != DELAY}, **delay}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    parse_calibration(path.name, json.dumps(data).encode())  # what the runtime would refuse is never written
    write_data(path, data)
