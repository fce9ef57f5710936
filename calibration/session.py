"""One routine from plan to file: shown, confirmed, run, fitted, verified, compared, and accepted or not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from calibration import history, parts
from calibration.envelope import enclosed
from calibration.order import SIMULATED_SERIAL, Order
from calibration.parts import RAW
from calibration.raw import finished_steps, read_recording, sha256
from calibration.recording import WHOLE, Recording
from calibration.report import write_report
from calibration.routine import Found, KnowsPlant, Routine
from runtime.errors import Refused
from runtime.robot import Robot, load_robot, read_robot

__all__ = ["SIMULATED_SERIAL", "Order", "carry_out"]
ROBOT, ROUTINE = "robot.json", "routine.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ran:
    """How a routine's motion ended.

    Attributes:
        is_done: to its end; otherwise `stopped` says why not.
        robot_s: how long on the robot's clock.
        notes: of the processes, for the report.
    """

    is_done: bool
    stopped: str
    robot_s: float
    notes: dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A routine that may run.

    Attributes:
        robot: within its envelope, as in the folder's `robot.json`.
        offsets: (motors,) encoder offsets in force, rad.
        finished: steps that an interrupted start has done already.
        about: what report and recording say about it.
    """

    routine: Routine
    robot: Robot
    joints: tuple[str, ...]
    offsets: Any
    finished: tuple[str, ...]
    about: dict[str, Any]


def carry_out(routine: Routine, order: Order, say: Say, ask: Callable[[str], bool]) -> dict[str, Any]:
    """Run a routine; returns its report, which also lies in the order's folder.

    Args:
        say: shows a line to the person.
        ask: puts a yes-or-no question to them.

    Raises:
        Refused: an order that makes no sense, before anything moves.
    """
    order.out.mkdir(parents=True, exist_ok=True)
    table = load_robot(order.robot)
    data = None if order.file is None else history.read_data(order.file, table.name, order.serial)
    written = data is not None and _is_written(data, order.out)
    version = history.in_force({"versions": [] if data is None else data["versions"][: -1 if written else None]})
    robot_bytes = enclosed(order.robot, routine.envelope)
    robot = read_robot(ROBOT, robot_bytes)
    joints, offsets = _joints(order, [row.name for row in robot.joints]), _offsets(version, robot)
    if isinstance(routine, KnowsPlant):
        routine.plant = version.get("plant", {})
    routine.prepare(robot, joints, offsets)
    is_signed = getattr(routine, "is_signed", False)
    if is_signed and not order.operator:
        raise Refused(routine.name, expected="--operator NAME", found="none",
                      what_to_do="give the name of whoever answers for it")
    for line in plan_lines(routine):
        say(line)
    identity = {"routine": routine.name, "version": routine.version, "offsets": offsets.round(9).tolist(),
                "envelope_sha256": hashlib.sha256(robot_bytes).hexdigest(), **order.identity()}
    earlier = parts.begin(order.out, identity)
    finished = tuple(finished_steps(earlier))
    if finished:
        say(f"going on with what was interrupted: {len(finished)} steps are recorded already "
            "(name another --out to begin anew)")
    (order.out / ROBOT).write_bytes(robot_bytes)
    about: dict[str, Any] = {
        "routine": routine.name, "version": routine.version, "robot": table.name, "serial": order.serial,
        "operator": order.operator, "at_utc": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "joints": list(joints), "file": None if order.file is None else str(order.file), "raw": RAW,
    }
    began = time.monotonic()
    if WHOLE in finished:
        about["raw"] = earlier.pop().name
    else:
        if not ask("go?"):
            raise Refused(routine.name, expected="a yes", found="none",
                          what_to_do="start it again when the robot may move")
        ran = _run(Prepared(routine, robot, joints, offsets, finished, about), order, say)
        about.update(stopped=ran.stopped, simulated_seconds=round(ran.robot_s, 1), **ran.notes)
        if not ran.is_done:
            about.update(seconds=round(time.monotonic() - began, 1))
            return write_report(order.out, {**about, "outcome": "stopped"}, None, [])
    about.update(seconds=round(time.monotonic() - began, 1), raw_sha256=sha256(order.out / about["raw"]),
                 stopped="", parts=[{"raw": path.name, "raw_sha256": sha256(path)} for path in earlier])
    found = _fit(routine, read_recording(order.out / about["raw"], earlier))
    if is_signed:
        _sign(found, about, ask)
    if written:
        report = write_report(order.out, {**about, "outcome": "written"}, found, _changes(version, found))
    else:
        report = judge(order, about, found, version, data, say, ask)
    parts.end(order.out, identity)
    return report


def dry_run(routine: Routine, order: Order) -> list[str]:
    """What would move, how far, how hard and how long; nothing is written or moved.

    Raises:
        Refused: as `carry_out`.
    """
    data = None if order.file is None else history.read_data(order.file, load_robot(order.robot).name, order.serial)
    robot = read_robot(ROBOT, enclosed(order.robot, routine.envelope))
    version = history.in_force(data if data is not None else {"versions": []})
    routine.prepare(robot, _joints(order, [row.name for row in robot.joints]), _offsets(version, robot))
    return plan_lines(routine)


def plan_lines(routine: Routine) -> list[str]:
    """What a prepared routine will do, and within what."""
    return [f"{routine.name}: {routine.summary}", *routine.plan(), *routine.envelope.lines()]


def _run(prepared: Prepared, order: Order, say: Say) -> Ran:
    """Lazily: a robot's own computer has no simulator, a simulation no wire."""
    if order.lockstep:
        from calibration.simulated_run import run_simulated

        return run_simulated(prepared, order, say)
    from calibration.real_run import run_real

    return run_real(prepared, order, say)


def judge(
    order: Order, about: dict[str, Any], found: Found, version: dict[str, Any], data: dict[str, Any] | None,
    say: Say, ask: Callable[[str], bool],
) -> dict[str, Any]:
    """Show what would change, and write it where everything is well and somebody says so."""
    changes = _changes(version, found)
    outcome = "refused" if not found.ok else "measured"
    if found.ok and order.file is not None and data is not None:
        for key, before, after in changes:
            say(f"  {key}: {'-' if before is None else f'{before:.5f}'} -> {'-' if after is None else f'{after:.5f}'}")
        record = {key: about[key] for key in ("routine", "version", "at_utc", "raw", "raw_sha256", "parts")}
        if "of_this_robot" in found.facts:
            record["facts"] = found.facts["of_this_robot"]
        outcome = "declined"
        if ask("write this?"):
            history.add(order.file, data, found.values, record, now=datetime.now(timezone.utc),
                        valid_days=order.valid_days, operator=order.operator)
            outcome = "written"
    return write_report(order.out, {**about, "outcome": outcome}, found, changes)


def _sign(found: Found, about: dict[str, Any], ask: Callable[[str], bool]) -> None:
    """A person answers for each line; one that is not answered with yes is not ok, whatever was measured."""
    answers = {verdict.name: ask(f"{verdict.name}: {verdict.measured} (limit: {verdict.limit}): right?")
               for verdict in found.verdicts}
    found.verdicts = [verdict if answers[verdict.name] else
                      replace(verdict, ok=False, what_to_do=verdict.what_to_do or "look again") for verdict in
                      found.verdicts]
    found.facts["signed"] = {"by": about["operator"], "at_utc": about["at_utc"], "lines": answers}


def _is_written(data: dict[str, Any], out: Path) -> bool:
    """Whether the version in force came out of this folder's recording, by a start that was killed right after."""
    records = history.in_force(data).get("records", []) if parts.is_open(out) else []
    last = records[-1].get("raw_sha256") if records else None
    return last is not None and any(sha256(path) == last for path in out.glob("raw*.mcap"))


def _joints(order: Order, known: list[str]) -> tuple[str, ...]:
    unknown = sorted(set(order.joints) - set(known))
    if unknown:
        raise Refused("--joints", expected=f"names among {', '.join(known)}", found=", ".join(unknown),
                      what_to_do="name joints of this robot")
    return order.joints or tuple(known)


def _offsets(version: dict[str, Any], robot: Robot) -> Any:
    offsets = np.zeros(robot.motors)
    for joint in robot.joints:
        offsets[joint.motor] = version["joints"].get(joint.name, {}).get("encoder_offset_rad", 0.0)
    return offsets


def _fit(routine: Routine, recording: Recording) -> Found:
    try:
        return routine.fit(recording)
    except ValueError as error:  # LinAlgError is one
        raise Refused(routine.name, expected="a recording that determines what is asked for", found=str(error),
                      what_to_do="look at the raw recording, then repeat the routine") from error


def _changes(version: dict[str, Any], found: Found) -> list[tuple[str, float | None, float | None]]:
    before = history.flat(version)
    return [(value.key, before.get(value.key), round(value.value, 9)) for value in found.values
            if before.get(value.key) != round(value.value, 9)]


def truth_path(order: Order) -> str | None:
    """The truth's file for another process."""
    return None if order.truth is None else str(Path(order.truth).absolute())
