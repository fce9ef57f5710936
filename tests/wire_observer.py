"""An independent witness of the command topic: a process of its own that records every LowCmd it sees.

    python -m tests.wire_observer DOMAIN FRAMES.npy

It prints `ready`, records until its standard input closes, then writes the frames and prints one JSON object. It
commands nobody and shares no code with the gate but the reader.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD

ROOT = Path(__file__).resolve().parents[1]
TOPIC = "rt/lowcmd"
FRAME = np.dtype([("at_ns", "<i8"), ("kp", "<f4"), ("kd", "<f4"), ("q", "<f4"), ("is_sealed", "?")])
"""When a frame was seen (monotonic), sums of its gains, largest |q|, whether its CRC is right."""
MOST_FRAMES = 500 * 600
PRIORITY = 70
DISCOVERY_EVERY_S = 0.02


def set_priority(policy: int, priority: int) -> None:
    """Of every thread of this process, where permitted."""
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def observe(domain: int, out: Path) -> None:
    """Record until standard input closes."""
    frames, count, writers = np.zeros(MOST_FRAMES, FRAME), 0, set()
    with Participant(DdsSettings(domain), "witness") as us:
        reader = us.reader(TOPIC, HG_LOW_CMD)
        block = HG_LOW_CMD.block(reader.buffer, "motor_cmd", "q", "kd")
        seal = HG_LOW_CMD.seal(reader.buffer)
        # A witness that is late would blame the gate; one that starts or ends in haste would hold up the policy.
        set_priority(os.SCHED_FIFO, PRIORITY)
        print("ready", flush=True)
        looked = 0.0
        while True:
            reader.wait(DISCOVERY_EVERY_S)
            while reader.take():
                now = time.monotonic_ns()
                if count < MOST_FRAMES:
                    frames[count] = now, block[:, 3].sum(), block[:, 4].sum(), np.abs(block[:, 0]).max(), seal.matches()
                    count += 1
            now_s = time.monotonic()
            if now_s - looked > DISCOVERY_EVERY_S:
                looked = now_s
                writers.update(us.foreign_writers(TOPIC))
                if select.select([sys.stdin], [], [], 0)[0]:
                    break
        set_priority(os.SCHED_OTHER, 0)
    np.save(out, frames[:count])
    print(json.dumps({"frames": count, "writers": sorted(writers)}), flush=True)


class WireObserver:
    """The witness seen from the test: `with WireObserver(domain, file) as wire: ...; wire.stop()`.

    Attributes:
        frames: (n,) `FRAME`, after `stop`.
        writers: every writer of the topic that was ever announced meanwhile.
    """

    def __init__(self, domain: int, out: Path) -> None:
        self._out = out
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.wire_observer", str(domain), str(out)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.frames = np.zeros(0, FRAME)
        self.writers: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> WireObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """End the recording and read it."""
        answer, _ = self._process.communicate(timeout=20)
        self.writers = json.loads(answer)["writers"]
        self.frames = np.load(self._out)

    def damping_after(self, moment_ns: int) -> np.ndarray:
        """The valid damping frames from a moment on: no stiffness anywhere, some damping."""
        frames = self.frames
        damps = frames["is_sealed"] & (frames["kp"] == 0) & (frames["kd"] > 0)
        return frames[damps & (frames["at_ns"] >= moment_ns)]

    def delay_ms(self, moment_ns: int) -> float:
        """From a moment to the first damping frame; infinite when there is none."""
        damping = self.damping_after(moment_ns)
        return float(damping["at_ns"][0] - moment_ns) * 1e-6 if len(damping) else float("inf")

    def stiff_after_damping(self, moment_ns: int) -> int:
        """How many frames with stiffness followed the first damping frame after a moment: must be none."""
        damping = self.damping_after(moment_ns)
        if not len(damping):
            return 0
        return int((self.frames["kp"][self.frames["at_ns"] >= damping["at_ns"][0]] != 0).sum())

    def longest_gap_ms(self, moment_ns: int) -> float:
        """The longest silence between damping frames after a moment."""
        damping = self.damping_after(moment_ns)
        return float(np.diff(damping["at_ns"]).max()) * 1e-6 if len(damping) > 1 else 0.0


if __name__ == "__main__":
    observe(int(sys.argv[1]), Path(sys.argv[2]))
