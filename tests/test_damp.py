"""`exoactor damp`: real processes on the wire."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.damp_command import CLEAN
from tests.live_run import ROOT, LiveRun, await_, is_running
from tests.run_processes import DAMPING_FRAMES, simulated_robot, words
from tests.wire_observer import WireObserver

pytestmark = pytest.mark.realtime

ALONE, ORPHANED, NOBODY = 27, 28, 29
WITHIN_MS = 10_000.0


def damp(*more: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exoactor", "damp", *map(str, more)], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, **(environment or {})},
    )


def test_it_damps_for_the_shortest_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with simulated_robot(ALONE), WireObserver(ALONE, tmp_path / "f.npy") as wire:
        began = time.monotonic_ns()
        done = damp("--robot", "dds", "--domain", ALONE, "--seconds", 0.1)
        assert done.returncode == 0, done.stderr
        wire.stop()
    assert len(wire.writers) == 1 and "exoactor-gate" in wire.writers[0]
    assert len(wire.damping_after(began)) == len(wire.frames) >= DAMPING_FRAMES
    assert not list(Path("/dev/shm").glob("exoactor-damp-*"))


@pytest.mark.slow
def test_a_robot_whose_gate_and_supervisor_died_together_is_damped(tmp_path: Path) -> None:
    with (
        simulated_robot(ORPHANED) as robot,
        WireObserver(ORPHANED, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(ORPHANED, "--robot", "dds")) as run,
    ):
        run.await_tracking()
        gate = run.pids["gate"]
        os.kill(run.process.pid, signal.SIGSTOP)  # it must not bring up another gate in between
        os.kill(gate, signal.SIGKILL)
        os.kill(run.process.pid, signal.SIGKILL)
        await_(lambda: not is_running(gate), 10, "the gate's end")
        moment = time.monotonic_ns()
        done = damp("--robot", "dds", "--domain", ORPHANED, "--seconds", 1, "--unless-clean",
                    environment={"SERVICE_RESULT": "signal"})
        assert done.returncode == 0, done.stderr
        wire.stop()
        assert robot.poll() is None
    assert wire.frames["kp"].max() > 0
    print(f"both dead: damping {wire.delay_ms(moment):.0f} ms after `exoactor damp` was started")
    assert wire.delay_ms(moment) < WITHIN_MS
    assert len(wire.damping_after(moment)) >= DAMPING_FRAMES and wire.stiff_after_damping(moment) == 0


def test_without_a_robot_it_damps_all_the_same_and_says_so(tmp_path: Path) -> None:
    with WireObserver(NOBODY, tmp_path / "f.npy") as wire:
        done = damp("--robot", "dds", "--domain", NOBODY, "--seconds", 0.1)
        wire.stop()
    assert done.returncode == 1 and "no robot heard" in done.stderr and "mode_machine 5" in done.stderr
    assert len(wire.frames) >= DAMPING_FRAMES


@pytest.mark.parametrize("result", CLEAN)
def test_after_a_run_that_ended_by_itself_it_has_nothing_to_do(result: str) -> None:
    done = damp("--robot", "g1", "--interface", "lo", "--unless-clean", environment={"SERVICE_RESULT": result})
    assert done.returncode == 0 and "nothing to do" in done.stderr


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--robot", "g1"], "--interface"),
        (["--robot", "dds", "--seconds", "0"], "--seconds"),
        (["--robot", "dds", "--seconds", "nan"], "--seconds"),
        (["--robot", "dds", "--robot-file", "booster_t1"], "wire"),
    ],
)
def test_what_makes_no_sense_is_refused(more: list[str], part: str) -> None:
    done = damp(*more)
    assert done.returncode == 2 and part in done.stderr
