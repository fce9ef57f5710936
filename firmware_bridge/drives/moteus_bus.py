"""moteus on CAN-FD behind an fdcanusb, or one on a UART: targets with gains, mapped onto the drives' own gains.

A moteus has torque from the first position command on, and gets it back by one after its power came back. So the word
of the operator is kept here, for each drive: only who is armed is commanded, others are asked.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives import moteus_settings as settings
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.moteus import TWO_PI, LineStream, Mode, make_line, make_stop
from firmware_bridge.drives.moteus_codec import QUERY, MoteusCodec, read_answers
from firmware_bridge.drives.turns import MOST_SILENT
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

MODEL = "moteus"
ANSWER_S = 0.02
TRIES = 3
FAULT_GAINS = 1 << 8
"""Beside the drive's own fault numbers: a target wants a higher gain than the drive is configured with."""
GAIN_SLACK = 1e-3
WATCHDOG_TOLERANCE_S = 1e-4
ARBITRATION_BITS, FAST_BITS, SLOW_BPS, FAST_BPS = 32, 40, 1e6, 5e6
STUFFING = 1.08
QUESTION_BYTES, ANSWER_BYTES = 32, 24


class MoteusBus:
    """The language of one port.

    Args:
        drives: in the order of the rows.
        baud: of a UART; an fdcanusb ignores it.

    Attributes:
        has_checksum: lines carry one: a UART asks for it, old adapters do not know it.
    """

    takes_turns = False
    turn_s = 0.0

    def __init__(self, drives: list[Drive], baud: int = 921_600) -> None:
        others = sorted({drive.model for drive in drives} - {MODEL})
        if others:
            raise BridgeError("drive model", expected=MODEL, found=", ".join(others),
                              what_to_do="correct the robot file")
        n = len(drives)
        self.drives, self.baud = drives, baud
        self.states = DriveStates(n)
        self.has_checksum = True
        self._stream = LineStream()
        self._codec = MoteusCodec([drive.id for drive in drives])
        self._row = np.full(256, -1, np.intp)
        self._row[[drive.id for drive in drives]] = np.arange(n)
        self._known = frozenset(drive.id for drive in drives)
        self._to_share = np.zeros((n, 2))
        self._values, self._turns = np.zeros((n, 5)), np.array([1 / TWO_PI, 1 / TWO_PI, 1.0])
        self._is_armed, self._was_driving = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self._silent = np.zeros(n, np.int64)
        self._beyond = np.zeros(n, np.bool_)

    @property
    def bad(self) -> int:
        return self._stream.bad

    def cycle_s(self) -> float:
        frames = sum(ARBITRATION_BITS / SLOW_BPS + (8 * size + FAST_BITS) * STUFFING / FAST_BPS
                     for size in (QUESTION_BYTES, ANSWER_BYTES))
        return len(self.drives) * frames

    def ask(self, block: F64) -> list[bytes]:
        if not np.isfinite(block).all():
            return []
        values = self._values
        values[:, :3] = block[:, (Q, DQ, TAU)] * self._turns
        shares = block[:, (KP, KD)] * self._to_share
        np.any(shares > 1 + GAIN_SLACK, axis=1, out=self._beyond)
        np.clip(shares, 0.0, 1.0, out=values[:, 3:])
        self._silent += 1
        self._is_armed &= self._silent <= MOST_SILENT
        return [self._codec.encode(values, self._is_armed, self.has_checksum)]

    def begin(self, turn: int) -> None:
        """Nothing to note: answers come when they come."""

    def is_answered(self) -> bool:
        return True

    def hear(self, data: bytes, now_ns: int) -> int:
        answers = read_answers(self._stream.feed(data), self._known)
        rows = self._row[answers.motors]
        if len(rows) == 0:
            return 0
        states, is_driving = self.states, answers.modes == Mode.POSITION
        states.note(rows, answers.state, now_ns)
        states.is_driving[rows] = is_driving
        states.faults[rows] = answers.faults * (answers.modes == Mode.FAULT) + FAULT_GAINS * self._beyond[rows]
        states.temperature_c[rows] = answers.temperature_c
        self._silent[rows] = 0
        self._is_armed[rows] &= is_driving | ~self._was_driving[rows]
        self._was_driving[rows] |= is_driving
        return len(rows)

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        self._is_armed[:] = self.states.is_driving[:] = False
        self._choose_checksum(exchange)
        for drive in self.drives:  # no torque before the operator says so
            self._tell(exchange, drive, make_stop() + QUERY)
        return [self._connect_drive(exchange, row, watchdog_s) for row in range(len(self.drives))]

    def _choose_checksum(self, exchange: Exchange) -> None:
        """With a check sum, unless the adapter says no to that and takes a line without."""
        for has_checksum in (True, False):
            self.has_checksum = has_checksum
            self._stream.is_checked = False
            for _ in range(TRIES):
                if self._tell(exchange, self.drives[0], QUERY, any_drive=True):
                    return
        self.has_checksum = True

    def _tell(self, exchange: Exchange, drive: Drive, payload: bytes, *, any_drive: bool = False) -> bool:
        """Send, and whether the drive answered (with `any_drive`: whether the adapter took it)."""
        taken = self._stream.acknowledged

        def is_enough(data: bytes) -> bool:
            lines = self._stream.feed(data)
            return any(line.motor == drive.id for line in lines) or (any_drive and self._stream.acknowledged > taken)

        return exchange(make_line(drive.id, payload, checksum=self.has_checksum), is_enough, ANSWER_S)

    def _connect_drive(self, exchange: Exchange, row: int, watchdog_s: float) -> Facts:
        facts, drive = Facts(), self.drives[row]
        if not any(self._tell(exchange, drive, QUERY) for _ in range(TRIES)):
            facts.problems.append(f"{drive.name}: no answer")
            return facts
        console = settings.Console(exchange, self._stream, drive.id, self.has_checksum)
        for column, name in enumerate((settings.KP, settings.KD)):
            gain = console.get(name)
            if gain is None or not gain > 0:
                facts.problems.append(f"{drive.name}: {name} is {gain}, so no gain can be asked for")
            else:
                self._to_share[row, column] = TWO_PI / gain
        if (integral := console.get(settings.KI)) != 0:
            facts.problems.append(f"{drive.name}: {settings.KI} is {integral}, not 0: it would add to the targets")
        for name in settings.LIMITS:
            limit = console.get(name)
            if limit is not None and math.isfinite(limit):
                facts.problems.append(f"{drive.name}: {name} is {limit:g}, not nan: it would bend the targets")
        told = console.set(settings.TIMEOUT, watchdog_s)
        facts.watchdog_s = told if told is not None and math.isfinite(told) else 0.0
        if abs(facts.watchdog_s - watchdog_s) > WATCHDOG_TOLERANCE_S:
            facts.problems.append(f"{drive.name}: watchdog {told} s, {watchdog_s:g} s was set")
        return facts

    def enabling(self) -> list[bytes]:
        has_torque = self._is_armed & self.states.is_driving & (self._silent <= 1)
        self._is_armed[:], self._was_driving[:], self._silent[:] = True, has_torque, 0
        return [self._stopping(~has_torque)]

    def disabling(self) -> list[bytes]:
        self._is_armed[:] = False
        return [self._stopping(~self._is_armed)]

    def _stopping(self, whom: npt.NDArray[np.bool_]) -> bytes:
        """Takes the torque; also the only way out of a fault and of a watchdog that struck."""
        return b"".join(make_line(drive.id, make_stop() + QUERY, checksum=self.has_checksum)
                        for drive, is_meant in zip(self.drives, whom, strict=True) if is_meant)


def moteus_language(drives: list[Drive], baud: int | None) -> MoteusBus:
    """Drives behind an fdcanusb, or one on a UART."""
    return MoteusBus(drives, baud or 921_600)
