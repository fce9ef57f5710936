"""One routine from plan to file: shown, confirmed, run, fitted, verified, compared, and accepted or not."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from calibration import history
from calibration.envelope import enclosed
from calibration.lockstep import CalibrationRun
from calibration.report import write_report
from calibration.routine import Found, Routine
from firmware_bridge.motor_table import read_motor_table
from firmware_bridge.simulated_robot import PLANTS, SimulatedRobot
from firmware_bridge.truth import Truth, load_truth
from runtime.errors import Refused
from runtime.robot import load_robot, read_robot

RAW, ROBOT = "raw.mcap", "robot.json"
SIMULATED_SERIAL = "simulated"


@dataclass(frozen=True)
class Order:
    """What was asked for.

    Attributes:
        robot: name or file of the robot's table.
        joints: names; empty for all.
        truth: file of the simulated robot's truth, or None.
        file: the calibration file to read and write, or None: report only.
        yes: accept without asking; in simulation only.
    """

    robot: str
    out: Path
    joints: tuple[str, ...] = ()
    truth: str | None = None
    file: Path | None = None
    serial: str = SIMULATED_SERIAL
    operator: str = ""
    valid_days: float = 90.0
    yes: bool = False


def carry_out(routine: Routine, order: Order, say: Callable[[str], None], ask: Callable[[str], bool]) -> dict[str, Any]:
    """Run a routine on a simulated robot; returns its report, which also lies in the order's folder.

    Args:
        say: shows a line to the person.
        ask: puts a yes-or-no question to them.

    Raises:
        Refused: an order that makes no sense, before anything moves.
    """
    order.out.mkdir(parents=True, exist_ok=True)
    table = load_robot(order.robot)
    data = None if order.file is None else history.read_data(order.file, table.name, order.serial)
    version = history.in_force(data) if data is not None else history.in_force({"versions": []})
    robot_bytes = enclosed(order.robot, routine.envelope)
    (order.out / ROBOT).write_bytes(robot_bytes)
    robot = read_robot(ROBOT, robot_bytes)
    joints = _joints(order, [row.name for row in robot.joints])
    routine.prepare(robot, joints, _offsets(version, robot.joints, robot.motors))
    for line in (f"{routine.name}: {routine.summary}", *routine.plan(), *routine.envelope.lines()):
        say(line)
    if not ask("go?"):
        raise Refused(routine.name, expected="a yes", found="none", what_to_do="start it again when the robot may move")
    began = time.monotonic()
    simulated = SimulatedRobot(PLANTS / f"{table.name}.xml", table=read_motor_table(order.out / ROBOT),
                               hangs=routine.hangs, truth=load_truth(order.truth) if order.truth else Truth(),
                               fixture=getattr(routine, "fixture", None))
    about: dict[str, Any] = {
        "routine": routine.name, "version": routine.version, "robot": table.name, "serial": order.serial,
        "operator": order.operator, "at_utc": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "joints": list(joints), "file": None if order.file is None else str(order.file), "raw": RAW,
    }
    run = CalibrationRun(routine, robot, simulated, order.out / RAW, about)
    _show(run, say)
    about.update(seconds=round(time.monotonic() - began, 1), simulated_seconds=round(run.ticks / 500, 1),
                 stopped=run.conductor.stopped, raw_sha256=_sha256(order.out / RAW))
    if not run.conductor.is_done:
        return write_report(order.out, {**about, "outcome": "stopped"}, None, [])
    found = _fit(routine, run)
    changes = _changes(version, found)
    outcome = "refused" if not found.ok else "measured"
    if found.ok and order.file is not None and data is not None:
        for key, before, after in changes:
            say(f"  {key}: {'-' if before is None else f'{before:.5f}'} -> {'-' if after is None else f'{after:.5f}'}")
        outcome = "declined"
        if ask("write this?"):
            record = {key: about[key] for key in ("routine", "version", "at_utc", "raw", "raw_sha256")}
            history.add(order.file, data, found.values, record, now=datetime.now(timezone.utc),
                        valid_days=order.valid_days, operator=order.operator)
            outcome = "written"
    return write_report(order.out, {**about, "outcome": outcome}, found, changes)


def _joints(order: Order, known: list[str]) -> tuple[str, ...]:
    unknown = sorted(set(order.joints) - set(known))
    if unknown:
        raise Refused("--joints", expected=f"names among {', '.join(known)}", found=", ".join(unknown),
                      what_to_do="name joints of this robot")
    return order.joints or tuple(known)


def _offsets(version: dict[str, Any], joints: Any, motors: int) -> Any:
    offsets = np.zeros(motors)
    for joint in joints:
        offsets[joint.motor] = version["joints"].get(joint.name, {}).get("encoder_offset_rad", 0.0)
    return offsets


def _show(run: CalibrationRun, say: Callable[[str], None]) -> None:
    """Run it, passing on what the routine says and asks."""
    bench, said = run.conductor.bench, 0
    is_terminal = sys.stderr.isatty()

    def look() -> None:
        nonlocal said
        while said < len(bench.said):
            say(bench.said[said])
            said += 1
        if is_terminal and run.ticks % 250 == 0:
            done = int(30 * bench.progress)
            print(f"\r[{'#' * done}{'.' * (30 - done)}] {100 * bench.progress:3.0f} %", end="", file=sys.stderr)

    run.run(look=look)
    if is_terminal:
        print(file=sys.stderr)


def _fit(routine: Routine, run: CalibrationRun) -> Found:
    try:
        return routine.fit(run.conductor.bench.recording())
    except ValueError as error:  # LinAlgError is one
        raise Refused(routine.name, expected="a recording that determines what is asked for", found=str(error),
                      what_to_do="look at the raw recording, then repeat the routine") from error


def _changes(version: dict[str, Any], found: Found) -> list[tuple[str, float | None, float | None]]:
    before = history.flat(version)
    return [(value.key, before.get(value.key), round(value.value, 9)) for value in found.values
            if before.get(value.key) != round(value.value, 9)]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
