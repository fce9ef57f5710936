"""RobStride's and CyberGear's own protocol: the type of a message and 16 bits of data stand in the 29-bit identifier.

Sources: kscalelabs/actuator `actuator.rs` @ 01c8f98; huggingface/lerobot#4070 for the error answer. Targets are big
endian and rounded down, parameters little endian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.can_link import EXTENDED, U8, U32, CanFrames
from firmware_bridge.drives.mit_word import MitRange
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
HOST = 0xFD
_FULL_TURNS_RAD = 4 * math.pi
MODELS: dict[str, MitRange] = {
    "RS00": MitRange(_FULL_TURNS_RAD, 33, 14), "RS01": MitRange(_FULL_TURNS_RAD, 44, 17),
    "RS02": MitRange(_FULL_TURNS_RAD, 44, 17), "RS03": MitRange(_FULL_TURNS_RAD, 20, 60, 5000, 100),
    "RS04": MitRange(_FULL_TURNS_RAD, 15, 120, 5000, 100), "CyberGear": MitRange(_FULL_TURNS_RAD, 30, 12),
}
"""Full scales from kscalelabs/actuator @ 01c8f98. Others differ, in velocity most of all: huggingface/lerobot has
50 rad/s for RS00 and RS03 @ 024196a, and 33 in its older table. No drive tells its own; the maker's tool shows them.
CyberGear's is not checked against a drive."""
FAULTS = ("under-voltage", "over-current", "over-temperature", "magnetic encoder", "hall", "uncalibrated")


class Kind(IntEnum):
    """What a message is."""

    GET_ID = 0
    CONTROL = 1
    FEEDBACK = 2
    ENABLE = 3
    STOP = 4
    SET_ZERO = 6
    SET_ID = 7
    READ = 0x11
    WRITE = 0x12
    FAULT = 0x15
    SAVE = 0x16
    REPORT = 0x18


class Parameter(IntEnum):
    """Index of a drive's setting."""

    RUN_MODE = 0x7005
    LIMIT_TORQUE = 0x700B
    LIMIT_SPEED = 0x7017
    LIMIT_CURRENT = 0x7018
    POSITION = 0x7019
    VELOCITY = 0x701B
    BUS_VOLTAGE = 0x701C
    CAN_TIMEOUT = 0x7028


_FEEDBACK = np.uint32(EXTENDED >> 24 | Kind.FEEDBACK)
_ORDER = (Q, DQ, KP, KD, TAU)
TIMEOUT_PER_S = 20_000
"""CAN_TIMEOUT counts 50 us; zero, the drive's own default, switches its watchdog off (not checked on a drive)."""


def make_id(kind: Kind, data16: int, low: int) -> int:
    """The identifier of a message; `low` is the motor on the way there, the host on the way back."""
    return int(kind) << 24 | (data16 & 0xFFFF) << 8 | low & 0xFF | EXTENDED


def make_parameter_read(motor: int, index: int, host: int = HOST) -> tuple[int, bytes]:
    """Asks for a parameter."""
    return make_id(Kind.READ, host, motor), index.to_bytes(2, "little") + bytes(6)


def make_parameter_write(motor: int, index: int, value: int | float, host: int = HOST) -> tuple[int, bytes]:
    """Sets a parameter: a float as such, an integer as an integer."""
    raw = np.float32(value).tobytes() if isinstance(value, float) else int(value).to_bytes(4, "little")
    return make_id(Kind.WRITE, host, motor), index.to_bytes(2, "little") + bytes(2) + raw


def read_parameter(number: int, data: bytes) -> tuple[int, int, bytes] | None:
    """(motor, index, the four bytes) of an answer to a read; None where it is none, or an error's echo of zeros."""
    if number >= EXTENDED and len(data) == 8 and (number >> 24 & 0x1F) == Kind.READ and number >> 16 & 0xFF == 0:
        return number >> 8 & 0xFF, int.from_bytes(data[:2], "little"), data[4:8]
    return None


def as_float(raw: bytes) -> float:
    """Four bytes of a parameter that is a float."""
    return float(np.frombuffer(raw, "<f4")[0])


@dataclass(frozen=True)
class Feedback:
    """What drives answered, one row an answer.

    Attributes:
        rows: (m,) of the bus's drives.
        motors: (m,) uint8 ids.
        state: (m, 3) float64, q, dq, tau.
        temperature_c: (m,) float64.
        faults: (m,) uint8, bits of FAULTS.
        modes: (m,) uint8: 0 reset, 1 calibration, 2 running.
    """

    rows: npt.NDArray[np.intp]
    motors: U8
    state: F64
    temperature_c: F64
    faults: U8
    modes: U8


class RobstrideCodec:
    """Targets to frames and answers to numbers, for the drives of one bus.

    Args:
        ids, ranges: one a drive, in the order of the rows.
    """

    def __init__(self, ids: list[int], ranges: list[MitRange]) -> None:
        n = len(ids)
        self._row = np.full(256, -1, np.intp)
        self._row[ids] = np.arange(n)
        low = np.array([[-r.q_rad, -r.dq_rad_s, 0.0, 0.0, -r.tau_n_m] for r in ranges]).reshape(n, 5)
        high = np.array([[r.q_rad, r.dq_rad_s, r.kp, r.kd, r.tau_n_m] for r in ranges]).reshape(n, 5)
        self._low, self._high = low, high
        motion = np.array([0, 1, 4])
        self._reply_low, self._reply_count = low[:, motion], (high - low)[:, motion] / 65535
        self._base = np.array([make_id(Kind.CONTROL, 0, number) for number in ids], np.uint32)
        self._wire = np.zeros((n, 4), ">u2")

    def encode(self, block: npt.NDArray[np.floating[Any]]) -> tuple[U32, U8] | None:
        """Identifiers (n,) and data (n, 8) of a command block (n, 5); None when a number is not finite."""
        scaled = block[:, _ORDER].astype(np.float64)
        if not np.isfinite(scaled).all():
            return None
        share = (np.clip(scaled, self._low, self._high) - self._low) / (self._high - self._low)
        codes = (share * 65535).astype(np.uint32)
        self._wire[:] = codes[:, :4]
        return self._base | codes[:, 4] << np.uint32(8), self._wire.view(np.uint8).reshape(-1, 8)

    def decode(self, frames: CanFrames) -> Feedback:
        """The feedback among some frames, of drives that belong to this bus."""
        ids, data, lengths = frames
        rows = self._row[ids >> np.uint32(8) & np.uint32(0xFF)]
        is_mine = (ids >> np.uint32(24) == _FEEDBACK) & (lengths == 8) & (rows >= 0)
        if not is_mine.all():
            ids, data, rows = ids[is_mine], data[is_mine], rows[is_mine]
        words, told = data.view(">u2"), ids >> np.uint32(16)
        state = words[:, :3] * self._reply_count[rows] + self._reply_low[rows]
        return Feedback(
            rows, (ids >> np.uint32(8)).astype(np.uint8), state, words[:, 3] / 10,
            (told & np.uint32(0x3F)).astype(np.uint8), (told >> np.uint32(6) & np.uint32(3)).astype(np.uint8),
        )

    def decode_command(self, frames: CanFrames) -> tuple[npt.NDArray[np.intp], F64]:
        """What drives make of control frames: their rows and (m, 5) targets."""
        ids, data, _ = frames
        rows = self._row[ids & np.uint32(0xFF)]
        codes = np.empty((len(ids), 5))
        codes[:, :4] = data.view(">u2")
        codes[:, 4] = ids >> np.uint32(8) & np.uint32(0xFFFF)
        out = np.empty((len(ids), 5))
        out[:, _ORDER] = codes / 65535 * (self._high - self._low)[rows] + self._low[rows]
        return rows, out

    def encode_feedback(self, rows: npt.NDArray[np.intp], state: F64, temperature_c: F64, faults: U8, modes: U8,
                        host: int = HOST) -> tuple[U32, U8]:
        """Identifiers (m,) and data (m, 8) of what drives answer: (m, 3) q, dq, tau and the rest of each."""
        share = (state - self._reply_low[rows]) / self._reply_count[rows]
        words = np.zeros((len(rows), 4), ">u2")
        words[:, :3] = np.clip(share, 0, 65535)
        words[:, 3] = np.clip(temperature_c * 10, 0, 65535)
        told = (modes.astype(np.uint32) << np.uint32(6) | faults) << np.uint32(16)
        motors = (self._base[rows] & np.uint32(0xFF)) << np.uint32(8)
        return _FEEDBACK << np.uint32(24) | told | motors | np.uint32(host), words.view(np.uint8).reshape(-1, 8)
