"""Routines in real time over DDS: gate, conductor and supervisor as processes, and a hand on a terminal's space bar."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

for library in ("mujoco", "mcap"):
    pytest.importorskip(library, reason=f"missing dependency: {library}")

from firmware_bridge.motor_bus import KD, KP
from runtime.faults import BIT, Mode
from runtime.log_file import read_log
from runtime.robot import load_robot
from tests.live_run import ROOT, await_

pytestmark = [pytest.mark.realtime, pytest.mark.slow]
ANKLE = "left_ankle_roll_joint"
DOMAIN = 141
G1 = load_robot("g1_29dof")


def words(out: Path, *more: str) -> list[str]:
    truth = out.parent / "truth.json"
    truth.write_text(json.dumps({"schema": "exoactor-truth/1", "joints": {ANKLE: {"encoder_offset_rad": 0.05}}}))
    return [sys.executable, "-m", "exoactor", "calibrate", "joint-zero", "--joints", ANKLE, "--truth", str(truth),
            "--no-lockstep", "--domain", str(DOMAIN), "--out", str(out), *more]


def damped_after_ms(out: Path, since_ns: int) -> float:
    """From a moment to the first damping command that the gate wrote."""
    gate = read_log(out / "raw.mcap").topics["gate"]
    block = gate["command"]
    damps = (gate["mode"] == Mode.DAMP) & (block[:, :, KP] == 0).all(axis=1) & (block[:, :, KD] > 0).any(axis=1)
    return float(gate["now_ns"][damps][0] - since_ns) / 1e6


def await_touch(out: Path, run: subprocess.Popen[bytes]) -> None:
    """The routine moves: its recording has begun; one that ended before says why."""
    raw, report = out / "raw.mcap", out / "report.json"
    await_(lambda: run.poll() is not None or (raw.exists() and raw.stat().st_size > 8_000_000), 120,
           "the routine to move", poll_s=0.05)
    assert run.poll() is None, report.read_text() if report.exists() else "it ended without a report"


def pids(out: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((out / "processes.json").read_text())
    return found


def test_a_zero_is_found_over_the_wire_within_the_envelope(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run(words(out, "--yes"), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads((out / "report.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["key"]: row["value"] for row in report["values"]}
    assert found[f"joints.{ANKLE}.encoder_offset_rad"] == pytest.approx(0.05, abs=0.01)
    log = read_log(out / "raw.mcap")
    gate = log.topics["gate"]
    gate = gate[gate["mode"] == Mode.TRACK]
    spring = np.abs(gate["command"][:, :, KP] * (gate["command"][:, :, 0] - gate["q"]))
    assert (spring <= 0.5 * G1.column("effort_n_m") * 1.05 + 0.3).all()  # q is as new as the command, or newer
    assert log.about["routine"] == "joint-zero" and not list(out.glob("*.err"))


@contextlib.contextmanager
def held_space(out: Path) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    """The command on a terminal of its own, whose space bar repeats until the event."""
    near, far = pty.openpty()
    released = threading.Event()
    process = subprocess.Popen(words(out, "--deadman", "keyboard"), cwd=ROOT, stdin=far, stdout=far, stderr=far,
                               start_new_session=True)
    os.close(far)

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(near, 4096):
                pass

    def hold() -> None:
        os.write(near, b"y\n")  # "go?"
        with contextlib.suppress(OSError):
            while not released.wait(0.05):
                os.write(near, b" ")

    threads = [threading.Thread(target=work, daemon=True) for work in (drain, hold)]
    for thread in threads:
        thread.start()
    try:
        yield process, released
    finally:
        released.set()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
        os.close(near)


def test_a_space_bar_let_go_of_ends_a_routine_damping(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with held_space(out) as (process, released):
        await_touch(out, process)
        released.set()
        let_go_ns = time.monotonic_ns()
        assert process.wait(60) == 1
    report = json.loads((out / "report.json").read_text())
    assert (report["outcome"], report["stopped"]) == ("stopped", "the dead-man was released")
    took_ms = damped_after_ms(out, let_go_ns)
    print(f"space bar let go: damping {took_ms:.0f} ms later")
    assert 200 < took_ms < 1500  # keys have to stop coming for half a second before a hand is known to be gone


def test_a_killed_conductor_leaves_the_robot_damping(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(words(out, "--yes"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        await_touch(out, run)
        os.kill(pids(out)["conductor"], signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        assert run.wait(60) == 1
    took_ms = damped_after_ms(out, killed_ns)
    print(f"conductor killed: damping {took_ms:.1f} ms later")
    gate = read_log(out / "raw.mcap").topics["gate"]
    assert np.bitwise_or.reduce(gate["flags"]) & BIT["TARGET_STALE"]
    assert "TARGET_STALE" in json.loads((out / "report.json").read_text())["stopped"]
    assert took_ms <= 45
