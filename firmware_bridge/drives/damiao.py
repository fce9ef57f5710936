"""What is Damiao's own about its drives: models, registers, the frames that switch torque, error codes.

Full scales from huggingface/lerobot `motors/damiao/tables.py` @ 7427f31; those of enactic/openarm_can @ 9866604 differ
for DM3507 and DM4340, and a wrong one is silently another torque. A drive tells its own (registers 21 to 23), and
those count. Meanings of the error codes are from the field, not checked against a document of the maker.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from firmware_bridge.drives.mit_word import MitRange

REGISTERS_ID = 0x7FF
MASTER_OFFSET = 0x10
"""What drives are commonly set to answer with: their own identifier plus this."""

MODELS: dict[str, MitRange] = {
    "DM3507": MitRange(12.5, 30, 10), "DM4310": MitRange(12.5, 30, 10), "DM4310_48V": MitRange(12.5, 50, 10),
    "DM4340": MitRange(12.5, 8, 28), "DM4340_48V": MitRange(12.5, 10, 28), "DM6006": MitRange(12.5, 45, 20),
    "DM8006": MitRange(12.5, 45, 40), "DM8009": MitRange(12.5, 45, 54), "DM10010L": MitRange(12.5, 25, 200),
    "DM10010": MitRange(12.5, 20, 200), "DMH3510": MitRange(12.5, 280, 1), "DMH6215": MitRange(12.5, 45, 10),
    "DMG6220": MitRange(12.5, 45, 10),
}

ENABLE, DISABLE, SET_ZERO, CLEAR_FAULT = (b"\xff" * 7 + bytes([last]) for last in (0xFC, 0xFD, 0xFE, 0xFB))

ERRORS = {0x8: "over-voltage", 0x9: "under-voltage", 0xA: "over-current", 0xB: "transistors hot", 0xC: "coil hot",
          0xD: "communication lost", 0xE: "overload"}
DISABLED, ENABLED = 0, 1
"""The two codes in place of an error that say whether there is torque."""


class Register(IntEnum):
    """Numbers of a drive's settings."""

    MASTER_ID = 7
    ID = 8
    TIMEOUT = 9
    CONTROL_MODE = 10
    P_MAX = 21
    V_MAX = 22
    T_MAX = 23
    CAN_BAUD = 35


INTEGERS = frozenset({Register.MASTER_ID, Register.ID, Register.TIMEOUT, Register.CONTROL_MODE, Register.CAN_BAUD})
TIMEOUT_PER_S = 20_000
"""TIMEOUT counts 50 us; zero switches the drive's watchdog off."""

_READ, _WRITE, _SAVE, _REFRESH = 0x33, 0x55, 0xAA, 0xCC


class Answer(NamedTuple):
    """A register as a drive told it."""

    motor: int
    register: int
    value: float


def make_read(motor: int, register: int) -> bytes:
    """Asks for a register; to be sent to `REGISTERS_ID`."""
    return bytes([motor & 0xFF, motor >> 8, _READ, register, 0, 0, 0, 0])


def make_write(motor: int, register: int, value: float) -> bytes:
    """Sets a register, until the drive is switched off."""
    raw = struct.pack("<I", int(value)) if register in INTEGERS else struct.pack("<f", value)
    return bytes([motor & 0xFF, motor >> 8, _WRITE, register]) + raw


def make_save(motor: int) -> bytes:
    """Makes what was set outlive a power cycle."""
    return bytes([motor & 0xFF, motor >> 8, _SAVE, 1, 0, 0, 0, 0])


def make_refresh(motor: int) -> bytes:
    """Asks for an answer without a command."""
    return bytes([motor & 0xFF, motor >> 8, _REFRESH, 0, 0, 0, 0, 0])


def read_answer(data: bytes) -> Answer | None:
    """A register's value out of eight bytes; None where they are none."""
    if len(data) != 8 or data[2] not in (_READ, _WRITE):
        return None
    value = struct.unpack("<I" if data[3] in INTEGERS else "<f", data[4:])[0]
    return Answer(data[0] | data[1] << 8, data[3], float(value))
