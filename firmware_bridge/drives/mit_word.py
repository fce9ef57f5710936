"""The MIT 64-bit word of Damiao, RobStride in MIT mode and mini-cheetah drives: (n, 5) targets to (n, 8) bytes.

One big-endian word holds q:16, dq:12, kp:12, kd:12, tau:12, each linear over a range that the drive must share, and
truncated, not rounded (enactic/openarm_can `dm_motor_control.cpp` @ 9866604). Zero lies half a count off a code, so a
drive told to stand still is told half a count below. The answer is id | error << 4, q:16, dq:12, tau:12, two
temperatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.masks import is_finite
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

BYTES = 8
_ORDER = (Q, DQ, KP, KD, TAU)
_BITS = (16, 12, 12, 12, 12)
_SHIFTS = np.array([1 << 48, 1 << 36, 1 << 24, 1 << 12, 1], np.uint64)
_COMMAND_SHIFTS = np.array([48, 36, 24, 12, 0], np.uint64)
_COMMAND_MASKS = np.array([(1 << bits) - 1 for bits in _BITS], np.uint64)
_REPLY_SCALES = np.array([1 << 40, 1 << 28, 1 << 16], np.uint64)
_MOST = np.array([(1 << bits) - 1 for bits in _BITS], np.float64)
_REPLY_SHIFTS = np.array([40, 28, 16], np.uint64)
_REPLY_MOST = np.array([0xFFFF, 0xFFF, 0xFFF], np.uint64)


@dataclass(frozen=True)
class MitRange:
    """What full scale means to one model: rad, rad/s, N m (each to both sides), N m/rad, N m s/rad (from zero)."""

    q_rad: float
    dq_rad_s: float
    tau_n_m: float
    kp: float = 500.0
    kd: float = 5.0


class MitWord:
    """Packs and unpacks the words of one bus's drives.

    Args:
        ranges: one a drive, in the order of the rows.
    """

    def __init__(self, ranges: list[MitRange]) -> None:
        n = len(ranges)
        low = np.array([[-r.q_rad, -r.dq_rad_s, 0.0, 0.0, -r.tau_n_m] for r in ranges]).reshape(n, 5)
        high = np.array([[r.q_rad, r.dq_rad_s, r.kp, r.kd, r.tau_n_m] for r in ranges]).reshape(n, 5)
        self._low, self._high, self._span = low, high, high - low
        motion = np.array([0, 1, 4])
        self._reply_low = low[:, motion]
        self._reply_count = self._span[:, motion] / _REPLY_MOST
        self._scaled: F64 = np.zeros((n, 5))
        self._codes = np.zeros((n, 5), np.uint64)
        self._words = np.zeros(n, np.uint64)
        self._wire = np.zeros(n, ">u8")
        self.bytes: U8 = self._wire.view(np.uint8).reshape(n, BYTES)

    def encode(self, block: npt.NDArray[np.floating[Any]]) -> bool:
        """A command block (n, 5), columns q, dq, tau, kp, kd, into `bytes` (n, 8); beyond a range is its end.

        Returns:
            False, and `bytes` as they were, when a number is not finite: there is no word for that.
        """
        scaled = self._scaled
        scaled[:] = block[:, _ORDER]
        if not is_finite(scaled):
            return False
        np.minimum(np.maximum(scaled, self._low, out=scaled), self._high, out=scaled)
        scaled -= self._low
        scaled /= self._span
        scaled *= _MOST
        self._codes[:] = scaled  # a cast truncates, as the drives' own library does
        np.dot(self._codes, _SHIFTS, out=self._words)
        self._wire[:] = self._words
        return True

    def decode_command(self, data: U8) -> F64:
        """What a drive makes of command bytes (n, 8): (n, 5), columns q, dq, tau, kp, kd."""
        words = np.ascontiguousarray(data).view(">u8").astype(np.uint64)  # (n, 1)
        codes = words >> _COMMAND_SHIFTS & _COMMAND_MASKS
        out = np.empty((len(words), 5))
        out[:, _ORDER] = codes / _MOST * self._span + self._low
        return out

    def decode_reply(self, data: U8, rows: npt.NDArray[np.intp]) -> F64:
        """Answers (m, 8) of the drives at `rows`: (m, 3), q, dq, tau in rad, rad/s, N m; always finite."""
        codes = data.view(">u8").astype(np.uint64) >> _REPLY_SHIFTS & _REPLY_MOST
        return np.asarray(codes * self._reply_count[rows] + self._reply_low[rows])

    def encode_reply(self, state: F64, ids: U8, errors: U8, temperatures_c: U8) -> U8:
        """What drives answer: (n, 3) q, dq, tau and each one's id, error and two temperatures (n, 2), as (n, 8)."""
        columns = [0, 1, 4]
        low, high, span = self._low[:, columns], self._high[:, columns], self._span[:, columns]
        codes = ((np.clip(state, low, high) - low) / span * _MOST[columns]).astype(np.uint64)
        words = codes @ _REPLY_SCALES | (ids & 0xF | errors << 4).astype(np.uint64) << np.uint64(56)
        out: U8 = words.astype(">u8").view(np.uint8).reshape(-1, BYTES)
        out[:, 6:] = temperatures_c
        return out
