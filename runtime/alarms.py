"""What the supervisor notices about this computer and the run's processes; shown, logged and reported, nothing else.

`Alarms` is pure: readings and a time in, fresh alarms out. `RunWatch` reads them of a run.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.faults import FAULTS, Mode
from runtime.limits import Limits

LOOK_S = 0.25
WINDOW_S = 1.0
_BY_FLAG = {fault.flag: fault for fault in FAULTS if fault.is_alarm}
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass(frozen=True)
class Readings:
    """One look.

    Attributes:
        memory_mib: resident memory of each process, by name.
        log_bytes: size of the log, None while none should grow.
        wall_s: the wall clock.
        ticks: of each loop, by name: how many it has made and how many a second it should; empty while none has to.
    """

    memory_mib: Mapping[str, float] = field(default_factory=dict)
    log_bytes: int | None = None
    wall_s: float = 0.0
    ticks: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Alarm:
    """One rise of an alarm; `detail` says of what."""

    time_s: float
    flag: str
    measured: float
    limit: float
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {**asdict(self), "time_s": round(self.time_s, 3), "measured": round(self.measured, 5)}

    def __str__(self) -> str:
        fault = _BY_FLAG[self.flag]
        return (f"{self.flag}: {fault.meaning}: {self.detail} "
                f"(measured {self.measured:.4g} {fault.unit}, limit {self.limit:g})")


class Alarms:
    """Alarms of one run. One that lasts is told once, and again after it was gone.

    Args:
        limits: of the robot.
        began_s: monotonic; times of alarms count from here.
    """

    def __init__(self, limits: Limits, began_s: float) -> None:
        self._limits, self._began_s = limits, began_s
        self._up: set[tuple[str, str]] = set()
        self._first_mib: dict[str, float] = {}
        self._log: tuple[int, float] | None = None
        self._offset_s: float | None = None
        self._history: deque[tuple[float, Mapping[str, tuple[int, float]]]] = deque()

    def look(self, now_s: float, readings: Readings) -> list[Alarm]:
        """What is newly wrong."""
        found = [*self._memory(readings), *self._disk(now_s, readings), *self._clock(now_s, readings),
                 *self._starvation(now_s, readings)]
        up = {(flag, detail) for flag, _, _, detail in found}
        fresh = [Alarm(now_s - self._began_s, flag, measured, limit, detail)
                 for flag, measured, limit, detail in found if (flag, detail) not in self._up]
        self._up = up
        return fresh

    def _memory(self, readings: Readings) -> list[tuple[str, float, float, str]]:
        limit, found = self._limits.growth_mib, []
        for name, mib in readings.memory_mib.items():
            grown = mib - self._first_mib.setdefault(name, mib)
            if grown > limit:
                found.append(("RESOURCE_LEAK", grown, limit, name))
        return found

    def _disk(self, now_s: float, readings: Readings) -> list[tuple[str, float, float, str]]:
        size, limit = readings.log_bytes, self._limits.log_silent_s
        if size is None:
            self._log = None
            return []
        if self._log is None or size != self._log[0]:
            self._log = (size, now_s)
        silent = now_s - self._log[1]
        return [("DISK_FULL", silent, limit, "log.mcap")] if silent > limit else []

    def _clock(self, now_s: float, readings: Readings) -> list[tuple[str, float, float, str]]:
        offset, limit = readings.wall_s - now_s, self._limits.clock_jump_s
        jump = 0.0 if self._offset_s is None else offset - self._offset_s
        self._offset_s = offset
        return [("CLOCK_JUMP", jump, limit, f"by {jump:+.1f} s")] if abs(jump) > limit else []

    def _starvation(self, now_s: float, readings: Readings) -> list[tuple[str, float, float, str]]:
        history = self._history
        history.append((now_s, readings.ticks))
        while len(history) > 1 and now_s - history[1][0] >= WINDOW_S:
            history.popleft()
        then_s, before = history[0]
        window_s = now_s - then_s
        if window_s < WINDOW_S:
            return []
        found, limit = [], self._limits.late_ratio
        for name, (ticks, rate_hz) in readings.ticks.items():
            if any(name not in seen for _, seen in history):
                continue  # it has not run for a whole second
            missing = 1 - (ticks - before[name][0]) / (rate_hz * window_s)
            if missing > limit:
                found.append(("CPU_STARVED", missing, limit, name))
        return found


def memory_mib(pid: int) -> float | None:
    """Resident memory of a process, None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_MIB
    except (OSError, IndexError):
        return None


class RunWatch:
    """Reads a run's processes, at most every `LOOK_S`.

    Args:
        limits: of the robot.
        log: the file that telemetry writes.
        rates_hz: how often a second each loop should tick, by name.
    """

    def __init__(self, limits: Limits, log: Path, rates_hz: Mapping[str, float]) -> None:
        self._limits, self._log, self._rates_hz = limits, log, rates_hz
        self.begin()

    def begin(self) -> None:
        """Times of alarms count from now."""
        self._next_s = began_s = time.monotonic()
        self._alarms = Alarms(self._limits, began_s)

    def look(self, pids: Mapping[str, int], ticks: Mapping[str, int], mode: Mode) -> list[Alarm]:
        """What is newly wrong; `pids` of what lives, `ticks` that each loop has made."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return []
        self._next_s = now_s + LOOK_S
        drives = Mode.READY <= mode < Mode.DAMP
        memory = {name: mib for name, pid in pids.items() if (mib := memory_mib(pid)) is not None}
        counted = {name: (count, self._rates_hz[name]) for name, count in ticks.items()} if drives else {}
        readings = Readings(memory, self._log_bytes() if "gate" in pids else None, time.time(), counted)
        return self._alarms.look(now_s, readings)

    def _log_bytes(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0
