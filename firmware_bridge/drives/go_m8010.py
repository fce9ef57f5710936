"""Unitree's GO-M8010-6 on RS-485, 4 Mbit/s: 17 bytes to a motor, 16 back, every number on the rotor's side of the gear.

Layout and rounding as unitreerobotics/unitree_actuator_sdk's library produces them @ 5b79a42 (its header's comments
on units do not hold): conversions truncate towards zero, the gear ratio is 6.33, gains go over with its square.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.crc16 import KermitOfFrames, kermit
from firmware_bridge.masks import is_finite
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

GEAR = 6.33
BAUD = 4_000_000
OUT_BYTES, IN_BYTES = 17, 16
OUT_HEAD, IN_HEAD = b"\xfe\xee", b"\xfd\xee"
TURN = 6.2832
"""What the library takes for a full turn."""
OVER_TEMPERATURE_C = 90
ERRORS = ("normal", "over-temperature", "over-current", "over-voltage", "encoder")

OUT_DTYPE = np.dtype([("head", "S2"), ("mode", "u1"), ("tau", "<i2"), ("dq", "<i2"), ("q", "<i4"), ("kp", "<u2"),
                      ("kd", "<u2"), ("crc", "<u2")])
IN_DTYPE = np.dtype([("head", "S2"), ("mode", "u1"), ("tau", "<i2"), ("dq", "<i2"), ("q", "<i4"), ("temperature", "i1"),
                     ("state", "<u2"), ("crc", "<u2")])
_CRC_OUT, _CRC_IN = KermitOfFrames(OUT_BYTES - 2), KermitOfFrames(IN_BYTES - 2)
_LIMITS = np.array([411_774.0, 804.0, 127.99, 25.599, 25.599])
"""Of q, dq, tau, kp, kd, on the rotor: where the library saturates; all within their fields."""
_LOW = np.array([-1, -1, -1, 0, 0]) * _LIMITS
_UNITS, _COUNTS = np.array([TURN, TURN, 1.0, 25.6, 25.6]), np.array([32768.0, 256.0, 256.0, 32768.0, 32768.0])


class Status(IntEnum):
    """What a motor is to do."""

    BRAKE = 0
    FOC = 1
    CALIBRATE = 2


class GoCodec:
    """Targets of one port's motors to frames, and frames to states.

    Args:
        ids: (n,) 0 to 14, in the order of the rows.
        gear: 1.0 gives and takes rotor numbers.
    """

    def __init__(self, ids: list[int], gear: float = GEAR) -> None:
        n = len(ids)
        self._to_rotor = np.array([gear, gear, 1 / gear, 1 / gear**2, 1 / gear**2])
        self._from_rotor = np.array([1 / gear, 1 / gear, gear])
        self._ids = np.array(ids, np.uint8)
        self._row = np.full(16, -1, np.intp)
        self._row[ids] = np.arange(n)
        self.frames = np.zeros(n, OUT_DTYPE)
        self.frames["head"] = OUT_HEAD
        self.bytes: U8 = self.frames.view(np.uint8).reshape(n, OUT_BYTES)

    def encode(self, block: npt.NDArray[np.float32] | F64, status: Status | U8 = Status.FOC) -> bool:
        """A command block (n, 5), columns q, dq, tau, kp, kd, into `bytes`; beyond what a motor takes is its end.

        Args:
            status: for all, or (n,).

        Returns:
            False, and `bytes` as they were, when a number is not finite.
        """
        rotor = block * self._to_rotor
        if not is_finite(rotor):
            return False
        np.minimum(np.maximum(rotor, _LOW, out=rotor), _LIMITS, out=rotor)
        rotor /= _UNITS
        rotor *= _COUNTS
        frames = self.frames
        frames["mode"] = self._ids | np.asarray(status, np.uint8) << 4
        frames["tau"], frames["dq"], frames["q"] = rotor[:, TAU], rotor[:, DQ], rotor[:, Q]  # a cast truncates
        frames["kp"], frames["kd"] = rotor[:, KP], rotor[:, KD]
        frames["crc"] = _CRC_OUT.of(self.bytes[:, :-2])
        return True

    def decode(self, data: U8) -> Replies:
        """What answers (m, 16) say, those of other motors and with a wrong CRC left out."""
        raw = np.ascontiguousarray(data)
        frames = raw.view(IN_DTYPE).reshape(-1)
        rows = self._row[frames["mode"] & 0xF]
        good = (frames["head"] == IN_HEAD) & (_CRC_IN.of(raw[:, :-2]) == frames["crc"]) & (rows >= 0)
        frames, rows = frames[good], rows[good]
        state = np.stack([frames["q"] / 32768 * TURN, frames["dq"] / 256 * TURN, frames["tau"] / 256.0], axis=1)
        return Replies(rows, state * self._from_rotor, frames["temperature"].astype(np.int16),
                       (frames["state"] & 7).astype(np.uint8), frames["mode"] >> 4 & 7, int(np.count_nonzero(~good)))


@dataclass(frozen=True)
class Replies:
    """Answers of motors, one row an answer.

    Attributes:
        rows: (m,) whose.
        state: (m, 3) q, dq, tau: rad, rad/s, N m, behind the gear.
        temperature_c: (m,) int16.
        errors: (m,) uint8, index of ERRORS; others are reserved.
        statuses: (m,) uint8, what each says that it does.
        bad: frames left out.
    """

    rows: npt.NDArray[np.intp]
    state: F64
    temperature_c: npt.NDArray[np.int16]
    errors: U8
    statuses: U8
    bad: int


class Reply(NamedTuple):
    """One answer, as `Replies` has many."""

    id: int
    q: float
    dq: float
    tau: float
    temperature_c: int
    error: int
    status: int


_IN, _IN_BODY, _OUT = struct.Struct("<2xBhhibHxx"), struct.Struct("<BhhibH"), struct.Struct("<2xBhhiHHxx")


def read_reply(frame: bytes, gear: float = GEAR) -> Reply:
    """One answer of 16 bytes whose CRC is right, by itself: arrays are slower for so few."""
    mode, tau, dq, q, temperature, state = _IN.unpack(frame)
    return Reply(mode & 0xF, q / 32768 * TURN / gear, dq / 256 * TURN / gear, tau / 256 * gear, temperature, state & 7,
                 mode >> 4 & 7)


def make_reply(reply: Reply, gear: float = GEAR) -> bytes:
    """What a motor answers; beyond what a field takes is its end."""
    head = IN_HEAD + _IN_BODY.pack(
        reply.id | reply.status << 4, _short(reply.tau / gear * 256), _short(reply.dq * gear / TURN * 256),
        min(max(int(reply.q * gear / TURN * 32768), -(1 << 31)), (1 << 31) - 1),
        min(max(reply.temperature_c, -128), 127), reply.error & 7)
    return head + kermit(head).to_bytes(2, "little")


def _short(value: float) -> int:
    return min(max(int(value), -32768), 32767)


class Command(NamedTuple):
    """One question as a motor reads it; `target` is q, dq, tau, kp, kd."""

    id: int
    status: int
    target: tuple[float, float, float, float, float]


def read_command(frame: bytes, gear: float = GEAR) -> Command:
    """One question of 17 bytes whose CRC is right."""
    mode, tau, dq, q, kp, kd = _OUT.unpack(frame)
    return Command(mode & 0xF, mode >> 4 & 7, (
        q / 32768 * TURN / gear, dq / 256 * TURN / gear, tau / 256 * gear, kp / 1280 * gear**2, kd / 1280 * gear**2))


class GoStream:
    """Frames out of a stream of bytes; what is none is passed over byte by byte and counted.

    Args:
        head: `IN_HEAD` on the host's side, `OUT_HEAD` on the motors'.
    """

    def __init__(self, head: bytes = IN_HEAD) -> None:
        self.bad = 0
        self._head, self._waiting = head, b""
        self._length = IN_BYTES if head == IN_HEAD else OUT_BYTES

    def forget(self) -> None:
        """Let go of the beginning of a frame whose end has not come."""
        self.bad += len(self._waiting) > 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Frames with a right CRC, of 16 bytes, or 17 on the motors' side."""
        data, at, found, length = self._waiting + data, 0, [], self._length
        while len(data) - at >= length:
            if data[at : at + 2] != self._head:
                self.bad += 1
                at = data.find(self._head, at + 1)
                at = len(data) - 1 if at < 0 else at
                continue
            if kermit(data[at : at + length - 2]) != data[at + length - 2] | data[at + length - 1] << 8:
                self.bad += 1
                at += 1
                continue
            found.append(data[at : at + length])
            at += length
        self._waiting = data[at:]
        return found


def cycle_s(motors: int, turnaround_s: float = 50e-6) -> float:
    """Wire time of one question and answer each, half duplex."""
    return motors * ((OUT_BYTES + IN_BYTES) * 10 / BAUD + turnaround_s) if motors else math.nan
