"""Xsens MTi: the Xbus protocol with MTData2, as its whole family (MTi-1, MTi-300, MTi-600 series) sends it.

A message is FA FF, kind, length, data, and a byte that makes the sum from FF on zero. MTData2 holds items: identifier
u16, length u8, value, all big-endian. Layout and recorded packets: Scottapotamas/xsens-mti `docs/mtmanager_packets.md`
@ 9c039b0. What it sends is what it was configured to send, so an identifier says unit, number format and frame:
quaternion 0x20 1x (w first), acceleration 0x40 2x (specific force; 0x40 3x has gravity taken out), rate of turn 0x80 2x
(rad/s). The low digit: 0 float32, 3 float64; plus 0 for a world east-north-up, 4 north-east-down, 8 north-west-up.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.language import F64

U8 = npt.NDArray[np.uint8]
HEAD = b"\xfa\xff"
LONG = 0xFF
"""A length that says: two more bytes hold it."""
MOST_DATA = 512
"""More is a damaged length: what is wanted has 65, and a damaged one may not cost many messages."""


class Kind(IntEnum):
    """What a message is."""

    GO_TO_MEASUREMENT = 0x10
    GO_TO_MEASUREMENT_ACK = 0x11
    GO_TO_CONFIG = 0x30
    GO_TO_CONFIG_ACK = 0x31
    DATA = 0x36
    ERROR = 0x42
    SET_OUTPUT = 0xC0
    SET_OUTPUT_ACK = 0xC1


class Item(IntEnum):
    """Identifiers of what is taken, as float32 in a world east-north-up."""

    PACKET_COUNTER = 0x1020
    QUATERNION = 0x2010
    ACCELERATION = 0x4020
    RATE_OF_TURN = 0x8020
    STATUS = 0xE020


EVERY = 0xFFFF
"""As a rate: with every message."""
_NUMBERS = {0: ">f4", 3: ">f8"}
_DOWN = 4
UNIT = 0.05
"""How far a quaternion's norm may be from one."""
_WANTED = ((Item.QUATERNION, 4), (Item.RATE_OF_TURN, 3), (Item.ACCELERATION, 3))


def make_message(kind: int, data: bytes = b"") -> bytes:
    """A whole message."""
    length = bytes([len(data)]) if len(data) < LONG else bytes([LONG]) + len(data).to_bytes(2, "big")
    body = HEAD[1:] + bytes([kind]) + length + data
    return HEAD[:1] + body + bytes([-sum(body) & 0xFF])


def make_output(rates: dict[int, int]) -> bytes:
    """What the configuration of output holds: identifiers with their rates, Hz."""
    return b"".join(item.to_bytes(2, "big") + rate.to_bytes(2, "big") for item, rate in rates.items())


def read_output(data: bytes) -> dict[int, int]:
    """The inverse."""
    return {int(item): int(rate) for item, rate in np.frombuffer(data[: len(data) // 4 * 4], ">u2").reshape(-1, 2)}


def make_data(values: F64, counter: int) -> bytes:
    """An MTData2 message as the configuration of `XsensImu` asks for it; values as `ImuState` has them."""
    parts = [(Item.PACKET_COUNTER, (counter & 0xFFFF).to_bytes(2, "big"))]
    parts += [(item, part.astype(">f4").tobytes())
              for item, part in ((Item.QUATERNION, values[:4]), (Item.ACCELERATION, values[7:10]),
                                 (Item.RATE_OF_TURN, values[4:7]))]
    parts.append((Item.STATUS, (3).to_bytes(4, "big")))
    return make_message(Kind.DATA, b"".join(item.to_bytes(2, "big") + bytes([len(part)]) + part
                                            for item, part in parts))


class Message(NamedTuple):
    """A message whose sum is right."""

    kind: int
    data: bytes


class MessageStream:
    """Messages out of a stream of bytes.

    Attributes:
        bad: heads behind which no message was, counted.
    """

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now; a damaged one costs no more than itself."""
        data, at, found = self._waiting + data, 0, []
        while (at := data.find(HEAD, at)) >= 0:
            if len(data) - at < 5:
                break
            is_long = data[at + 3] == LONG
            begin = at + (6 if is_long else 4)
            length = int.from_bytes(data[at + 4 : at + 6], "big") if is_long else data[at + 3]
            end = begin + length
            if length <= MOST_DATA and len(data) <= end:
                break
            if length > MOST_DATA or sum(data[at + 1 : end + 1]) & 0xFF:
                self.bad, at = self.bad + 1, at + 1
                continue
            found.append(Message(data[at + 2], data[begin:end]))
            at = end + 1
        self._waiting = data[at:] if at >= 0 else data[-1:] if data[-1:] == HEAD[:1] else b""
        return found


class DataLayout:
    """Where the three parts of an IMU's reading stand in MTData2 of one length.

    Attributes:
        problems: what is missing or of no use; empty when it can be read.
    """

    def __init__(self, data: bytes) -> None:
        self._fixed: list[tuple[int, bytes]] = []
        self._parts: list[tuple[int, str]] = []
        self._forms: list[tuple[int, struct.Struct]] = []
        found: dict[int, tuple[int, int, int]] = {}
        at = 0
        while at + 3 <= len(data) and at + 3 + data[at + 2] <= len(data):
            item, size = int.from_bytes(data[at : at + 2], "big"), data[at + 2]
            self._fixed.append((at, data[at : at + 3]))
            found[item & 0xFFF0] = (item & 0xF, at + 3, size)
            at += 3 + size
        self.problems = [] if at == len(data) else ["items that do not fill the message"]
        for wanted, numbers in _WANTED:
            format_, begin, size = found.get(wanted, (0, 0, 0))
            dtype = _NUMBERS.get(format_ & 3, "")
            if not dtype or size != numbers * np.dtype(dtype).itemsize:
                self.problems.append(f"no {wanted.name} as floats")
            elif wanted is Item.QUATERNION and format_ & 0xC == _DOWN:
                self.problems.append("a world north-east-down, whose z points down")
            self._parts.append((begin, f"({numbers},){dtype}"))
            self._forms.append((begin, struct.Struct(f">{numbers}{'d' if dtype == '>f8' else 'f'}")))

    def read_one(self, data: bytes) -> F64 | None:
        """The same of one message, several times faster than an array of one; None where `read` leaves it out."""
        for at, fixed in self._fixed:
            if data[at : at + 3] != fixed:
                return None
        values = [number for at, form in self._forms for number in form.unpack_from(data, at)]
        w, x, y, z = values[:4]
        norm = math.hypot(w, x, y, z)
        if not abs(norm - 1) < UNIT or not math.isfinite(sum(values)):
            return None
        out: F64 = np.array(values)
        out[:4] /= norm
        return out

    def read(self, data: U8) -> F64:
        """Readings out of (n, length) bytes: (m, 10) as `ImuState.values`.

        Rows of another layout, with a number that is not finite or without a unit quaternion are left out.
        """
        same = np.ones(len(data), np.bool_)
        for at, fixed in self._fixed:
            same &= (data[:, at : at + 3] == np.frombuffer(fixed, np.uint8)).all(axis=1)
        columns = [np.ascontiguousarray(data[:, at : at + np.dtype(dtype).itemsize]).view(np.dtype(dtype).base)
                   for at, dtype in self._parts]
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.concatenate(columns, axis=1).astype(np.float64)
            norm = np.linalg.norm(values[:, :4], axis=1)
            good = same & np.isfinite(values).all(axis=1) & (np.abs(norm - 1) < UNIT)
        out: F64 = values[good]
        out[:, :4] /= norm[good, None]
        return out
