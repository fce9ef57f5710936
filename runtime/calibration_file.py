"""Calibration files: joint offsets of one robot, checked before they touch anything.

A file is JSON: schema, robot (the name in its table), serial (as on its label), created_utc, valid_days, joints
(name -> encoder_offset_rad, command_offset_rad), and `sha256` over the canonical form of all the rest, so that an edit
by hand is noticed. Encoder offsets are subtracted from what is measured, command offsets added to what is commanded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.reader import Reader, parse_json
from runtime.robot import Robot
from runtime.state import Calibration

SCHEMA = "exoactor-calibration/1"
TIME = "%Y-%m-%dT%H:%M:%SZ"
MOST_BYTES = 1 << 20
MOST_RAD = 0.5
"""A larger offset is no calibration but a joint that was put together wrongly."""
OFFSETS = ("encoder_offset_rad", "command_offset_rad")
_KEYS = {"schema", "robot", "serial", "created_utc", "valid_days", "joints", "sha256"}
_NEW = "calibrate the robot again, or name its own file"


@dataclass(frozen=True)
class CalibrationFile:
    """One file, checked.

    Attributes:
        offsets: joint -> (encoder_offset_rad, command_offset_rad).
    """

    robot: str
    serial: str
    created: datetime
    valid_days: float
    offsets: Mapping[str, tuple[float, float]]

    def for_robot(self, robot: Robot) -> Calibration:
        """The offsets in MOTOR order."""
        calibration = Calibration(robot.motors)
        for joint in robot.joints:
            encoder, command = self.offsets.get(joint.name, (0.0, 0.0))
            calibration.encoder_offset_rad[joint.motor] = encoder
            calibration.command_offset_rad[joint.motor] = command
        return calibration

    def age_days(self, now: datetime) -> float:
        """Days since it was made."""
        return (now - self.created).total_seconds() / 86400


def digest(data: Mapping[str, Any]) -> str:
    """SHA-256 of everything but the digest itself: keys sorted, no spaces, UTF-8."""
    rest = {key: value for key, value in data.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_calibration(
    path: Path, robot: str, serial: str, offsets: Mapping[str, tuple[float, float]], *, created: datetime,
    valid_days: float,
) -> None:
    """Write a file that `load_calibration` takes; in one piece, so that a killed writer leaves the old one."""
    joints = {name: dict(zip(OFFSETS, pair, strict=True)) for name, pair in offsets.items()}
    data: dict[str, Any] = {"schema": SCHEMA, "robot": robot, "serial": serial, "created_utc": created.strftime(TIME),
                            "valid_days": valid_days, "joints": joints}
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({**data, "sha256": digest(data)}, indent=1), encoding="utf-8")
    fresh.replace(path)


def parse_calibration(name: str, data: bytes) -> CalibrationFile:
    """A file's content; `name` is for refusals.

    Raises:
        Refused: not JSON, unknown or missing keys, impossible numbers, or a digest that does not fit.
    """
    reader = Reader(f"calibration {name}", _NEW)
    found = parse_json(data, reader)
    reader.keys("top level", found, _KEYS, _KEYS)
    reader.one_of("schema", found["schema"], (SCHEMA,))
    reader.keys("joints", found["joints"], None)
    offsets = {}
    for joint, row in found["joints"].items():
        reader.keys(f"joints.{joint}", row, set(OFFSETS), set(OFFSETS))
        first, second = (reader.number(f"joints.{joint}.{key}", row[key], -MOST_RAD, MOST_RAD) for key in OFFSETS)
        offsets[joint] = (first, second)
    if found["sha256"] != digest(found):
        raise reader.refuse("sha256", digest(found), f"{found['sha256']}: the file was changed by hand"[:200])
    try:
        created = datetime.strptime(reader.text("created_utc", found["created_utc"]), TIME)
    except ValueError:
        raise reader.refuse("created_utc", "a time such as 2030-01-31T12:00:00Z", found["created_utc"]) from None
    return CalibrationFile(
        reader.text("robot", found["robot"]), reader.text("serial", found["serial"]),
        created.replace(tzinfo=timezone.utc), reader.number("valid_days", found["valid_days"], 0, 3650), offsets,
    )


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
    unknown = sorted(set(file.offsets) - set(robot.order.names))
    if unknown:
        raise Refused(what, expected=f"joints of {robot.name}", found=", ".join(unknown), what_to_do=_NEW)
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
