"""Inspire's RH56 hands at 115200 baud: EB 90, id, length, read or write, address, data, sum.

Six joints (little, ring, middle, index, thumb bend, thumb turn), each 0 (closed) to 1000 (open); -1 leaves one as it
is. Addresses as several public drivers agree on; no document of the maker was at hand. Answers begin with 90 EB.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from firmware_bridge.drives.language import Exchange

BAUD = 115200
OUT_HEAD, IN_HEAD = b"\xeb\x90", b"\x90\xeb"
READ, WRITE = 0x11, 0x12
JOINTS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_turn")
ANSWER_S = 0.03
_SHORTEST = 8


class Address(IntEnum):
    """Where a hand's values stand."""

    CLEAR_ERROR = 1004
    ANGLE_SET = 1486
    FORCE_SET = 1498
    SPEED_SET = 1522
    ANGLE_ACTUAL = 1546
    FORCE_ACTUAL = 1582
    ERROR = 1606
    STATUS = 1612
    TEMPERATURE = 1618


class Answer(NamedTuple):
    """What a hand said: to which question, and the bytes of it."""

    id: int
    kind: int
    address: int
    data: bytes

    def angles(self) -> tuple[int, ...]:
        """Six shorts, of the addresses that have them."""
        return struct.unpack("<6h", self.data) if len(self.data) == 12 else ()


def make_frame(number: int, kind: int, address: int, data: bytes, head: bytes = OUT_HEAD) -> bytes:
    """A question, a command, or with `IN_HEAD` an answer."""
    body = bytes([number, len(data) + 3, kind]) + address.to_bytes(2, "little") + data
    return head + body + bytes([sum(body) & 0xFF])


def make_read(number: int, address: int, size: int = 12) -> bytes:
    """Asks for bytes."""
    return make_frame(number, READ, address, bytes([size]))


def make_angles(number: int, angles: tuple[int, ...], address: int = Address.ANGLE_SET) -> bytes:
    """Sets six numbers, 0 to 1000 or -1; beyond that is the end of the range."""
    held = [min(max(int(value), -1), 1000) for value in angles]
    return make_frame(number, WRITE, address, struct.pack("<6h", *held))


class FrameStream:
    """Frames out of a stream of bytes; what is none is passed over byte by byte and counted.

    Args:
        head: `IN_HEAD` on the host's side, `OUT_HEAD` on the hand's.
    """

    def __init__(self, head: bytes = IN_HEAD) -> None:
        self.bad = 0
        self._head, self._waiting = head, b""

    def forget(self) -> None:
        """Let go of the beginning of a frame whose end has not come."""
        self.bad += len(self._waiting) > 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[Answer]:
        """The frames that are complete now."""
        data, at, found = self._waiting + data, 0, []
        while len(data) - at >= _SHORTEST:
            length = data[at + 3]
            end = at + 5 + length
            is_frame = data[at : at + 2] == self._head and length >= 3
            if is_frame and len(data) < end:
                break
            whole = data[at:end]
            if not is_frame or sum(whole[2:-1]) & 0xFF != whole[-1]:
                self.bad += 1
                following = data.find(self._head, at + 1)
                at = len(data) - 1 if following < 0 else following
                continue
            found.append(Answer(whole[2], whole[4], int.from_bytes(whole[5:7], "little"), whole[7:-1]))
            at = end
        self._waiting = data[at:]
        return found


def scan(exchange: Exchange, ids: list[int]) -> list[int]:
    """Which hands answer, of some ids."""
    found = []
    for number in ids:
        stream = FrameStream()

        def is_it(data: bytes, number: int = number, stream: FrameStream = stream) -> bool:
            return any(answer.id == number for answer in stream.feed(data))

        if exchange(make_read(number, Address.ANGLE_ACTUAL), is_it, ANSWER_S):
            found.append(number)
    return found
