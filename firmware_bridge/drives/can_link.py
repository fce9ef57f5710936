"""CAN frames over a byte stream: what an adapter makes of them, whatever the drives behind it speak.

A link packs many frames at once and unpacks whatever has arrived: partial frames wait for their rest, damaged ones are
counted and cost nothing but themselves. Only frames of classic CAN with up to eight data bytes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]

EXTENDED = 1 << 31
"""Marks an identifier of 29 bits."""
MOST_WAITING = 4096
"""Bytes of an unfinished frame and what follows; more means that nobody speaks this protocol there."""


class CanFrames(NamedTuple):
    """Frames in the order of their arrival.

    Attributes:
        ids: (m,) uint32; with `EXTENDED` where they have 29 bits.
        data: (m, 8) uint8, zeros behind the end.
        lengths: (m,) uint8.
    """

    ids: U32
    data: U8
    lengths: U8

    @staticmethod
    def none() -> CanFrames:
        """No frame."""
        return CanFrames(np.zeros(0, np.uint32), np.zeros((0, 8), np.uint8), np.zeros(0, np.uint8))

    @staticmethod
    def of(frames: list[tuple[int, bytes]]) -> CanFrames:
        """From pairs of identifier and data."""
        if not frames:
            return CanFrames.none()
        return CanFrames(
            np.array([number for number, _ in frames], np.uint32),
            np.frombuffer(b"".join(data[:8].ljust(8, b"\0") for _, data in frames), np.uint8).reshape(-1, 8),
            np.array([min(len(data), 8) for _, data in frames], np.uint8),
        )


class CanLink(Protocol):
    """One adapter's framing.

    Attributes:
        bad: pieces that were no frame, counted.
    """

    bad: int

    def pack(self, ids: U32, data: U8) -> bytes:
        """Frames of eight data bytes each, (m,) and (m, 8), as the adapter wants them."""
        ...

    def feed(self, data: bytes) -> CanFrames:
        """The frames that are complete now."""
        ...

    def opening(self) -> bytes:
        """What opens the adapter for 1 Mbit/s; empty where nothing has to."""
        ...

    def closing(self) -> bytes:
        """What closes it."""
        ...
