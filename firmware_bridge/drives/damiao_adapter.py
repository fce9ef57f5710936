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


class DamiaoLink:
    """Frames as the adapter packs them; short identifiers only."""

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def opening(self) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def pack(self, ids: U32, data: U8) -> bytes:
        out = np.tile(_TEMPLATE, (len(ids), 1))
        out[:, 13], out[:, 14] = ids & 0xFF, ids >> 8 & 0xFF
        out[:, 21:29] = data
        return out.tobytes()

    def feed(self, data: bytes) -> CanFrames:
        data, at, frames = self._waiting + data, 0, []
        if len(data) % IN_BYTES == 0 and data:  # the usual case at once: whole frames, in step
            table = np.frombuffer(data, np.uint8).reshape(-1, IN_BYTES)
            if (table[:, 0] == 0xAA).all() and (table[:, 15] == 0x55).all() and (table[:, 6] < 0x80).all():
                self._waiting = b""
                table = table[table[:, 1] == RECEIVED]
                ids = np.ascontiguousarray(table[:, 3:7]).view("<u4").reshape(-1).astype(np.uint32)
                return CanFrames(ids, table[:, 7:15], np.full(len(ids), 8, np.uint8))
        while len(data) - at >= IN_BYTES:
            if data[at] != 0xAA or data[at + IN_BYTES - 1] != 0x55:
                at = self._next_head(data, at)
                continue
            number = int.from_bytes(data[at + 3 : at + 7], "little")
            if data[at + 1] == RECEIVED and number < EXTENDED:
                frames.append((number, data[at + 7 : at + 15]))
            at += IN_BYTES
        self._waiting = data[at:]
        return CanFrames.of(frames)

    def _next_head(self, data: bytes, at: int) -> int:
        self.bad += 1
        found = data.find(0xAA, at + 1)
        return len(data) if found < 0 else found


class FarDamiaoLink:
    """The same framing from the adapter's own side: what an emulated one reads and answers."""

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def opening(self) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def pack(self, ids: U32, data: U8) -> bytes:
        out = np.zeros((len(ids), IN_BYTES), np.uint8)
        out[:, 0], out[:, 1], out[:, 2], out[:, 15] = 0xAA, RECEIVED, 8, 0x55
        out[:, 3:7] = np.ascontiguousarray(ids, "<u4").view(np.uint8).reshape(-1, 4)
        out[:, 7:15] = data
        return out.tobytes()

    def feed(self, data: bytes) -> CanFrames:
        data, at, frames = self._waiting + data, 0, []
        while len(data) - at >= OUT_BYTES:
            if not data.startswith(HEAD, at):
                self.bad += 1
                found = data.find(HEAD[:1], at + 1)
                at = len(data) if found < 0 else found
                continue
            frames.append((data[at + 13] | data[at + 14] << 8, data[at + 21 : at + 29]))
            at += OUT_BYTES
        self._waiting = data[at:]
        return CanFrames.of(frames)
