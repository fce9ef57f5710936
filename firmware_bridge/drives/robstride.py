"""RobStride's and CyberGear's own protocol: the type of a message and 16 bits of data stand in the 29-bit identifier.

Sources: kscalelabs/actuator `actuator.rs` @ 01c8f98; huggingface/lerobot#4070 for the error answer. Targets are big
endian and rounded down, parameters little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.can_link import EXTENDED, U8, U32, CanFrames
from firmware_bridge.drives.mit_word import MitRange
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
HOST = 0xFD
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
    if number >= EXTENDED and (number >> 24 & 0x1F) == Kind.READ and number >> 16 & 0xFF == 0:
        return number >> 8 & 0xFF, int.from_bytes(data[:2], "little"), data[4:8]
    return None


@dataclass(frozen=True)
class Feedback:
    """What drives answered, one row an answer.

    Attributes:
        motors: (m,) uint8 ids.
        state: (m, 3) float64, q, dq, tau.
        temperature_c: (m,) float64.
        faults: (m,) uint8, bits of FAULTS.
        modes: (m,) uint8: 0 reset, 1 calibration, 2 running.
    """

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
        self._base = np.array([make_id(Kind.CONTROL, 0, number) for number in ids], np.uint32)
        self._wire = np.zeros((n, 4), ">u2")

    def encode(self, block: npt.NDArray[np.float32]) -> tuple[U32, U8] | None:
        """Identifiers (n,) and data (n, 8) of a command block (n, 5); None when a number is not finite."""
        scaled = block[:, (Q, DQ, KP, KD, TAU)].astype(np.float64)
        if not np.isfinite(scaled).all():
            return None
        share = (np.clip(scaled, self._low, self._high) - self._low) / (self._high - self._low)
        codes = (share * 65535).astype(np.uint32)
        self._wire[:] = codes[:, :4]
        return self._base | codes[:, 4] << np.uint32(8), self._wire.view(np.uint8).reshape(-1, 8)

    def decode(self, frames: CanFrames) -> Feedback:
        """The feedback among some frames, of drives that belong to this bus."""
        ids = frames.ids
        motors = ids >> np.uint32(8) & np.uint32(0xFF)
        known = (ids >> np.uint32(24) & np.uint32(0x1F) == Kind.FEEDBACK) & (ids >= EXTENDED) & (frames.lengths == 8)
        known &= self._row[motors] >= 0
        ids, motors, data = ids[known], motors[known], np.ascontiguousarray(frames.data[known])
        words = data.view(">u2").astype(np.float64).reshape(-1, 4)
        rows, columns = self._row[motors], np.array([0, 1, 4])
        low, high = self._low[np.ix_(rows, columns)], self._high[np.ix_(rows, columns)]
        return Feedback(
            motors.astype(np.uint8), words[:, :3] / 65535 * (high - low) + low, words[:, 3] / 10,
            (ids >> np.uint32(16) & np.uint32(0x3F)).astype(np.uint8),
            (ids >> np.uint32(22) & np.uint32(3)).astype(np.uint8),
        )
