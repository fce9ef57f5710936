"""An independent witness of the command topic: a process of its own that records every LowCmd it sees.

    python -m runtime.campaign.witness DOMAIN FRAMES.npy [INTERFACE]

It prints `ready`, records until its standard input closes, then writes the frames and prints one JSON object. It
commands nobody and shares no code with the gate but the reader. Where a simulator publishes its base, that is kept too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import GO_SPORT_MODE_STATE, HG_LOW_CMD

ROOT = Path(__file__).resolve().parents[2]
TOPIC, TRUTH_TOPIC = "rt/lowcmd", "rt/sportmodestate"
FRAME = np.dtype([
    ("at_ns", "<i8"), ("kp", "<f4"), ("kd", "<f4"), ("q", "<f4"), ("height_m", "<f4"), ("is_sealed", "?"),
])
"""When a frame was seen (monotonic), sums of its gains, largest |q|, the base's height as a simulator last said it (NaN
where none does), whether its CRC is right."""
Frames = npt.NDArray[np.void]
MOST_FRAMES = 500 * 600
PRIORITY = 70
DISCOVERY_EVERY_S = 0.02


def set_priority(policy: int, priority: int) -> None:
    """Of every thread of this process, where permitted."""
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def observe(domain: int, out: Path, interface: str | None = None) -> None:
    """Record until standard input closes."""
    frames, count = np.zeros(MOST_FRAMES, FRAME), 0
    writers: set[str] = set()
    with Participant(DdsSettings(domain, interface), "witness") as us:
        reader = us.reader(TOPIC, HG_LOW_CMD)
        truth = us.reader(TRUTH_TOPIC, GO_SPORT_MODE_STATE)
        position, height = GO_SPORT_MODE_STATE.view(truth.buffer, "position"), float("nan")
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
                if truth.take():
                    height = float(position[2])
                if count < MOST_FRAMES:
                    frames[count] = (now, block[:, 3].sum(), block[:, 4].sum(), np.abs(block[:, 0]).max(), height,
                                     seal.matches())
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
    """The witness seen from outside: `with WireObserver(domain, file) as wire: ...; wire.stop()`.

    Attributes:
        frames: (n,) `FRAME`, after `stop`.
        writers: every writer of the topic that was ever announced meanwhile.
    """

    def __init__(
        self, domain: int, out: Path, interface: str | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self._out = out
        words = [str(domain), str(out), *([interface] if interface else [])]
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "runtime.campaign.witness", *words],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        self.frames = np.zeros(0, FRAME)
        self.writers: list[str] = []
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the witness did not start")

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

    def damping_after(self, moment_ns: int) -> Frames:
        """The valid damping frames from a moment on: no stiffness anywhere, some damping."""
        frames = self.frames
        damps = frames["is_sealed"] & (frames["kp"] == 0) & (frames["kd"] > 0)
        found: Frames = frames[damps & (frames["at_ns"] >= moment_ns)]
        return found

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

    def lowest_m(self, until_ns: int) -> float:
        """The lowest height of the base while it was being moved, until a moment; NaN where no simulator told."""
        frames = self.frames
        heights = frames["height_m"][(frames["at_ns"] <= until_ns) & (frames["kp"] > 0)]
        heights = heights[np.isfinite(heights)]
        return float(heights.min()) if len(heights) else float("nan")

    def longest_silence_ms(self, moment_ns: int) -> float:
        """The longest time without any valid frame that ended after a moment, to the last one."""
        at_ns = self.frames["at_ns"][self.frames["is_sealed"]]
        first = max(int(np.searchsorted(at_ns, moment_ns)) - 1, 0)
        return float(np.diff(at_ns[first:]).max()) * 1e-6 if len(at_ns) - first > 1 else float("inf")

    def longest_gap_ms(self, moment_ns: int) -> float:
        """The longest silence between damping frames after a moment."""
        damping = self.damping_after(moment_ns)
        return float(np.diff(damping["at_ns"]).max()) * 1e-6 if len(damping) > 1 else 0.0


if __name__ == "__main__":
    observe(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
