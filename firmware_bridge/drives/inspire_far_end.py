"""The far end of a port with an RH56 hand: for tests and for people without one."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from firmware_bridge.drives import inspire
from firmware_bridge.drives.inspire import JOINTS, Address, FrameStream

MOTORS, OPEN_COUNTS = len(JOINTS), 1000


class InspireFarEnd:
    """An emulated hand: goes to its angles at a speed, tells errors and temperatures.

    Args:
        number: its id.
        now_s: a clock.

    Attributes:
        counts, goal: (6,) 0 closed to 1000 open; errors, temperature_c: (6,).
    """

    def __init__(self, number: int, now_s: Callable[[], float], counts_per_s: float = 2000.0) -> None:
        self._number, self._now_s, self._speed = number, now_s, counts_per_s
        self._stream = FrameStream(inspire.OUT_HEAD)
        self.counts, self.goal = np.full(MOTORS, float(OPEN_COUNTS)), np.full(MOTORS, float(OPEN_COUNTS))
        self.errors, self.temperature_c = np.zeros(MOTORS, np.uint8), np.full(MOTORS, 30, np.uint8)
        self._last_s = now_s()

    def feed(self, data: bytes) -> bytes:
        """What it answers to some bytes."""
        now_s = self._now_s()
        most, self._last_s = self._speed * (now_s - self._last_s), now_s
        self.counts += np.clip(self.goal - self.counts, -most, most)
        return b"".join(self._answer(frame) for frame in self._stream.feed(data) if frame.id == self._number)

    def _answer(self, frame: inspire.Answer) -> bytes:
        if frame.kind == inspire.WRITE:
            wanted = np.array(frame.angles()) if frame.address == Address.ANGLE_SET else np.zeros(0)
            if len(wanted) == MOTORS:
                self.goal = np.where(wanted < 0, self.goal, wanted).astype(np.float64)
            return inspire.make_frame(self._number, inspire.WRITE, frame.address, b"\x01", inspire.IN_HEAD)
        if frame.address == Address.ANGLE_ACTUAL:
            said = struct.pack("<6h", *(math.floor(count + 0.5) for count in self.counts))
        elif frame.address == Address.ERROR:
            said = self.errors.tobytes() + bytes(MOTORS) + self.temperature_c.tobytes()
        else:
            return b""
        return inspire.make_frame(self._number, inspire.READ, frame.address, said, inspire.IN_HEAD)
