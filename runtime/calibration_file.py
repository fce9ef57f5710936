"""Calibration files: what one robot's sensors and drives are off by, checked before it touches anything.

A file is JSON: schema, robot (the name in its table), serial (as on its label), versions. Versions are only ever added;
the last is in force, and an undo adds an older one again. A version is created_utc, valid_days, joints (name ->
encoder_offset_rad, command_offset_rad), perhaps imu, feet, hands, plant, uncertainty, operator, boards, records, and
`before`, the digest of the version before, and `sha256` over the canonical form of all the rest with robot and serial,
so that an edit by hand is noticed anywhere in the chain. Encoder offsets are subtracted from what is measured, command
offsets added to what is commanded; docs/calibration.md has every key.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import Refused
from runtime.reader import Reader, parse_json
from runtime.robot import Robot
from runtime.rotation import rotate_many
from runtime.state import Calibration, ImuCalibration

SCHEMA = "exoactor-calibration/2"
TIME = "%Y-%m-%dT%H:%M:%SZ"
MOST_BYTES = 1 << 22
MOST_RAD = 0.5
"""A larger offset is no calibration but a joint, or an IMU, that was put together wrongly."""
OFFSETS = ("encoder_offset_rad", "command_offset_rad")
IMU = {"gyro_bias_rad_s": (-0.2, 0.2), "accel_bias_m_s2": (-3.0, 3.0), "accel_scale": (0.8, 1.25)}
"""Bounds of an IMU's numbers, three of each; a worse sensor is to be replaced."""
FEET = {"air_force_n": (-200.0, 200.0), "force_scale": (0.3, 3.0)}
"""Of each foot: what its leg's torques say of it in the air, and what they say over what is true."""
HAND = {"lower_rad": (-7.0, 7.0), "upper_rad": (-7.0, 7.0)}
"""Of each joint of a hand: where its ends are; `hand_calibration` holds them against the hand's own file."""
Hands = Mapping[str, Mapping[str, tuple[float, float]]]
UNIT_TOLERANCE = 1e-3
_KEYS = {"schema", "robot", "serial", "versions"}
_VERSION = {"created_utc", "valid_days", "joints", "before", "sha256"}
_MAY = {"imu", "feet", "hands", "plant", "uncertainty", "operator", "boards", "records", "undoes"}
_NEW = "calibrate the robot again, or name its own file"


@dataclass(frozen=True)
class CalibrationFile:
    """One file, checked: its version in force.

    Attributes:
        offsets: joint -> (encoder_offset_rad, command_offset_rad).
        imu: of the base, or None.
        feet: foot -> (air_force_n, force_scale).
        hands: make -> side -> joint -> (lower_rad, upper_rad), where its drive reads at its ends.
        data: the whole file, for whoever adds to it.
    """

    robot: str
    serial: str
    created: datetime
    valid_days: float
    offsets: Mapping[str, tuple[float, float]]
    imu: ImuCalibration | None = None
    feet: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    hands: Mapping[str, Hands] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def for_robot(self, robot: Robot) -> Calibration:
        """The offsets in MOTOR order."""
        calibration = Calibration(robot.motors, self.imu)
        for joint in robot.joints:
            encoder, command = self.offsets.get(joint.name, (0.0, 0.0))
            calibration.encoder_offset_rad[joint.motor] = encoder
            calibration.command_offset_rad[joint.motor] = command
        return calibration

    def age_days(self, now: datetime) -> float:
        """Days since it was made."""
        return (now - self.created).total_seconds() / 86400


def digest(data: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """SHA-256 of a version with its file's robot and serial: keys sorted, no spaces, UTF-8."""
    rest = {key: value for key, value in version.items() if key != "sha256"}
    sealed = {"robot": data["robot"], "serial": data["serial"], "version": rest}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def with_version(data: Mapping[str, Any], version: Mapping[str, Any]) -> dict[str, Any]:
    """A file's data with one more version, sealed."""
    versions = data["versions"]
    sealed = {**version, "before": versions[-1]["sha256"] if versions else ""}
    return {**data, "versions": [*versions, {**sealed, "sha256": digest(data, sealed)}]}


def write_data(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file in one piece, so that a killed writer leaves the old one."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(data, indent=1), encoding="utf-8")
    fresh.replace(path)


def write_calibration(
    path: Path, robot: str, serial: str, offsets: Mapping[str, tuple[float, float]], *, created: datetime,
    valid_days: float, imu: Mapping[str, Any] | None = None,
) -> None:
    """Write a file of one version that `load_calibration` takes."""
    joints = {name: dict(zip(OFFSETS, pair, strict=True)) for name, pair in offsets.items()}
    version: dict[str, Any] = {"created_utc": created.strftime(TIME), "valid_days": valid_days, "joints": joints}
    if imu is not None:
        version["imu"] = dict(imu)
    write_data(path, with_version({"schema": SCHEMA, "robot": robot, "serial": serial, "versions": []}, version))


def parse_calibration(name: str, data: bytes) -> CalibrationFile:
    """A file's content; `name` is for refusals.

    Raises:
        Refused: not JSON, unknown or missing keys, impossible numbers, or a digest that does not fit.
    """
    reader = Reader(f"calibration {name}", _NEW)
    found = parse_json(data, reader)
    reader.keys("top level", found, _KEYS, _KEYS)
    reader.one_of("schema", found["schema"], (SCHEMA,))
    robot, serial = reader.text("robot", found["robot"]), reader.text("serial", found["serial"])
    before = ""
    for i, version in enumerate(reader.listed("versions", found["versions"])):
        key = f"versions[{i}]"
        reader.keys(key, version, _VERSION | _MAY, _VERSION)
        if version["sha256"] != digest(found, version) or version["before"] != before:
            raise reader.refuse(f"{key}.sha256", f"{digest(found, version)} after {before or 'nothing'}",
                                f"{version['sha256']} after {version['before']}: the file was changed by hand"[:300])
        before = version["sha256"]
    reader.keys(f"{key}.joints", version["joints"], None)
    offsets = {}
    for joint, row in version["joints"].items():
        reader.keys(f"joints.{joint}", row, set(OFFSETS), set(OFFSETS))
        first, second = (reader.number(f"joints.{joint}.{key}", row[key], -MOST_RAD, MOST_RAD) for key in OFFSETS)
        offsets[joint] = (first, second)
    try:
        created = datetime.strptime(reader.text("created_utc", version["created_utc"]), TIME)
    except ValueError:
        raise reader.refuse("created_utc", "a time such as 2030-01-31T12:00:00Z", version["created_utc"]) from None
    return CalibrationFile(
        robot, serial, created.replace(tzinfo=timezone.utc),
        reader.number("valid_days", version["valid_days"], 0, 3650),
        offsets, _imu(reader, version["imu"]) if "imu" in version else None, _feet(reader, version.get("feet", {})),
        _hands(reader, version.get("hands", {})), found,
    )


def _hands(reader: Reader, found: Any) -> dict[str, Hands]:
    reader.keys("hands", found, None)
    makes: dict[str, Hands] = {}
    for make, sides in found.items():
        reader.keys(f"hands.{make}", sides, {"left", "right"})
        ends: dict[str, dict[str, tuple[float, float]]] = {}
        for side, rows in sides.items():
            reader.keys(f"hands.{make}.{side}", rows, None)
            for joint, row in rows.items():
                where = f"hands.{make}.{side}.{joint}"
                reader.keys(where, row, set(HAND), set(HAND))
                low, high = (reader.number(f"{where}.{key}", row[key], *HAND[key]) for key in HAND)
                ends.setdefault(side, {})[joint] = low, high
        makes[make] = ends
    return makes


def _feet(reader: Reader, found: Any) -> dict[str, tuple[float, float]]:
    reader.keys("feet", found, None)
    feet = {}
    for name, row in found.items():
        reader.keys(f"feet.{name}", row, set(FEET), set(FEET))
        air, scale = (reader.number(f"feet.{name}.{key}", row[key], *FEET[key]) for key in FEET)
        feet[name] = (air, scale)
    return feet


def _imu(reader: Reader, found: Any) -> ImuCalibration:
    reader.keys("imu", found, {"mounting_wxyz", *IMU}, {"mounting_wxyz", *IMU})
    mounting = "imu.mounting_wxyz"
    wxyz = np.array(reader.numbers(mounting, found["mounting_wxyz"]))
    if wxyz.shape != (4,) or abs(float(np.linalg.norm(wxyz)) - 1) > UNIT_TOLERANCE:
        raise reader.refuse(mounting, "a unit quaternion, w first", found["mounting_wxyz"])
    angle = 2 * float(np.arctan2(np.linalg.norm(wxyz[1:]), abs(wxyz[0])))
    if angle > MOST_RAD:
        raise reader.refuse(mounting, f"a turn of at most {MOST_RAD:g} rad", f"{angle:.3f} rad")
    values = {}
    for key, (low, high) in IMU.items():
        listed = reader.listed(f"imu.{key}", found[key])
        row = [reader.number(f"imu.{key}", value, low, high) for value in listed]
        if len(row) != 3:
            raise reader.refuse(f"imu.{key}", "three numbers", f"{found[key]!r}")
        values[key] = np.array(row)
    wxyz /= np.linalg.norm(wxyz)
    base_from_imu = rotate_many(np.tile(wxyz, (3, 1)), np.eye(3)).T
    return ImuCalibration(base_from_imu, wxyz, values["gyro_bias_rad_s"], values["accel_bias_m_s2"],
                          values["accel_scale"])


def load_calibration(path: Path, robot: Robot, serial: str | None, now: datetime) -> CalibrationFile:
    """The calibration of a run.

    Args:
        robot: it must be for.
        serial: of the robot at hand; None in simulation, where there is none to compare.
        now: the wall clock, timezone-aware; it decides about expiry and nothing else.

    Raises:
        Refused: unreadable, edited, expired, from the future, of another robot, or with joints this robot lacks.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Refused(f"calibration {path.name}", expected=f"at most {MOST_BYTES} bytes",
                          found=f"{path.stat().st_size}", what_to_do="that is no calibration file")
        file = parse_calibration(path.name, path.read_bytes())
    except OSError as error:
        raise Refused(f"calibration {path.name}", expected="a readable file", found=str(error),
                      what_to_do="check its path and rights") from error
    what = f"calibration {path.name}"
    if file.robot != robot.name:
        raise Refused(what, expected=f"robot {robot.name}", found=file.robot, what_to_do="name this robot's file")
    if serial is not None and file.serial != serial:
        raise Refused(what, expected=f"serial {serial}", found=file.serial, what_to_do="name this very robot's file")
    unknown = sorted(set(file.offsets) - set(robot.order.names) | set(file.feet) - {foot.name for foot in robot.feet})
    if unknown:
        raise Refused(what, expected=f"joints and feet of {robot.name}", found=", ".join(unknown), what_to_do=_NEW)
    age, most = file.age_days(now), min(file.valid_days, robot.limits.calibration_days)
    if not timedelta(days=-1) / timedelta(days=1) <= age <= most:
        raise Refused(what, expected=f"made within the last {most:g} days", found=f"{age:.1f} days ago",
                      what_to_do="calibrate the robot again" if age > 0 else "set this computer's clock")
    return file


def add_calibration_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that may apply a calibration."""
    parser.add_argument("--calibration", metavar="FILE", help="joint offsets of this robot (docs/robots.md)")
    parser.add_argument("--serial", help="serial number of the robot at hand: a calibration of another one is refused")


def calibration_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `RunSettings` about the calibration.

    Raises:
        Refused: a calibration for a real robot whose serial number nobody gave.
    """
    if args.calibration is not None and args.robot == "g1" and not args.serial:
        raise Refused("--calibration", expected="--serial TEXT beside it", found="none",
                      what_to_do="give the serial number on the robot's label: offsets of another robot do harm")
    path = None if args.calibration is None else str(Path(args.calibration).absolute())
    return {"calibration": path, "serial": args.serial}


def calibration_of(path: str | None, robot: Robot, serial: str | None) -> Calibration:
    """The offsets a run applies: none without a file."""
    if path is None:
        return Calibration(robot.motors)
    return load_calibration(Path(path), robot, serial, datetime.now(timezone.utc)).for_robot(robot)


def feet_of(path: str | None, robot: Robot, serial: str | None) -> Mapping[str, tuple[float, float]]:
    """What a run knows of its feet's forces: nothing without a file."""
    return {} if path is None else load_calibration(Path(path), robot, serial, datetime.now(timezone.utc)).feet


def hands_of(path: str | None, robot: Robot, serial: str | None) -> Mapping[str, Hands]:
    """What a run knows of the ends of its hands' joints, by make: nothing without a file."""
    return {} if path is None else load_calibration(Path(path), robot, serial, datetime.now(timezone.utc)).hands
