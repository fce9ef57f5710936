"""Dynamixel protocol 2.0: packets with byte stuffing and CRC, registers read and written one by one or all at once.

Layout from ROBOTIS's e-manual and ROBOTIS-GIT/DynamixelSDK @ 2ded684: FF FF FD 00, id, length, instruction, parameters,
CRC; an FF FF FD among the parameters is followed by one more FD. Register numbers are those of the X series.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from firmware_bridge.drives.crc16 import buypass

HEAD = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
_STUFFED, _PLAIN = b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"
_SHORTEST = 10
MOST_BYTES = 1024


class Instruction(IntEnum):
    """What a packet asks for."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93


@dataclass(frozen=True)
class Register:
    """Where a value stands, and how many bytes it has."""

    address: int
    size: int


MODEL_NUMBER = Register(0, 2)
RETURN_DELAY = Register(9, 1)
"""In 2 us; a new servo waits 500 us before it answers."""
DRIVE_MODE = Register(10, 1)
"""Bit 0 turns the direction round, bit 2 makes the profile a time."""
OPERATING_MODE = Register(11, 1)
CURRENT_LIMIT = Register(38, 2)
TORQUE_ENABLE = Register(64, 1)
STATUS_RETURN = Register(68, 1)
HARDWARE_ERROR = Register(70, 1)
GAIN_D, GAIN_I, GAIN_P = Register(80, 2), Register(82, 2), Register(84, 2)
WATCHDOG = Register(98, 1)
"""In 20 ms, 0 off; -1 (255) says that it has struck."""
GOAL_CURRENT = Register(102, 2)
GOAL_POSITION = Register(116, 4)
PRESENT_CURRENT, PRESENT_VELOCITY, PRESENT_POSITION = Register(126, 2), Register(128, 4), Register(132, 4)
PRESENT_TEMPERATURE = Register(146, 1)
INDIRECT_ADDRESS = 168
"""Of the first of the two-byte slots that say what stands in the bytes of indirect data."""


class Packet(NamedTuple):
    """One packet as it was meant; `error` is that of a status packet, 0 otherwise."""

    id: int
    instruction: int
    error: int
    parameters: bytes


def make_packet(number: int, instruction: int, parameters: bytes = b"") -> bytes:
    """A packet to a servo."""
    body = bytes([instruction]) + parameters
    body = body.replace(_PLAIN, _STUFFED)
    packet = HEAD + bytes([number]) + (len(body) + 2).to_bytes(2, "little") + body
    return packet + buypass(packet).to_bytes(2, "little")


def make_status(number: int, error: int, parameters: bytes = b"") -> bytes:
    """What a servo answers."""
    return make_packet(number, Instruction.STATUS, bytes([error]) + parameters)


def make_read(number: int, register: Register) -> bytes:
    """Asks one servo."""
    where = register.address.to_bytes(2, "little") + register.size.to_bytes(2, "little")
    return make_packet(number, Instruction.READ, where)


def make_write(number: int, register: Register, value: int) -> bytes:
    """Tells one servo."""
    return make_packet(number, Instruction.WRITE,
                       register.address.to_bytes(2, "little") + _value(value, register.size))


def make_sync_read(ids: list[int], address: int, size: int, code: Instruction = Instruction.SYNC_READ) -> bytes:
    """Asks many servos for the same registers; each answers by itself, in this order, or all in one packet."""
    where = address.to_bytes(2, "little") + size.to_bytes(2, "little")
    return make_packet(BROADCAST, code, where + bytes(ids))


def make_sync_write(ids: list[int], register: Register, values: list[int]) -> bytes:
    """Tells many servos the same register; nobody answers."""
    rows = b"".join(bytes([number]) + _value(value, register.size) for number, value in zip(ids, values, strict=True))
    return make_sync_rows(register.address, register.size, rows)


def make_sync_rows(address: int, size: int, rows: bytes) -> bytes:
    """The same from rows of an id and `size` bytes."""
    return make_packet(BROADCAST, Instruction.SYNC_WRITE,
                       address.to_bytes(2, "little") + size.to_bytes(2, "little") + rows)


def _value(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


class PacketStream:
    """Packets out of a stream of bytes; what is none is passed over byte by byte and counted."""

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def swap(self, data: bytes) -> bytes:
        """The beginning of a packet that was waiting for its end; `data` waits in its place."""
        before, self._waiting = self._waiting, data
        return before

    def forget(self) -> None:
        """Let go of the beginning of a packet whose end has not come."""
        self.bad += len(self._waiting) > 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are complete now."""
        data, at, found = self._waiting + data, 0, []
        while True:
            start = data.find(HEAD, at)
            if start < 0:
                self.bad += len(data) - at > len(HEAD) - 1
                at = max(at, len(data) - len(HEAD) + 1)
                break
            self.bad += start > at
            at = start
            if len(data) - at < _SHORTEST:
                break
            length = int.from_bytes(data[at + 5 : at + 7], "little")
            end = at + 7 + length
            if 3 <= length <= MOST_BYTES and len(data) < end:
                break
            whole = data[at:end]
            if not 3 <= length <= MOST_BYTES or buypass(whole[:-2]) != int.from_bytes(whole[-2:], "little"):
                self.bad += 1
                at += 1
                continue
            body = whole[7:-2].replace(_STUFFED, _PLAIN)
            is_status = body[0] == Instruction.STATUS and len(body) > 1
            found.append(Packet(whole[4], body[0], body[1] if is_status else 0, body[2:] if is_status else body[1:]))
            at = end
        self._waiting = data[at:]
        return found
