"""Feetech's STS and SCS servos: FF FF, id, length, instruction, parameters, inverted sum.

STS counts little endian and marks a sign by a value's highest bit; SCS counts big endian. Register numbers as in
huggingface/lerobot `motors/feetech/tables.py` @ 7427f31, from Feetech's memory tables.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

HEAD = b"\xff\xff"
BROADCAST = 0xFE
_SHORTEST = 6


class Instruction(IntEnum):
    """What a packet asks for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


MODEL_NUMBER, ID, RETURN_DELAY, STATUS_LEVEL, MIN_POSITION, OPERATING_MODE = 3, 5, 7, 8, 9, 33
TORQUE_ENABLE, ACCELERATION, GOAL_POSITION, TORQUE_LIMIT, LOCK = 40, 41, 42, 48, 55
PRESENT_POSITION, PRESENT_TEMPERATURE = 56, 63
POSITION_SIGN_BIT, HOMING_SIGN_BIT, LOAD_SIGN_BIT = 15, 11, 10


class Packet(NamedTuple):
    """One packet; `code` is the instruction, in an answer the error."""

    id: int
    code: int
    parameters: bytes


def make_packet(number: int, code: int, parameters: bytes = b"") -> bytes:
    """A packet to a servo, or with an error for a code what it answers."""
    body = bytes([number, len(parameters) + 2, code]) + parameters
    return HEAD + body + bytes([~sum(body) & 0xFF])


def make_read(number: int, address: int, size: int) -> bytes:
    """Asks one servo."""
    return make_packet(number, Instruction.READ, bytes([address, size]))


def make_sync_read(ids: list[int], address: int, size: int) -> bytes:
    """Asks many servos; each answers by itself, in this order."""
    return make_packet(BROADCAST, Instruction.SYNC_READ, bytes([address, size, *ids]))


def make_sync_write(ids: list[int], address: int, rows: list[bytes]) -> bytes:
    """Tells many servos; nobody answers."""
    body = b"".join(bytes([number]) + row for number, row in zip(ids, rows, strict=True))
    return make_packet(BROADCAST, Instruction.SYNC_WRITE, bytes([address, len(rows[0])]) + body)


def to_signed(value: int, sign_bit: int) -> int:
    """A number whose highest bit is its sign."""
    magnitude = value & (1 << sign_bit) - 1
    return -magnitude if value >> sign_bit & 1 else magnitude


def from_signed(value: int, sign_bit: int) -> int:
    """The inverse; beyond what fits is the end of the range, never another sign."""
    magnitude = min(abs(value), (1 << sign_bit) - 1)
    return magnitude | (1 << sign_bit if value < 0 else 0)


class PacketStream:
    """Packets out of a stream of bytes; what is none is passed over byte by byte and counted."""

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def forget(self) -> None:
        """Let go of the beginning of a packet whose end has not come."""
        self.bad += len(self._waiting) > 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are complete now."""
        data, at, found = self._waiting + data, 0, []
        while len(data) - at >= _SHORTEST:
            length = data[at + 3]
            end = at + 4 + length
            if data[at : at + 2] == HEAD and data[at + 2] != 0xFF and length >= 2 and len(data) < end:
                break
            whole = data[at:end]
            is_packet = data[at : at + 2] == HEAD and data[at + 2] != 0xFF and length >= 2
            if not is_packet or ~sum(whole[2:-1]) & 0xFF != whole[-1]:
                self.bad += 1
                following = data.find(HEAD, at + 1)
                at = len(data) - 1 if following < 0 else following
                continue
            found.append(Packet(whole[2], whole[4], whole[5:-1]))
            at = end
        self._waiting = data[at:]
        return found
