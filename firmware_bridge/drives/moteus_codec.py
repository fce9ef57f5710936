"""A cycle's commands to many moteus as one piece of text, and their usual answers as arrays.

Floats throughout: an int16 position ends at 3.27 revolutions, and a drive behind a gear of its own goes farther.
"""

from __future__ import annotations

import binascii
from collections.abc import Container
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.language import F64
from firmware_bridge.drives.moteus import CRC8_BY_PLACE, TWO_PI, U8, Line, Mode, crc8

_NOP = 0x50
QUERY = bytes.fromhex("1100 1f01 130d")
"""Mode as int8, position, velocity, torque as floats, voltage, temperature, fault as int8."""
_WRITE = bytes([0x01, 0x00, Mode.POSITION, 0x0C, 5, 0x20]) + bytes(20)
"""Position mode; position, velocity, torque, share of kp, share of kd as floats."""
_PAYLOAD = len(_WRITE) + len(QUERY)
QUESTION = bytes([_NOP]) * len(_WRITE) + QUERY
"""Only asks."""
_HEAD = len(b"can send 8001 ")
_TEXT = _HEAD + 2 * _PAYLOAD
_DIGIT = np.frombuffer(b"0123456789ABCDEF", np.uint8)
_ANSWER = 24
_UNITS = np.array([TWO_PI, TWO_PI, 1.0])


class Answers(NamedTuple):
    """What drives told: (m,) motors, (m, 3) q, dq, tau in rad, rad/s, N m, finite; modes, temperatures in C, faults."""

    motors: U8
    state: F64
    modes: U8
    temperature_c: npt.NDArray[np.int8]
    faults: U8


class MoteusCodec:
    """The commands of one port's drives.

    Args:
        ids: in the order of the rows.
    """

    def __init__(self, ids: list[int]) -> None:
        n = len(ids)
        self._heads = [b"can send %04x " % (0x8000 | number) for number in ids]
        self._payload: U8 = np.tile(np.frombuffer(_WRITE + QUERY, np.uint8), (n, 1))
        self._values = np.zeros((n, 5), "<f4")
        self._text: U8 = np.zeros((n, _TEXT + len(b" BF *XX\n")), np.uint8)
        for row, head in enumerate(self._heads):
            self._text[row] = np.frombuffer(head + bytes(2 * _PAYLOAD) + b" BF *00\n", np.uint8)
        after = len(b" BF ")
        fixed = [crc8(head + bytes(2 * _PAYLOAD + after)) ^ crc8(b" BF ") for head in self._heads]
        self._fixed: U8 = np.array(fixed, np.uint8)
        digits = CRC8_BY_PLACE[-after - 2 * _PAYLOAD : -after].reshape(_PAYLOAD, 2, 256)
        low = np.frombuffer(b"0123456789abcdef", np.uint8)
        value = np.arange(256)
        self._by_byte = digits[:, 0, low[value >> 4]] ^ digits[:, 1, low[value & 15]]
        self._places = np.arange(_PAYLOAD)

    def encode(self, values: F64, is_driven: npt.NDArray[np.bool_], checksum: bool) -> bytes:
        """The lines of one cycle.

        Args:
            values: (n, 5) revolutions, rev/s, N m, shares of the drives' own kp and kd; finite.
            is_driven: (n,) others are only asked.
        """
        self._values[:] = values
        payload = self._payload
        payload[:, :6] = np.frombuffer(_WRITE[:6], np.uint8)
        payload[:, 6:26] = self._values.view(np.uint8)
        if not is_driven.all():
            payload[~is_driven] = np.frombuffer(QUESTION, np.uint8)
        digits = binascii.hexlify(payload.tobytes())
        if not checksum:
            return b"".join([head + digits[at : at + 2 * _PAYLOAD] + b" BF\n" for head, at in
                             zip(self._heads, range(0, len(digits), 2 * _PAYLOAD), strict=True)])
        text = self._text
        text[:, _HEAD:_TEXT] = np.frombuffer(digits, np.uint8).reshape(len(text), -1)
        crc = np.bitwise_xor.reduce(self._by_byte[self._places, payload], axis=1) ^ self._fixed
        text[:, -3], text[:, -2] = _DIGIT[crc >> 4], _DIGIT[crc & 15]
        return text.tobytes()


def read_answers(lines: list[Line], known: Container[int]) -> Answers:
    """The answers of known drives to a cycle's questions among some lines; what is not finite is left out."""
    usual = [line for line in lines if line.motor in known and _is_usual(line.payload)]
    raw = np.frombuffer(b"".join([line.payload for line in usual]), np.uint8).reshape(-1, _ANSWER)
    motors: U8 = np.array([line.motor for line in usual], np.uint8)
    state = raw[:, 5:17].view("<f4") * _UNITS
    if not np.isfinite(state).all():
        is_good = np.isfinite(state).all(axis=1)
        raw, motors, state = raw[is_good], motors[is_good], state[is_good]
    return Answers(motors, state, raw[:, 2], raw[:, 20].view(np.int8), raw[:, 21])


def _is_usual(payload: bytes) -> bool:
    return (len(payload) == _ANSWER and payload.startswith(b"\x21\x00") and payload[3:5] == b"\x2f\x01"
            and payload[17:19] == b"\x23\x0d")
