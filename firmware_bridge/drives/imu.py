"""What an IMU on a serial line is to whoever reads it, whatever it speaks."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from firmware_bridge.drives.language import F64, Exchange


class ImuState:
    """What it said last, in its own axes.

    Attributes:
        values: (10,) float64: orientation in a world whose z points up (w, x, y, z, unit), turn rates rad/s, specific
            force m/s^2 (+g along up at rest).
        heard_ns: when; 0 for never.
        readings: counted.
    """

    def __init__(self) -> None:
        self.values: F64 = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81])
        self.heard_ns = 0
        self.readings = 0

    def note(self, values: F64, now_ns: int, count: int = 1) -> None:
        """The newest of some readings."""
        self.values[:] = values
        self.heard_ns = now_ns
        self.readings += count


class ImuLanguage(Protocol):
    """One IMU's protocol.

    Attributes:
        state: what it said last.
        baud: of the port.
    """

    state: ImuState
    baud: int

    @property
    def bad(self) -> int:
        """Pieces of bytes that were none, and readings that cannot be, counted."""
        ...

    def connect(self, exchange: Exchange) -> list[str]:
        """Have it send what is needed; what must not be: lines for a refusal."""
        ...

    def hear(self, data: bytes, now_ns: int) -> int:
        """Take what has arrived into `state`; returns how many readings it held."""
        ...
