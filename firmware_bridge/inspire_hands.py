"""Inspire's RH56 hands behind the hand port: one serial port a hand, one question at a time.

Such a hand has a position loop of its own and neither gains nor a watchdog: a target with kp is an angle to go to, one
without leaves the joint where it is, and a hand that hears nothing holds what it holds. A hand that was unplugged is
read again by itself, and moved again only after `open_writers`.

Ranges of the joints in rad are not published with the registers: those below are of the maker's manual as several
drivers repeat it, not verified. What a hand presses with is told in grams, so `tau` is not a number.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from firmware_bridge.drives import inspire
from firmware_bridge.drives.inspire import JOINTS, Address, FrameStream
from firmware_bridge.errors import BridgeError
from firmware_bridge.hand_bus import LEFT, RIGHT, HandSample, SafeHandCommand
from firmware_bridge.motor_bus import F32, KP, Q, Reading
from firmware_bridge.serial_port import SerialPort

MOTORS = len(JOINTS)
OPEN_COUNTS = 1000
RANGE_RAD: F32 = np.radians([157.7, 157.7, 157.7, 157.7, 66.6, 75.0]).astype(np.float32)
"""From open (0) to closed, in the order of `JOINTS`."""
ANSWER_NS = 30_000_000
HEALTH_EVERY = 8
"""Each so many questions errors and temperatures are asked for instead of angles."""
HEALTH_BYTES = 18
"""Errors, states and temperatures of six joints, one behind the other."""
REOPEN_NS = 500_000_000


def to_counts(q_rad: F32) -> list[int]:
    """0 (closed) to 1000 (open), of radians from open."""
    share = np.clip(q_rad / RANGE_RAD, 0, 1)
    return [int(value) for value in np.rint((1 - share) * OPEN_COUNTS)]


class InspireHand:
    """One hand on its port.

    Args:
        path: of the port, or a name for `find_port`.
        sample, side: where what it says goes.
    """

    def __init__(self, path: str, sample: HandSample, side: int, number: int,
                 open_port: Callable[[str, int], SerialPort]) -> None:
        self._path, self._number, self._open = path, number, open_port
        self._q, self._dq = sample.q[side], sample.dq[side]
        self._errors, self._temperature = sample.motor_error[side], sample.temperature_c[side]
        sample.tau[side] = np.nan
        self.port = open_port(path, inspire.BAUD)
        self._stream = FrameStream()
        self.may_write, self.missed = False, 0
        self._wanted: list[int] | None = None
        self._asked, self._asked_ns, self._questions = 0, 0, 0
        self._heard_ns = self._gone_ns = 0

    @property
    def bad(self) -> int:
        """Pieces of bytes that were none, counted."""
        return self._stream.bad

    def read(self, now_ns: int) -> Reading:
        """What has come since the last read; asks on."""
        if not self.port.is_open:
            self._reopen(now_ns)
            return Reading.NONE
        is_new = False
        for answer in self._stream.feed(self.port.read()):
            if answer.id == self._number and answer.address == self._asked:
                is_new |= self._note(answer, now_ns)
                self._asked = 0
        self._ask(now_ns)
        return Reading.NEW if is_new else Reading.NONE

    def _note(self, answer: inspire.Answer, now_ns: int) -> bool:
        if answer.address == Address.ANGLE_ACTUAL and len(answer.data) == 2 * MOTORS:
            counts = np.array(answer.angles(), np.float32)
            if (counts < -1).any() or (counts > 1100).any():
                return False
            q = (1 - counts / OPEN_COUNTS) * RANGE_RAD
            dt_s = (now_ns - self._heard_ns) * 1e-9
            self._dq[:] = (q - self._q) / dt_s if self._heard_ns and dt_s < 1.0 else 0.0
            self._q[:], self._heard_ns = q, now_ns
            return True
        if answer.address == Address.ERROR and len(answer.data) == HEALTH_BYTES:
            self._errors[:] = np.frombuffer(answer.data, np.uint8, MOTORS)
            self._temperature[:] = np.frombuffer(answer.data, np.uint8, MOTORS, 2 * MOTORS)
        return False

    def write(self, command: SafeHandCommand, side: int) -> bool:
        """Keep a target for the next turn."""
        if not self.may_write or not self.port.is_open:
            return False
        row = command.block[side]
        if not np.isfinite(row).all():
            return False
        counts = to_counts(row[:, Q])
        held = row[:, KP] <= 0
        self._wanted = [-1 if is_held else count for count, is_held in zip(counts, held.tolist(), strict=True)]
        if not command.enabled[side] or all(held):
            self._wanted = None
        return True

    def _ask(self, now_ns: int) -> None:
        """The next question, when the last is answered or has waited long enough."""
        if self._asked and now_ns - self._asked_ns < ANSWER_NS:
            return
        self.missed += bool(self._asked)
        self._questions += 1
        if self._wanted is not None and self._questions % 2:
            question, self._asked = inspire.make_angles(self._number, tuple(self._wanted)), int(Address.ANGLE_SET)
            self._wanted = None
        elif self._questions % HEALTH_EVERY == 0:
            question, self._asked = inspire.make_read(self._number, Address.ERROR, HEALTH_BYTES), int(Address.ERROR)
        else:
            question, self._asked = inspire.make_read(self._number, Address.ANGLE_ACTUAL), int(Address.ANGLE_ACTUAL)
        self._stream.forget()
        self._asked_ns = now_ns
        self.port.write(question)

    def _reopen(self, now_ns: int) -> None:
        self.may_write, self._wanted, self._asked = False, None, 0
        if now_ns - self._gone_ns < REOPEN_NS:
            return
        self._gone_ns = now_ns
        try:
            self.port = self._open(self._path, inspire.BAUD)
        except BridgeError:
            return
        self._stream = FrameStream()


class InspireBus:
    """A pair of such hands; a `HandBus`. An empty path is a missing hand.

    Raises:
        BridgeError: a port is missing or in use.
    """

    def __init__(self, left: str, right: str, *, number: int = 1,
                 open_port: Callable[[str, int], SerialPort] = SerialPort) -> None:
        self.sample = HandSample.zeros(MOTORS)
        self._hands: list[InspireHand | None] = [
            InspireHand(path, self.sample, side, number, open_port) if path else None
            for side, path in ((LEFT, left), (RIGHT, right))]

    def read(self, side: int) -> Reading:
        """What a hand said since the last time; asks it on."""
        hand = self._hands[side]
        return Reading.NONE if hand is None else hand.read(time.monotonic_ns())

    def open_writers(self) -> None:
        """From here on hands that are there may be moved; again after one was gone."""
        for hand in self._hands:
            if hand is not None:
                hand.may_write = hand.port.is_open

    def write(self, side: int, command: SafeHandCommand) -> bool:
        """A hand's targets, said when its turn comes."""
        hand = self._hands[side]
        return hand is not None and hand.write(command, side)

    def other_writers(self, side: int) -> list[str]:
        """Ports are locked for us alone while they are open."""
        return []

    def close(self) -> None:
        """Let the ports go; the hands hold what they hold."""
        for hand in self._hands:
            if hand is not None:
                hand.port.close()
