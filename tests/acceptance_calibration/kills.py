"""The calibrating command, killed at drawn moments: the file in force stays whole, and the next start goes on or anew.

Four trials in five are killed when the recording has reached a drawn size, the fifth while it writes: in the middle of
a file, or right before or after the one that takes its place. Then the same command runs again, unharmed.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from calibration import history
from calibration.routine import Value
from exoactor import main
from runtime.calibration_file import load_calibration
from runtime.robot import load_robot
from tests.acceptance_calibration.figures import Asked, Check

ASKED: dict[str, Asked] = {}
"""Every row of this part has to be so always."""
JOINTS = ("left_ankle_roll_joint", "right_ankle_roll_joint")
SERIAL = "G1-7"
RECORDING_BYTES = 42_000_000
"""About what the whole routine records of these two joints, the gate's log included."""
WRITES = 14
"""Moments of `dies_at_write`: session, calibration, both reports, session, three each; after the last all is done."""
LONGEST_S = 1200.0


def command(folder: Path, out: str) -> list[str]:
    """As a person types it."""
    return ["calibrate", "joint-zero", "--joints", ",".join(JOINTS), "--truth", str(folder / "truth.json"), "--yes",
            "--file", str(folder / "cal.json"), "--serial", SERIAL, "--out", str(folder / out)]


def dies_at_write(number: int) -> None:
    """From here on, this process kills itself at its n-th write of a whole file: before, amid or after."""
    count, whole_write, whole_replace = 0, Path.write_text, Path.replace

    def is_due() -> bool:
        nonlocal count
        count += 1
        return count == number

    def write_text(path: Path, data: str, *rest: object, **more: object) -> int:
        if is_due():
            whole_write(path, data[: len(data) // 2], encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return whole_write(path, data, *rest, **more)  # type: ignore[arg-type]

    def replace(path: Path, target: Path) -> Path:
        if is_due():
            os.kill(os.getpid(), signal.SIGKILL)
        found = whole_replace(path, target)
        if is_due():
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Path.write_text, Path.replace = write_text, replace  # type: ignore[method-assign, assignment]


def child(words: list[str], log: Path, before: Callable[[], None] = lambda: None) -> int:
    """The command in a process of its own; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        before()
        code = main(words)
    finally:
        os._exit(code)


def kill_at(pid: int, recording: Path, size: int) -> bool:
    """Kill it once its recording is so large; False when it ended first."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        if recording.exists() and recording.stat().st_size >= size:
            break
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def versions(path: Path) -> int:
    """How many a file has that the runtime takes; -1 where it takes none."""
    try:
        file = load_calibration(path, load_robot("g1_29dof"), SERIAL, datetime.now(timezone.utc))
    except Exception:  # whatever it is, the file is not what it has to be
        return -1
    return len(file.data["versions"])


def trial(seed: int, folder: Path) -> Iterator[Check]:
    """One kill."""
    rng = np.random.default_rng(seed)
    offsets = rng.uniform(-0.08, 0.08, 2)
    (folder / "truth.json").write_text(json.dumps({
        "schema": "exoactor-truth/1", "seed": seed, "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
        "joints": {name: {"encoder_offset_rad": x} for name, x in zip(JOINTS, offsets, strict=True)}}))
    file, out = folder / "cal.json", folder / "out"
    data = history.read_data(file, "g1_29dof", SERIAL)
    history.add(file, data, [Value(f"joints.{JOINTS[0]}.encoder_offset_rad", 0.01, 0.001)], {"routine": "before"},
                now=datetime.now(timezone.utc), valid_days=90, operator="")
    words, log = command(folder, "out"), folder / "log.txt"
    if seed % 5 == 4:
        number = 1 + int(rng.integers(WRITES))
        what = f"at write {number}"
        _, status = os.waitpid(child(words, log, lambda: dies_at_write(number)), 0)
        yield Check("killed while it writes", os.waitstatus_to_exitcode(status) == -signal.SIGKILL, what)
    else:
        size = int(rng.uniform(0, RECORDING_BYTES))
        if not kill_at(child(words, log), out / "raw.mcap", size):
            return  # it had ended: the same command once more is another calibration
        what = f"at {size} bytes"
    left = versions(file)
    yield Check("file in force intact after a kill", left in (1, 2), f"{what}: {left} versions")
    raw = {path.name: path.stat().st_size for path in out.glob("raw*.mcap")}
    _, status = os.waitpid(child(words, log), 0)
    tail = log.read_text(errors="replace")[-300:]
    ended = os.waitstatus_to_exitcode(status)
    yield Check("next start goes on or anew, and ends well", ended == 0, f"{what}: exit code {ended}: {tail}")
    end = versions(file)
    yield Check("its result stands in the file once", end == 2, f"{what}: {end} versions")
    if end == 2:
        found = load_calibration(file, load_robot("g1_29dof"), SERIAL, datetime.now(timezone.utc)).offsets
        errors = [abs(found[name][0] - x) for name, x in zip(JOINTS, offsets, strict=True)]
        yield Check("and is right within 0.01 rad", max(errors) <= 0.01, f"{what}: {max(errors):.4f} rad")
    report = json.loads((out / "report.json").read_text())
    parts = [part["raw"] for part in report.get("parts", [])]
    yield Check("earlier parts that count are kept and hashed", all((out / name).exists() for name in parts)
                and all(part["raw_sha256"] for part in report.get("parts", [])), f"{what}: {raw}, {parts}")
