"""Damiao's own USB-CAN adapter: 30 bytes out, 16 bytes in, 921600 baud, without any check sum.

A frame in begins with 0xAA and ends with 0x55, and both may also be data: the reader looks for a piece of 16 bytes that
begins and ends right, and on a failure moves on by a single byte. Layout as in ten public repositories, for instance
huggingface/lerobot and enactic's tools; no document of the maker was at hand.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.can_link import EXTENDED, U8, U32, CanFrames

HEAD = bytes.fromhex("55AA1E03010000000A00000000")
OUT_BYTES, IN_BYTES = 30, 16
RECEIVED = 0x11
_TEMPLATE = np.frombuffer(HEAD + bytes(5) + bytes.fromhex("080000") + bytes(9), np.uint8)


class _Side:
    """One side of the adapter: pieces of one size out of a stream; where none begins and ends right it moves by a byte.

    Args:
        size: of a piece that is read.
        begin, end: what it begins and ends with.
    """

    def __init__(self, size: int, begin: bytes, end: bytes) -> None:
        self.bad = 0
        self._size, self._begin, self._end = size, begin, end
        self._waiting = b""

    def opening(self) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def _cut(self, data: bytes) -> list[bytes]:
        data, at, pieces = self._waiting + data, 0, []
        while len(data) - at >= self._size:
            piece = data[at : at + self._size]
            if piece.startswith(self._begin) and piece.endswith(self._end):
                pieces.append(piece)
                at += self._size
                continue
            self.bad += 1
            found = data.find(self._begin[:1], at + 1)
            at = len(data) if found < 0 else found
        self._waiting = data[at:]
        return pieces


class DamiaoLink(_Side):
    """Frames as the adapter packs them; short identifiers only."""

    def __init__(self) -> None:
        super().__init__(IN_BYTES, b"\xaa", b"\x55")

    def pack(self, ids: U32, data: U8) -> bytes:
        out = np.tile(_TEMPLATE, (len(ids), 1))
        out[:, 13], out[:, 14] = ids & 0xFF, ids >> 8 & 0xFF
        out[:, 21:29] = data
        return out.tobytes()

    def feed(self, data: bytes) -> CanFrames:
        whole = self._waiting + data
        if whole and len(whole) % IN_BYTES == 0:  # the usual case at once: whole frames, in step
            table = np.frombuffer(whole, np.uint8).reshape(-1, IN_BYTES)
            if (table[:, 0] == 0xAA).all() and (table[:, 15] == 0x55).all() and (table[:, 6] < 0x80).all():
                self._waiting = b""
                table = table[table[:, 1] == RECEIVED]
                ids = np.ascontiguousarray(table[:, 3:7]).view("<u4").reshape(-1).astype(np.uint32)
                return CanFrames(ids, table[:, 7:15], np.full(len(ids), 8, np.uint8))
        numbered = [(int.from_bytes(piece[3:7], "little"), piece) for piece in self._cut(data)]
        return CanFrames.of([(number, piece[7:15]) for number, piece in numbered
                             if piece[1] == RECEIVED and number < EXTENDED])


class FarDamiaoLink(_Side):
    """The same framing from the adapter's own side: what an emulated one reads and answers."""

    def __init__(self) -> None:
        super().__init__(OUT_BYTES, HEAD, b"")

    def pack(self, ids: U32, data: U8) -> bytes:
        out = np.zeros((len(ids), IN_BYTES), np.uint8)
        out[:, 0], out[:, 1], out[:, 2], out[:, 15] = 0xAA, RECEIVED, 8, 0x55
        out[:, 3:7] = np.ascontiguousarray(ids, "<u4").view(np.uint8).reshape(-1, 4)
        out[:, 7:15] = data
        return out.tobytes()

    def feed(self, data: bytes) -> CanFrames:
        return CanFrames.of([(piece[13] | piece[14] << 8, piece[21:29]) for piece in self._cut(data)])
