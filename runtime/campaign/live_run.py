"""`exoactor run` as a process, for campaigns and tests that watch and harm it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.errors import Refused
from runtime.faults import FAULTS, Mode
from runtime.pilot import Phase
from runtime.records import status_dtype, target_dtype
from runtime.slots import Slot

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path("/dev/shm")
MOTORS = 29


class Disturbed(AssertionError):
    """A run was not as it should have been: waited for in vain, or brought down by something else."""


def has_fifo() -> bool:
    """Whether this process may use SCHED_FIFO, as the gate wants to."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    os.sched_setscheduler(0, policy, parameters)
    return True


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than an unburied one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def await_(true: Callable[[], object], timeout_s: float, what: str, poll_s: float = 0.005) -> None:
    """Until it is true.

    Raises:
        Disturbed: naming what was waited for.
    """
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() >= end:
            raise Disturbed(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(poll_s)


class LiveRun:
    """One `exoactor run`.

    Args:
        out: its folder.
        words: its command line after `run`.
        environment: on top of ours.
        typed: keep its standard input open for `type`; otherwise it is closed.
        prefix: words before the interpreter: what to run it under.

    Attributes:
        pids: every child process seen so far, by name; the newest of a name.
        code: exit code, after `finish`.
        report: `report.json`, after `finish`; empty when there is none.
    """

    def __init__(
        self, out: Path, *words: object, environment: dict[str, str] | None = None, typed: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self._output, self._errors = out / "run.stdout", out / "run.stderr"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "exoactor", "run", *map(str, words), "--out", str(out)],
                cwd=ROOT, stdin=subprocess.PIPE if typed else subprocess.DEVNULL, stdout=output, stderr=errors,
                env={**os.environ, **(environment or {})},
            )
        self._seen: set[int] = set()
        self.pids: dict[str, int] = {}
        self._status: Slot | None = None
        self._target: Slot | None = None
        self.code: int | None = None
        self.report: dict[str, Any] = {}

    def __enter__(self) -> LiveRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.look()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        for pid in self.living():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    @property
    def shared(self) -> list[Path]:
        """The run's folders of shared memory."""
        return list(SHARED.glob(f"exoactor-{self.process.pid}-*"))

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    @property
    def output(self) -> str:
        """What it wrote to standard output."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def look(self) -> None:
        """Bring mode, phase and pids up to date."""
        path = self.out / "processes.json"
        if path.exists():
            with contextlib.suppress(ValueError, FileNotFoundError):
                self.pids.update(json.loads(path.read_text(encoding="utf-8")))
                self._seen.update(self.pids.values())
        if self._status is None:
            for folder in self.shared:
                with contextlib.suppress(OSError, ValueError, Refused):  # made, but not filled yet
                    run = int(folder.name.split("-")[2], 16)
                    self._target = Slot(folder / "target", target_dtype(MOTORS), run)
                    self._status = Slot(folder / "status", status_dtype(MOTORS), run)
        if self._status is not None and self._target is not None:
            self._status.read()
            self._target.read()

    @property
    def mode(self) -> Mode:
        """The gate's, as of the last look."""
        return Mode(int(self._status.record["mode"][0])) if self._status is not None else Mode.DISARMED

    @property
    def cause(self) -> str:
        """What brought the gate to its mode, as of the last look."""
        cause = int(self._status.record["cause"][0]) if self._status is not None else -1
        return FAULTS[cause].flag if cause >= 0 else "an operator"

    @property
    def phase(self) -> Phase:
        """The pilot's, as of the last look."""
        return Phase(int(self._target.record["phase"][0])) if self._target is not None else Phase.WAIT

    def await_tracking(self, phase: Phase = Phase.SETTLE, timeout_s: float = 40.0) -> None:
        """Until the gate tracks and the pilot is at least in this phase."""

        def is_there() -> bool:
            if self.process.poll() is not None:
                raise Disturbed(f"ended early ({self.process.returncode}): {self.output}{self.errors}")
            self.look()
            if self.mode > Mode.TRACK:
                raise Disturbed(f"already {self.mode.name} because of {self.cause}")
            return self.mode is Mode.TRACK and self.phase >= phase

        await_(is_there, timeout_s, f"tracking in {phase.name}", poll_s=0.002)

    def type(self, line: str) -> None:
        """What an operator types, with Enter."""
        if self.process.stdin is None:
            raise Disturbed("its standard input is not held open")
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, name: str, number: signal.Signals) -> int:
        """Send a signal to a child, or to the `supervisor`; returns the moment just before."""
        self.look()
        pid = self.process.pid if name == "supervisor" else self.pids[name]
        moment = time.monotonic_ns()
        os.kill(pid, number)
        return moment

    def finish(self, timeout_s: float = 40.0) -> int:
        """Wait for the end, remembering every process on the way; returns the exit code."""

        def is_over() -> bool:
            self.look()
            return self.process.poll() is not None

        await_(is_over, timeout_s, f"the end of the run (mode {self.mode.name}, phase {self.phase.name})", poll_s=0.02)
        self.code = self.process.returncode
        path = self.out / "report.json"
        if path.exists():
            self.report = json.loads(path.read_text(encoding="utf-8"))
        return self.code

    def living(self) -> list[int]:
        """Children that still run."""
        return [pid for pid in self._seen if is_running(pid)]

    @property
    def flags(self) -> list[str]:
        """Names of the report's faults, first one first."""
        return [fault["flag"] for fault in self.report.get("faults", [])]
