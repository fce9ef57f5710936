"""A wall clock that can be stepped for one run, without touching the machine's.

Every wall-clock reader of Python (`time.time`, `time_ns`, `clock_gettime` of CLOCK_REALTIME) in the run's processes
adds the offset that a file holds. C libraries still read the machine's own clock.
"""

from __future__ import annotations

import time
from pathlib import Path

SITE = "sitecustomize.py"
OFFSET = "offset_s"


def prepare(folder: Path) -> dict[str, str]:
    """The environment of a run whose clock `step` can move; the folder keeps what it needs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / OFFSET).write_text("0", encoding="ascii")
    (folder / SITE).write_text(
        f"from runtime.campaign.stepped_clock import install\ninstall({str(folder / OFFSET)!r})\n", encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    return {"PYTHONPATH": f"{folder}:{root}"}


def step(folder: Path, seconds: float) -> None:
    """From now on the run's wall clock is so far off."""
    fresh = folder / "fresh"
    fresh.write_text(f"{seconds}", encoding="ascii")
    fresh.replace(folder / OFFSET)


def install(path: str) -> None:
    """Let this process read the stepped clock."""
    real, real_ns = time.clock_gettime, time.clock_gettime_ns

    def offset_s() -> float:
        return float(Path(path).read_text(encoding="ascii"))

    def clock_gettime(clock: int) -> float:
        return real(clock) + (offset_s() if clock == time.CLOCK_REALTIME else 0.0)

    def clock_gettime_ns(clock: int) -> int:
        return real_ns(clock) + (round(offset_s() * 1e9) if clock == time.CLOCK_REALTIME else 0)

    time.clock_gettime, time.clock_gettime_ns = clock_gettime, clock_gettime_ns
    time.time = lambda: clock_gettime(time.CLOCK_REALTIME)
    time.time_ns = lambda: clock_gettime_ns(time.CLOCK_REALTIME)
