"""CAN in text: the LAWICEL protocol of serial adapters (`slcan`): `tIIILDD..` and a carriage return a frame.

`t` has three hex digits of identifier, `T` eight; then the length and the data. `z`, `Z` or nothing before the return
acknowledges, a bell says no. Opening as hardbyte/python-can `interfaces/slcan.py` @ 5d5cc16 does: C, S8 (1 Mbit/s), O.
"""

from __future__ import annotations

import binascii

import numpy as np

from firmware_bridge.drives.can_link import EXTENDED, MOST_WAITING, U8, U32, CanFrames

_NIBBLE = np.full(256, 0xFF, np.uint8)
_NIBBLE[np.frombuffer(b"0123456789ABCDEF", np.uint8)] = np.arange(16)
_NIBBLE[np.frombuffer(b"abcdef", np.uint8)] = np.arange(10, 16)
_WHOLE, _LONG = 21, 26
"""Characters of a frame with a short, and with a long identifier and eight data bytes, without its return."""
_LONG_DIGITS = np.r_[1:9, 10:26]


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
            return self._pack_long(ids, data)
        digits = binascii.hexlify(data.tobytes()).upper()
        heads = [b"t%03X8" % number for number in ids.tolist()]
        return b"".join([head + digits[at : at + 16] + b"\r" for head, at in zip(heads, range(0, len(digits), 16),
                                                                                strict=True)])

    @staticmethod
    def _pack_long(ids: U32, data: U8) -> bytes:
        """Frames of which some have long identifiers."""
        return b"".join(
            (b"T%08X8%s\r" % (number & ~EXTENDED, text) if number & EXTENDED else b"t%03X8%s\r" % (number, text))
            for number, text in zip(ids.tolist(), (row.tobytes().hex().upper().encode() for row in data), strict=True)
        )

    def feed(self, data: bytes) -> CanFrames:
        if not self._waiting and data[-1:] == b"\r" and (frames := self._read_alike(data)) is not None:
            return frames
        *lines, self._waiting = (self._waiting + data).split(b"\r")
        if len(self._waiting) > MOST_WAITING:
            self._waiting, self.bad = b"", self.bad + 1
        lines = [line for line in lines if line not in (b"", b"z", b"Z")]
        if not lines:
            return CanFrames.none()
        frames = self._read_alike(b"\r".join([*lines, b""]))
        if frames is None:
            frames = CanFrames.of([frame for line in lines if (frame := self._read_one(line)) is not None])
        return frames

    @staticmethod
    def _read_alike(data: bytes) -> CanFrames | None:
        """The usual case at once: whole frames of one kind with eight data bytes; None where anything else is there."""
        width = {b"t": _WHOLE, b"T": _LONG}.get(data[:1], 0) + 1
        lines, rest = divmod(len(data), width)
        if width == 1 or rest:
            return None
        length = 4 if width == _WHOLE + 1 else 9
        if (data[::width], data[length::width], data[width - 1 :: width]) != (
                data[:1] * lines, b"8" * lines, b"\r" * lines):
            return None
        text = np.frombuffer(data, np.uint8).reshape(lines, width)
        digits = text[:, 1:_WHOLE] if width == _WHOLE + 1 else text[:, _LONG_DIGITS]
        try:
            raw = np.frombuffer(binascii.unhexlify(digits.tobytes()), np.uint8).reshape(lines, -1)
        except binascii.Error:
            return None
        words = raw[:, :-8]
        if width == _WHOLE + 1:
            ids = words.view(">u2").reshape(-1).astype(np.uint32) >> np.uint32(4)
            is_good = ids < 0x800
        else:
            ids = words.view(">u4").reshape(-1).astype(np.uint32) | np.uint32(EXTENDED)
            is_good = ids < EXTENDED | 0x20000000
        return CanFrames(ids, raw[:, -8:], np.full(lines, 8, np.uint8)) if is_good.all() else None

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
