"""What can go wrong with a serial line and with the drives at its far end: knobs around any far end.

A line in between damages bytes on their way there or back, or holds them up (what comes behind waits too, as bytes keep
their order). Drives die, or lose their power for a while and come back as new. A port that is pulled and plugged again
is `EmulatedPort`'s; drives with a wrong id are a far end made of other `Drive`s than the host's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from firmware_bridge.drives.protocols import FarEnd
from firmware_bridge.emulated_drives import EmulatedMotors


@dataclass
class Damage:
    """What becomes of bytes one way.

    Attributes:
        lost, corrupted, duplicated: shares of all bytes; a corrupted one has one bit turned.
        late: share of pieces of bytes that are held up, each for `late_s`.
    """

    lost: float = 0.0
    corrupted: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0
    late_s: float = 0.0

    def apply(self, data: bytes, random: np.random.Generator) -> bytes:
        """Bytes as they arrive."""
        if not data or not (self.lost or self.corrupted or self.duplicated):
            return data
        raw = np.frombuffer(data, np.uint8).copy()
        hurt = random.random(len(raw)) < self.corrupted
        raw[hurt] ^= np.uint8(1) << random.integers(0, 8, int(hurt.sum()), np.uint8)
        times = np.ones(len(raw), np.int64)
        times[random.random(len(raw)) < self.duplicated] = 2
        times[random.random(len(raw)) < self.lost] = 0
        return np.repeat(raw, times).tobytes()


class EmulatedLine:
    """A far end that a bad line leads to; itself a far end.

    Args:
        far_end: what is there; may be replaced at any time.
        motors: the physics of its drives, whose clock counts here; `rows` says which of them are on this line.

    Attributes:
        there, back: what becomes of bytes to the drives, and of their answers.
        sent, heard: bytes that were handed in, and that came out at the host's end, counted.
    """

    def __init__(self, far_end: FarEnd, motors: EmulatedMotors, rows: list[int], seed: int = 0) -> None:
        self.far_end, self._motors, self._rows = far_end, motors, np.array(rows, np.intp)
        self.there, self.back = Damage(), Damage()
        self.sent = self.heard = 0
        self._random = np.random.default_rng(seed)
        self._held: deque[tuple[float, bytes]] = deque()
        self._away_until_s = 0.0

    def feed(self, data: bytes) -> bytes:
        """What comes back now, of these bytes and of earlier ones."""
        self.sent += len(data)
        self._come_back()
        self._hold(self.far_end.feed(self.there.apply(data, self._random)))
        return self._due()

    def tick(self) -> bytes:
        """What comes back by itself, or was held up until now."""
        self._come_back()
        speaks = getattr(self.far_end, "tick", None)
        if speaks is not None:
            self._hold(speaks())
        return self._due()

    def _hold(self, answer: bytes) -> None:
        if answer:
            back = self.back
            is_late = back.late > 0 and self._random.random() < back.late
            due_s = self._motors.now_s + (back.late_s if is_late else 0.0)
            self._held.append((max(due_s, self._held[-1][0] if self._held else 0.0), answer))

    def _due(self) -> bytes:
        out = b""
        while self._held and self._held[0][0] <= self._motors.now_s:
            out += self.back.apply(self._held.popleft()[1], self._random)
        self.heard += len(out)
        return out

    def brown_out(self, away_s: float = 0.0) -> None:
        """All drives lose their power, say nothing for so long, and come back as they start: no torque, no watchdog."""
        motors, rows = self._motors, self._rows
        motors.is_enabled[rows], motors.watchdog_s[rows], motors.target[rows] = False, 0, 0
        starts = getattr(self.far_end, "brown_out", None)
        if starts is not None:
            starts()
        if away_s > 0:
            motors.is_dead[rows] = True
            self._away_until_s = motors.now_s + away_s

    def _come_back(self) -> None:
        if self._away_until_s and self._motors.now_s >= self._away_until_s:
            self._motors.is_dead[self._rows], self._away_until_s = False, 0.0
