"""Wake-up jitter of our loop beside `cyclictest` in the same window, one core each.

Only the ratio means something on a shared machine: the hypervisor's own stalls show in both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np

from runtime.realtime import Metronome, freeze_garbage, go_real_time

RATE_HZ = 500
PRIORITY = 80


def measure_jitter(seconds: float = 8.0) -> dict[str, float | None]:
    """p50, p99, p99.9 and maximum lateness in us of both, and ours / cyclictest's at p99 (None without it)."""
    cores = sorted(os.sched_getaffinity(0))
    reference = _start_cyclictest(seconds, cores[0])
    ours = subprocess.run(
        [sys.executable, "-m", "runtime.jitter_bench", str(seconds), str(len(cores) - 1)],
        stdout=subprocess.PIPE, text=True, check=True,
    )
    result: dict[str, float | None] = {f"jitter_{key}": value for key, value in json.loads(ours.stdout).items()}
    result["jitter_p99_ratio"] = None
    if reference is not None:
        text, _ = reference.communicate()
        for key, value in _cyclictest_percentiles(text).items():
            result[f"cyclictest_{key}"] = value
        theirs, mine = result.get("cyclictest_p99_us"), result["jitter_p99_us"]
        if theirs and mine is not None:
            result["jitter_p99_ratio"] = mine / theirs
    return result


def _start_cyclictest(seconds: float, core: int) -> subprocess.Popen[str] | None:
    program = shutil.which("cyclictest") or shutil.which("cyclictest", path="/usr/sbin:/usr/bin")
    if program is None:
        return None
    loops = int(seconds * RATE_HZ)
    return subprocess.Popen(
        [program, "-q", "-m", "-p", str(PRIORITY), "-i", str(1_000_000 // RATE_HZ), "-a", str(core), "-t", "1",
         "-l", str(loops), "-h", "50000"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )


def _cyclictest_percentiles(text: str) -> dict[str, float]:
    counts: list[tuple[int, int]] = []
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[0].isdigit() and parts[1].isdigit():
            counts.append((int(parts[0]), int(parts[1])))
    if not counts:
        return {}
    values = np.repeat([us for us, _ in counts], [count for _, count in counts])
    return _percentiles(values) if len(values) else {}


def _percentiles(values_us: np.ndarray) -> dict[str, float]:
    p50, p99, p999, top = np.percentile(values_us, [50, 99, 99.9, 100])
    return {"p50_us": float(p50), "p99_us": float(p99), "p99_9_us": float(p999), "max_us": float(top)}


def _loop(seconds: float, core: int) -> None:
    for line in go_real_time(PRIORITY, core):
        print(f"WARNING: jitter measured without {line}", file=sys.stderr)
    late = np.zeros(int(seconds * RATE_HZ))
    freeze_garbage()
    metronome = Metronome(1_000_000_000 // RATE_HZ)
    time.sleep(0.01)
    for i in range(len(late)):
        metronome.wait()
        late[i] = metronome.late_ns
    print(json.dumps(_percentiles(late[10:] / 1000)))


if __name__ == "__main__":
    _loop(float(sys.argv[1]), int(sys.argv[2]))
