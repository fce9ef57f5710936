"""What is done to the real processes of a run, one class a kind: how the run is started, and how it is struck."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.campaign import stepped_clock
from runtime.campaign.live_run import LiveRun
from runtime.campaign.resources import Cable, MemoryFence, SmallDisk

POLICY_MS, GATE_MS, WRITER_MS, LINK_MS = 45.0, 1000.0, 45.0, 145.0
"""Longest times to the first damping frame: a policy that is gone; a gate that is; a second writer; a cable."""
FLOOD_BYTES = 100 << 20
PORT = 5571


class Unavailable(Exception):
    """This machine, or this version, does not permit a kind; says why."""


class Setup(ABC):
    """What a run of a kind needs around it; nothing by default.

    Attributes:
        out: the run's folder; domain, interface: where it meets its robot.
    """

    words: tuple[str, ...] = ()
    note = ""

    def __init__(self, folder: Path, domain: int) -> None:
        self.out, self.domain = folder, domain
        self.interface: str | None = None
        self.prefix: list[str] = []
        self.environment: dict[str, str] = {}

    @abstractmethod
    def strike(self, run: LiveRun) -> int:
        """Do it; returns the moment, monotonic ns."""

    def unheard(self, run: LiveRun) -> str:
        """Why the harm was none, by the report of the finished run; "" when it arrived."""
        return ""

    def close(self) -> None:  # noqa: B027  (most kinds put nothing up)
        """Take away what was put up."""


def signals(name: str, number: signal.Signals) -> type[Setup]:
    """A signal to one process of the run."""

    class Signalled(Setup):
        def strike(self, run: LiveRun) -> int:
            return run.signal(name, number)

    return Signalled


class OutOfMemory(Setup):
    """The kernel kills the policy because the run's memory is full; by SIGKILL where no cgroup can be made."""

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        self._fence: MemoryFence | None = None
        try:
            self._fence = MemoryFence(f"exoactor-campaign-{os.getpid()}-{domain}")
            self.prefix, self.note = self._fence.prefix, "killed by the kernel in a memory cgroup"
        except OSError as error:
            self.note = f"SIGKILL in the kernel's place: no memory cgroup ({error})"

    def strike(self, run: LiveRun) -> int:
        run.look()
        return run.signal("policy", signal.SIGKILL) if self._fence is None else self._fence.starve(run.pids["policy"])

    def close(self) -> None:
        if self._fence is not None:
            self._fence.close()


class DiskFull(Setup):
    """The run's disk is full from one moment to the next and stays so; without root its log may grow no further."""

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        self._disk: SmallDisk | None = None
        try:
            self._disk = SmallDisk(folder / "disk")
            self.out, self.note = self._disk.folder / "run", "a full file system"
        except OSError as error:
            self.note = f"the log's size limited by RLIMIT_FSIZE: no mount ({error})"

    def strike(self, run: LiveRun) -> int:
        moment = time.monotonic_ns()
        if self._disk is not None:
            self._disk.fill()
            return moment
        run.look()
        size = (run.out / "log.mcap").stat().st_size
        resource.prlimit(run.pids["telemetry"], resource.RLIMIT_FSIZE, (size, size))
        return moment

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()


class ClockStep(Setup):
    """The wall clock of every process of the run goes an hour ahead; the machine's own is never touched."""

    note = "every Python reader of the wall clock is an hour ahead; C libraries read the machine's clock"

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        self._clock = folder / "clock"
        self.environment = stepped_clock.prepare(self._clock)

    def strike(self, run: LiveRun) -> int:
        moment = time.monotonic_ns()
        stepped_clock.step(self._clock, 3600.0)
        return moment

    def unheard(self, run: LiveRun) -> str:
        alarms = {alarm["flag"] for alarm in run.report.get("alarms", [])}
        return "" if "CLOCK_JUMP" in alarms else "the supervisor raised no CLOCK_JUMP"


class Intruder(Setup):
    """Somebody else announces a writer of the command topic."""

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        self._intruder: subprocess.Popen[str] | None = None

    def strike(self, run: LiveRun) -> int:
        self._intruder = subprocess.Popen([sys.executable, "-m", "runtime.campaign.intruder", str(self.domain)],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._intruder.stdout is not None
        return int(self._intruder.stdout.readline())

    def close(self) -> None:
        if self._intruder is not None:
            self._intruder.communicate()


class CablePulled(Setup):
    """Robot and runtime in network namespaces of their own; the cable between them loses its carrier."""

    note = "two network namespaces; the witness stands at our end"
    words = ("--robot", "dds")

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        try:
            self._cable = Cable(f"exoactor{os.getpid()}-{domain}")
        except OSError as error:
            raise Unavailable(f"no network namespaces: {error}") from error
        self.interface, self.prefix = self._cable.interface, self._cable.inside(self._cable.ours)
        words = ["-m", "exoactor", "sim", "--domain", str(domain), "--interface", self._cable.interface]
        self._sim = subprocess.Popen([*self._cable.inside(self._cable.robot), sys.executable, *words],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def strike(self, run: LiveRun) -> int:
        return self._cable.pull()

    def close(self) -> None:
        self._sim.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._sim.wait(5.0)
        self._sim.kill()
        self._sim.wait()
        self._cable.close()


class Flood(Setup):
    """100 MB of datagrams to the operator's port, as fast as the loopback takes them."""

    words = ("--teleop", "network", "--teleop-bind", f"127.0.0.1:{PORT}")
    note = f"{FLOOD_BYTES >> 20} MiB of random datagrams to the operator's port"

    def __init__(self, folder: Path, domain: int) -> None:
        super().__init__(folder, domain)
        if importlib.util.find_spec("runtime.operator_process") is None:
            raise Unavailable("this version has no operator's process")

    def strike(self, run: LiveRun) -> int:
        moment = time.monotonic_ns()
        datagrams = [os.urandom(1000) for _ in range(64)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as us:
            for i in range(FLOOD_BYTES // 1000):
                with contextlib.suppress(OSError):
                    us.sendto(datagrams[i % 64], ("127.0.0.1", PORT))
        return moment

    def unheard(self, run: LiveRun) -> str:
        counted = set(run.report.get("counted", {}))
        return "" if counted & {"STREAM_MALFORMED", "STREAM_FLOOD"} else "the gate counted no malformed message"


@dataclass(frozen=True)
class Kind:
    """One kind of harm.

    Attributes:
        rows: of the fault table, which it stands for.
        setup: makes what a run of it needs.
        limit_ms: longest time to the first damping frame; None: nothing may happen to the robot at all.
    """

    name: str
    rows: tuple[int, ...]
    setup: Callable[[Path, int], Setup]
    limit_ms: float | None


KINDS: tuple[Kind, ...] = (
    Kind("policy-sigkill", (38,), signals("policy", signal.SIGKILL), POLICY_MS),
    Kind("policy-sigstop", (39,), signals("policy", signal.SIGSTOP), POLICY_MS),
    Kind("policy-oom", (41,), OutOfMemory, POLICY_MS),
    Kind("gate-sigkill", (40,), signals("gate", signal.SIGKILL), GATE_MS),
    Kind("gate-sigstop", (40,), signals("gate", signal.SIGSTOP), GATE_MS),
    Kind("supervisor-sigkill", (), signals("supervisor", signal.SIGKILL), POLICY_MS),
    Kind("second-writer", (48,), Intruder, WRITER_MS),
    Kind("cable", (51,), CablePulled, LINK_MS),
    Kind("telemetry-sigkill", (43,), signals("telemetry", signal.SIGKILL), None),
    Kind("telemetry-sigstop", (44,), signals("telemetry", signal.SIGSTOP), None),
    Kind("disk-full", (43,), DiskFull, None),
    Kind("clock-step", (45,), ClockStep, None),
    Kind("flood", (24,), Flood, None),
)
