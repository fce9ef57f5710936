"""CAN in text: the LAWICEL protocol of serial adapters (`slcan`): `tIIILDD..` and a carriage return a frame.

`t` has three hex digits of identifier, `T` eight; then the length and the data. `z`, `Z` or nothing before the return
acknowledges, a bell says no. Opening as hardbyte/python-can `interfaces/slcan.py` @ 5d5cc16 does: C, S8 (1 Mbit/s), O.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.can_link import EXTENDED, MOST_WAITING, U8, U32, CanFrames

_HEX = np.frombuffer(b"".join(b"%02X" % value for value in range(256)), np.uint8).reshape(256, 2)
_NIBBLE = np.full(256, 0xFF, np.uint8)
_NIBBLE[np.frombuffer(b"0123456789ABCDEF", np.uint8)] = np.arange(16)
_NIBBLE[np.frombuffer(b"abcdef", np.uint8)] = np.arange(10, 16)
_WHOLE = 21
"""Characters of a frame with a short identifier and eight data bytes, without its return."""


class SlcanLink:
    """Frames as text."""

    def __init__(self) -> None:
        self.bad = self.refused = 0
        self._waiting = b""

    def opening(self) -> bytes:
        return b"C\rS8\rO\r"

    def closing(self) -> bytes:
        return b"C\r"

    def pack(self, ids: U32, data: U8) -> bytes:
        if (ids & EXTENDED).any():
            return b"".join(self._pack_one(int(number), row.tobytes()) for number, row in zip(ids, data, strict=True))
        out = np.empty((len(ids), _WHOLE + 1), np.uint8)
        out[:, 0], out[:, 4], out[:, _WHOLE] = ord("t"), ord("8"), ord("\r")
        out[:, 1] = _HEX[ids >> 8, 1]
        out[:, 2:4] = _HEX[ids & 0xFF]
        out[:, 5:_WHOLE] = _HEX[data].reshape(len(ids), 16)
        return out.tobytes()

    @staticmethod
    def _pack_one(number: int, data: bytes) -> bytes:
        if number & EXTENDED:
            return b"T%08X%d%s\r" % (number & ~EXTENDED, len(data), data.hex().upper().encode())
        return b"t%03X%d%s\r" % (number, len(data), data.hex().upper().encode())

    def feed(self, data: bytes) -> CanFrames:
        *lines, self._waiting = (self._waiting + data).split(b"\r")
        if len(self._waiting) > MOST_WAITING:
            self._waiting, self.bad = b"", self.bad + 1
        lines = [line for line in lines if line not in (b"", b"z", b"Z")]
        if not lines:
            return CanFrames.none()
        if all(len(line) == _WHOLE and line[0] == 0x74 and line[4] == 0x38 for line in lines):
            return self._read_whole(lines)
        frames = [frame for line in lines if (frame := self._read_one(line)) is not None]
        return CanFrames.of(frames)

    def _read_whole(self, lines: list[bytes]) -> CanFrames:
        """The usual case at once: short identifiers, eight data bytes."""
        digits = _NIBBLE[np.frombuffer(b"".join(lines), np.uint8).reshape(-1, _WHOLE)]
        ids = digits[:, 1:4].astype(np.uint32) @ np.array([256, 16, 1], np.uint32)
        data: U8 = np.left_shift(digits[:, 5::2], 4, dtype=np.uint8) | digits[:, 6::2]
        good = (digits[:, 1:4] < 16).all(axis=1) & (digits[:, 5:] < 16).all(axis=1) & (ids < 0x800)
        if not good.all():
            self.bad += int(np.count_nonzero(~good))
            ids, data = ids[good], data[good]
        return CanFrames(ids, data, np.full(len(ids), 8, np.uint8))

    def _read_one(self, line: bytes) -> tuple[int, bytes] | None:
        while line[:1] == b"\a":  # the adapter's no to something sent before
            self.refused += 1
            line = line[1:]
        if not line or line in (b"z", b"Z"):
            return None
        width = {b"t": 3, b"T": 8}.get(line[:1], 0)
        digits = _NIBBLE[np.frombuffer(line[1:], np.uint8)]
        length = int(digits[width]) if width and len(digits) > width else 99
        number = int(line[1 : 1 + width], 16) if width and len(digits) > width and (digits < 16).all() else 1 << 32
        if length > 8 or len(digits) != width + 1 + 2 * length or number > (0x7FF if width == 3 else 0x1FFFFFFF):
            self.bad += 1
            return None
        body = digits[width + 1 :]
        return number | (EXTENDED if width == 8 else 0), (body[::2] << 4 | body[1::2]).tobytes()
