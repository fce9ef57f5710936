"""Unitree's GO-M8010-6 on one RS-485 port: a question and an answer a motor and turn.

These motors have no switch for torque and no watchdog that anybody has described: each frame says brake or FOC, and
nobody knows what a motor does when frames stop. So FOC is said only between `enabling` and `disabling`, and no more to
a motor that was silent for long: one that lost its power meanwhile would otherwise move by itself when it is back. Its
encoder sits on the rotor: after power-up the position is known within a turn of the rotor only.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.go_m8010 import BAUD, IN_BYTES, OUT_BYTES, GoCodec, GoStream, Status, read_reply
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.turns import Turns
from firmware_bridge.errors import BridgeError

MODEL = "GO-M8010-6"
MOST_ID, EVERYBODY = 14, 15
ANSWER_S, TRIES = 0.02, 3
TURNAROUND_S = 50e-6
WAITING_S = 1e-3
"""What a USB adapter and its driver may add to a turn: an FTDI's timer at its shortest is 1 ms."""


class GoBus:
    """The language of one such port.

    Args:
        drives: in the order of the rows.

    Raises:
        BridgeError: another model, or an id that such a motor cannot have.
    """

    takes_turns = True

    def __init__(self, drives: list[Drive], baud: int = BAUD) -> None:
        check(drives)
        self.drives, self.baud = drives, baud
        self.states = DriveStates(len(drives))
        self.turns = Turns(len(drives))
        self._codec = GoCodec([drive.id for drive in drives])
        self._stream = GoStream()
        self._strangers = 0
        self._row = {drive.id: row for row, drive in enumerate(drives)}
        self._each = [np.array([row], np.intp) for row in range(len(drives))]
        self._nobody = np.zeros(0, np.intp)
        self._everybody = brake(EVERYBODY)
        self.turn_s = (OUT_BYTES + IN_BYTES) * 10 / baud + TURNAROUND_S + WAITING_S

    @property
    def bad(self) -> int:
        return self._stream.bad + self._strangers

    def cycle_s(self) -> float:
        return len(self.drives) * ((OUT_BYTES + IN_BYTES) * 10 / self.baud + TURNAROUND_S)

    def ask(self, block: F64) -> list[bytes]:
        status = np.where(self.turns.is_trusted, np.uint8(Status.FOC), np.uint8(Status.BRAKE))
        if not self._codec.encode(block, status):
            return []
        self.turns.plan(self._each)
        return [row.tobytes() for row in self._codec.bytes]

    def begin(self, turn: int) -> None:
        self._stream.forget()
        self.turns.begin(turn)

    def is_answered(self) -> bool:
        return self.turns.is_answered()

    def hear(self, data: bytes, now_ns: int) -> int:
        heard, states = 0, self.states
        for frame in self._stream.feed(data):  # one a turn
            reply = read_reply(frame)
            row = self._row.get(reply.id, -1)
            self._strangers += row < 0
            if row < 0 or not self.turns.take_one(row):
                continue
            heard += 1
            states.q[row], states.dq[row], states.tau[row] = reply.q, reply.dq, reply.tau
            states.answered_ns[row], states.faults[row] = now_ns, reply.error
            states.answers[row] += 1
            states.is_driving[row], states.temperature_c[row] = reply.status == Status.FOC, reply.temperature_c
        return heard

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        self.turns.trust(False)
        exchange(self._everybody, lambda data: False, 0.001)
        return [self._connect_drive(exchange, drive) for drive in self.drives]

    def _connect_drive(self, exchange: Exchange, drive: Drive) -> Facts:
        for _ in range(TRIES):
            self._stream.forget()
            if exchange(brake(drive.id), lambda data: is_from(drive.id, self._stream.feed(data)), ANSWER_S):
                return Facts()
        return Facts(problems=[f"{drive.name}: no answer from motor {drive.id}"])

    def enabling(self) -> list[bytes]:
        self.turns.trust(True)  # the next question says FOC
        return []

    def disabling(self) -> list[bytes]:
        """Brake for all at once, which nobody answers, and then for each, which tells its state."""
        self.turns.trust(False)
        self._codec.encode(np.zeros((len(self.drives), 5)), Status.BRAKE)
        self.turns.plan([self._nobody, *self._each])
        return [self._everybody, *(row.tobytes() for row in self._codec.bytes)]


def is_from(number: int, frames: list[bytes]) -> bool:
    """Whether a motor is among those who answered."""
    return any(read_reply(frame).id == number for frame in frames)


def check(drives: list[Drive]) -> None:
    """Refuse what no such motor is.

    Raises:
        BridgeError: another model, or an id that such a motor cannot have.
    """
    for drive in drives:
        if drive.model != MODEL or not 0 <= drive.id <= MOST_ID:
            raise BridgeError(f"drive {drive.name or drive.id}", expected=f"a {MODEL} with an id from 0 to {MOST_ID}",
                              found=f"{drive.model}, id {drive.id}", what_to_do="correct the robot file")


def brake(number: int) -> bytes:
    """Asks one motor, or tells all, to let go."""
    codec = GoCodec([number])
    codec.encode(np.zeros((1, 5)), Status.BRAKE)
    return codec.bytes.tobytes()


def language(drives: list[Drive], baud: int | None = None) -> GoBus:
    """For the list of protocols."""
    return GoBus(drives, baud or BAUD)

