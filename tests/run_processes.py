"""What the tests of a run as processes share: words of a run, robots, rivals, and what must be left."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from tests.live_run import ROOT, LiveRun, await_, lacks_for_a_robot
from tests.shared_data import shared_data

DAMPING_FRAMES = 1000
REAL = ("--robot", "g1", "--interface", "lo", "--allow-unsigned")
LACKING = lacks_for_a_robot()
on_a_fit_computer = pytest.mark.skipif(bool(LACKING), reason=f"a robot would be refused here: {LACKING}")


def words(domain: int, *more: object) -> list[object]:
    """A run of the shared tracker on the shared walk."""
    return [
        "--controller", "twist2", "--model", shared_data("policies/twist2_1017_20k.onnx"),
        "--clip", shared_data("motions/twist2_walk_001.npz"), "--domain", domain, *more,
    ]


@contextlib.contextmanager
def helper(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python child that has said `ready`; it is told to end by closing its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def simulated_robot(domain: int, *more: object) -> Iterator[subprocess.Popen[str]]:
    """`exoactor sim`, once it is on the network."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exoactor", "sim", "--domain", str(domain), "--seconds", "60", *map(str, more)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


RIVAL = """
import sys
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD
with Participant(DdsSettings(int(sys.argv[1])), "rival") as us:
    us.writer("rt/lowcmd", HG_LOW_CMD)
    print("ready", flush=True)
    sys.stdin.read()
"""


def assert_nothing_is_left(run: LiveRun) -> None:
    await_(lambda: not run.living(), 10, f"the end of every process, left: {run.living()}", poll_s=0.05)
    assert not (run.out / "processes.json").exists()
    assert not run.shared
