"""Flags with the value that was measured behind each; what every check writes into."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.fault_table import BIT, FLAGS, PLACE


class Findings:
    """What the checks of one gate have found.

    Attributes:
        measured: (flags,) float32, the value behind each flag, kept from when it was last set.
    """

    def __init__(self) -> None:
        self.measured: npt.NDArray[np.float32] = np.zeros(len(FLAGS), np.float32)

    def note(self, flag: str, measured: float = 0.0) -> int:
        """The bit of a flag that is up, its measured value kept."""
        self.measured[PLACE[flag]] = measured
        return BIT[flag]


class Level:
    """A flag with hysteresis: up from `limit` on, down again only beyond `clears_at`.

    Args:
        sign: 1 where larger is worse, -1 where smaller is.
    """

    def __init__(self, flag: str, limit: float, clears_at: float | None = None, sign: int = 1) -> None:
        self._flag, self._sign = flag, sign
        self._limit = sign * limit
        self._clear = sign * (limit if clears_at is None else clears_at)
        self._is_up = False

    def look(self, value: float, findings: Findings) -> int:
        """The flag's bit, or 0."""
        self._is_up = self._sign * value >= (self._clear if self._is_up else self._limit)
        return findings.note(self._flag, value) if self._is_up else 0
