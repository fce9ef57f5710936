"""mjbots moteus behind an fdcanusb or on a UART: CAN-FD frames as lines of text, registers in a compact form.

`can send 8001 01000A..` asks motor 1 (bit 15: an answer is wanted), `OK` takes note, `rcv 100 2400..` is the answer. A
line may end in `*XX`, a CRC-8 over what stands before it. Units are revolutions. Only the share of the gains that the
drive was configured with can be sent, so a target in N m/rad needs the drive's own gains. Formats: moteus
`docs/protocol/can.md`, `docs/integration/can-fd.md` @ db1a762.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
TWO_PI = 2 * math.pi


class Mode(IntEnum):
    """Register 0."""

    STOPPED = 0
    FAULT = 1
    POSITION = 10
    TIMEOUT = 11


class Register(IntEnum):
    """Registers in use here."""

    MODE = 0x000
    POSITION = 0x001
    VELOCITY = 0x002
    TORQUE = 0x003
    VOLTAGE = 0x00D
    TEMPERATURE = 0x00E
    FAULT = 0x00F
    COMMAND_POSITION = 0x020
    COMMAND_VELOCITY = 0x021
    COMMAND_TORQUE = 0x022
    COMMAND_KP_SCALE = 0x023
    COMMAND_KD_SCALE = 0x024
    COMMAND_WATCHDOG = 0x027


_FORMATS = ("b", "h", "i", "f")
_SIZES = (1, 2, 4, 4)
_MOTION = {Register.POSITION, Register.COMMAND_POSITION}
_SPEED = {Register.VELOCITY, Register.COMMAND_VELOCITY}
_FORCE = {Register.TORQUE, Register.COMMAND_TORQUE}
_SCALE = {Register.COMMAND_KP_SCALE, Register.COMMAND_KD_SCALE}


def scale_of(register: int, kind: int) -> float:
    """What a count of a register is worth as int8, int16, int32 (kind 0, 1, 2); 1 for what is only counted."""
    if kind == 3:
        return 1.0
    if register in _MOTION:
        return (0.01, 0.0001, 0.00001)[kind]
    if register in _SPEED:
        return (0.1, 0.00025, 0.00001)[kind]
    if register in _FORCE:
        return (0.5, 0.01, 0.001)[kind]
    if register in _SCALE:
        return (1 / 127, 1 / 32767, 1 / 2147483647)[kind]
    if register == Register.VOLTAGE:
        return (0.5, 0.1, 0.001)[kind]
    if register == Register.TEMPERATURE:
        return (1.0, 0.1, 0.001)[kind]
    if register == Register.COMMAND_WATCHDOG:
        return (0.01, 0.001, 0.000001)[kind]
    return 1.0


def crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x97, start 0."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc8_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ (0x97 if value & 0x80 else 0)) & 0xFF
        table.append(value)
    return table


_CRC8 = _crc8_table()
_WIDE = 96
"""Characters that hold any line of up to 32 bytes."""


def _crc8_tables() -> U8:
    """(96, 256) what a byte adds to the CRC of a line that ends so far behind it: a CRC is a sum without carries."""
    table = np.array(_CRC8, np.uint8)
    rows = [table]
    for _ in range(_WIDE - 1):
        rows.append(table[rows[-1]])
    return np.array(rows[::-1], np.uint8)


CRC8_BY_PLACE = _crc8_tables()
_PLACES = np.arange(_WIDE)


def crc8_of_many(lines: list[bytes]) -> list[int]:
    """Each line's CRC-8; of more than a few short ones at once, as zeros before a line add nothing."""
    if len(lines) < 3 or max(map(len, lines)) > _WIDE:
        return [crc8(line) for line in lines]
    text = np.frombuffer(b"".join([line.rjust(_WIDE, b"\0") for line in lines]), np.uint8).reshape(-1, _WIDE)
    sums: list[int] = np.bitwise_xor.reduce(CRC8_BY_PLACE[_PLACES, text], axis=1).tolist()
    return sums


_USUAL_OK = b"OK *BD"


def make_stop() -> bytes:
    """Stops a drive; the only way out of a fault or of its watchdog's time-out."""
    return bytes([0x01, Register.MODE, Mode.STOPPED])


def make_position(
    position: float, velocity: float, torque: float, kp_scale: float, kd_scale: float, watchdog_s: float | None = None,
) -> bytes:
    """A position command in revolutions, rev/s, N m; scales 0 to 1 of the drive's own gains; floats throughout."""
    body = bytes([0x01, Register.MODE, Mode.POSITION, 0x0C, 5, Register.COMMAND_POSITION]) + struct.pack(
        "<5f", position, velocity, torque, kp_scale, kd_scale)
    if watchdog_s is not None:
        body += bytes([0x0D, Register.COMMAND_WATCHDOG]) + struct.pack("<f", watchdog_s)
    return body


def make_query() -> bytes:
    """Asks for mode, position, velocity, torque as int16, and voltage, temperature, fault as int8."""
    return bytes([0x14, 4, Register.MODE, 0x13, Register.VOLTAGE])


def read_registers(payload: bytes) -> dict[int, float] | None:
    """Registers of an answer in SI (revolutions stay): NaN where a drive has none; None when it is no answer."""
    found: dict[int, float] = {}
    at = 0
    while at < len(payload):
        head = payload[at]
        at += 1
        if head == 0x50:  # padding of CAN-FD
            continue
        if not 0x20 <= head <= 0x2F:
            return None
        kind, count = head >> 2 & 3, head & 3
        if count == 0:
            if at >= len(payload):
                return None
            count, at = payload[at], at + 1
        if at >= len(payload):
            return None
        register, at = payload[at], at + 1
        size = _SIZES[kind]
        if at + count * size > len(payload):
            return None
        for value in struct.unpack_from(f"<{count}{_FORMATS[kind]}", payload, at):
            is_none = kind < 3 and value == -(1 << 8 * size - 1)
            found[register] = math.nan if is_none else value * scale_of(register, kind)
            register += 1
        at += count * size
    return found


def make_line(motor: int, payload: bytes, *, answer: bool = True, checksum: bool = True) -> bytes:
    """The line that sends a payload to a motor, data at the bus's fast rate; padded to a length that CAN-FD has."""
    size = next(length for length in (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64) if length >= len(payload))
    padded = payload + b"\x50" * (size - len(payload))
    line = b"can send %04x %s BF" % ((0x8000 if answer else 0) | motor, padded.hex().encode())
    return with_checksum(line) if checksum else line + b"\n"


def with_checksum(line: bytes) -> bytes:
    """A line with the CRC of its text and a space."""
    return line + b" *%02X\n" % crc8(line + b" ")


class Line(NamedTuple):
    """One line from the adapter: who sent it (-1: the adapter itself) and what."""

    motor: int
    payload: bytes


class LineStream:
    """Answers out of a stream of bytes; lines that are damaged are counted.

    Attributes:
        bad: lines that were none.
        acknowledged: `OK` lines.
        errors: `ERR` lines, the last of them in `error`.
        is_checked: a line had a right check sum, so from now on every line must: damage may hide the sum itself.
    """

    MOST = 512

    def __init__(self) -> None:
        self.bad = self.acknowledged = self.errors = 0
        self.error = b""
        self.is_checked = False
        self._waiting = b""

    def feed(self, data: bytes) -> list[Line]:
        """The answers that are complete now."""
        *lines, self._waiting = (self._waiting + data).split(b"\n")
        if len(self._waiting) > self.MOST:
            self._waiting, self.bad = b"", self.bad + 1
        told = [line for line in lines if line != _USUAL_OK]
        self.acknowledged += len(lines) - len(told)
        self.is_checked |= len(told) < len(lines)
        return [answer for text in self._checked(told) if (answer := self._take(text)) is not None]

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        """Lines whose check sums are right, without them."""
        lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
        sums = crc8_of_many([line[:-3] for line in lines])
        good = []
        for line, crc in zip(lines, sums, strict=True):
            if line[-3:-2] == b"*" and line[-2:] == b"%02X" % crc:
                self.is_checked = True
                good.append(line[:-3])
            elif line[-3:-2] != b"*" and not self.is_checked:
                good.append(line)
            else:
                self.bad += 1
        return good

    def _take(self, text: bytes) -> Line | None:
        if text.startswith(b"rcv "):
            answer = self._read(text)
            self.bad += answer is None
            return answer
        if text.startswith(b"OK"):
            self.acknowledged += 1
        elif text.startswith(b"ERR"):
            self.errors, self.error = self.errors + 1, text
        return None

    @staticmethod
    def _read(text: bytes) -> Line | None:
        words = text.split()
        try:
            return Line(int(words[1], 16) >> 8 & 0x7F, bytes.fromhex(words[2].decode("ascii")))
        except (IndexError, ValueError):
            return None


@dataclass(frozen=True)
class DriveGains:
    """What a drive is configured with: `servo.pid_position.kp`, `.kd`, in N m/rev and N m s/rev."""

    kp: float
    kd: float

    def scales(self, kp_n_m_rad: float, kd_n_m_s_rad: float) -> tuple[float, float]:
        """The shares that come nearest to gains in N m/rad, N m s/rad, within 0 to 1."""
        return (min(max(kp_n_m_rad * TWO_PI / self.kp, 0.0), 1.0) if self.kp > 0 else 0.0,
                min(max(kd_n_m_s_rad * TWO_PI / self.kd, 0.0), 1.0) if self.kd > 0 else 0.0)
