"""Feetech's STS servos on one port: a sync write and a sync read a cycle, and one servo's torque asked for beside.

These servos know a position and nothing else: how stiff and how damped they are stands in their own EPROM. So a target
with kp becomes its position; one without kp takes the servo's torque, until an operator gives it again; and one with
a torque, of its own or of kd dq, is refused. They have no watchdog: a servo without a host holds its last position.

A servo that was without power comes back limp, with the torque limit of its EPROM. The limit set at connect is another
by one count, and is asked for in turn, so that such a servo is found and sent no more goals.
"""

from __future__ import annotations

import math

import numpy as np

from firmware_bridge.drives import feetech
from firmware_bridge.drives.feetech import LOAD_SIGN_BIT, POSITION_SIGN_BIT, Packet, PacketStream
from firmware_bridge.drives.feetech_setup import BAUD, MODELS, TORQUE_LIMIT, connect_servo
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.turns import Rows, Turns
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

COUNT_RAD = math.tau / 4096
FAULT_RESTARTED = 1 << 8
"""Of `DriveStates.faults`, beside the servo's own bits."""
SMALL_PUSH = 0.01
"""Of the stall torque: what may be left out of a target."""
STATE = np.dtype([("position", "<u2"), ("velocity", "<u2"), ("load", "<u2"), ("voltage", "u1"), ("temperature", "u1"),
                  ("flag", "u1"), ("status", "u1"), ("moving", "u1"), ("unused", "<u2"), ("current", "<u2")])
TORQUE_BYTES = 10
"""From torque enable on, the torque limit in it."""
GOAL_ROW = np.dtype([("id", "u1"), ("goal", "<u2")])
PACKET_BYTES, ANSWER_BYTES = 8, 6
TURNAROUND_S, WAITING_S = 20e-6, 1e-3
MOST_ID = 253


class FeetechBus:
    """The language of one such port.

    Args:
        drives: in the order of the rows.

    Attributes:
        refused: cycles with a target that such a servo cannot have, counted.

    Raises:
        BridgeError: an unknown model, or an id that a servo cannot have.
    """

    takes_turns = True

    def __init__(self, drives: list[Drive], baud: int = BAUD) -> None:
        check(drives)
        self.drives, self.baud, self.refused = drives, baud, 0
        n = len(drives)
        self.states, self.turns = DriveStates(n), Turns(n)
        self._stall = np.array([MODELS[drive.model].stall_n_m for drive in drives])
        self._ids = np.array([drive.id for drive in drives], np.uint8)
        self._row = {drive.id: row for row, drive in enumerate(drives)}
        self._all: Rows = np.arange(n)
        self._low, self._high = np.zeros(n), np.full(n, 4095.0)
        self._read = feetech.make_sync_read(self._ids.tolist(), feetech.PRESENT_POSITION, STATE.itemsize)
        self._stream, self._strangers = PacketStream(), 0
        self._restarted = np.zeros(n, np.bool_)
        self._turn = self._next = 0
        self.turn_s = self.cycle_s() + WAITING_S

    @property
    def bad(self) -> int:
        return self._stream.bad + self._strangers

    def cycle_s(self) -> float:
        n = len(self.drives)
        sent = PACKET_BYTES + GOAL_ROW.itemsize * n + PACKET_BYTES + n + PACKET_BYTES
        heard = n * (ANSWER_BYTES + STATE.itemsize) + ANSWER_BYTES + TORQUE_BYTES
        return (sent + heard) * 10 / self.baud + (n + 1) * TURNAROUND_S

    def ask(self, block: F64) -> list[bytes]:
        if not np.isfinite(block).all():
            return []
        push = np.abs(block[:, KD] * block[:, DQ] + block[:, TAU])
        if (push > SMALL_PUSH * self._stall).any():
            self.refused += 1
            return []
        was_on = self.turns.is_trusted.copy()
        self.turns.is_trusted &= block[:, KP] > 0
        off, on = was_on & ~self.turns.is_trusted, self.turns.is_trusted
        return self._cycle(self._switches(off, 0) + self._goals(block[:, Q], on))

    def _goals(self, q: F64, told: np.ndarray) -> bytes:
        if not told.any():
            return b""
        counts = np.clip(np.rint(q / COUNT_RAD), self._low, self._high)[told].astype(np.int64)
        rows = np.zeros(len(counts), GOAL_ROW)
        rows["id"] = self._ids[told]
        rows["goal"] = np.abs(counts) | (counts < 0).astype(np.int64) << POSITION_SIGN_BIT
        return feetech.make_sync_write(rows["id"].tolist(), feetech.GOAL_POSITION, [row.tobytes()[1:] for row in rows])

    def _switches(self, rows: np.ndarray, value: int) -> bytes:
        ids = self._ids[rows].tolist()
        return feetech.make_sync_write(ids, feetech.TORQUE_ENABLE, [bytes([value])] * len(ids)) if ids else b""

    def _cycle(self, told: bytes) -> list[bytes]:
        """What is told, then everybody's state, then one servo's torque."""
        self._next = (self._next + 1) % len(self.drives)
        self.turns.plan([self._all, self._all[[self._next]]])
        return [told + self._read, feetech.make_read(int(self._ids[self._next]), feetech.TORQUE_ENABLE, TORQUE_BYTES)]

    def begin(self, turn: int) -> None:
        self._stream.forget()
        self._turn = turn
        self.turns.begin(turn)

    def is_answered(self) -> bool:
        return self.turns.is_answered()

    def hear(self, data: bytes, now_ns: int) -> int:
        size = STATE.itemsize if self._turn == 0 else TORQUE_BYTES
        packets = self._stream.feed(data)
        mine = [packet for packet in packets if packet.id in self._row and len(packet.parameters) == size]
        self._strangers += len(packets) - len(mine)
        rows = np.array([self._row[packet.id] for packet in mine], np.intp)
        good = self.turns.take(rows)
        rows, mine = rows[good], [packet for packet, is_good in zip(mine, good.tolist(), strict=True) if is_good]
        if self._turn == 0:
            self._note(rows, mine, now_ns)
            return len(rows)
        for row, packet in zip(rows.tolist(), mine, strict=True):
            self._note_torque(row, packet.parameters)
        return 0

    def _note(self, rows: Rows, packets: list[Packet], now_ns: int) -> None:
        said = np.frombuffer(b"".join(packet.parameters for packet in packets), STATE)
        codes = np.array([packet.code for packet in packets], np.uint32)
        motion = np.stack([signed(said["position"], POSITION_SIGN_BIT) * COUNT_RAD,
                           signed(said["velocity"], POSITION_SIGN_BIT) * COUNT_RAD,
                           signed(said["load"], LOAD_SIGN_BIT) / 1000 * self._stall[rows]], axis=1)
        states = self.states
        states.note(rows, motion, now_ns)
        states.faults[rows] = codes | said["status"] | np.where(self._restarted[rows], FAULT_RESTARTED, 0)
        states.temperature_c[rows] = said["temperature"]

    def _note_torque(self, row: int, said: bytes) -> None:
        at = feetech.TORQUE_LIMIT - feetech.TORQUE_ENABLE
        has_restarted = int.from_bytes(said[at : at + 2], "little") != TORQUE_LIMIT
        is_on = said[0] == 1 and not has_restarted
        self._restarted[row] |= has_restarted
        self.turns.is_trusted[row] &= is_on
        self.states.is_driving[row] = is_on

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        self.turns.trust(False)
        self._restarted[:] = False
        facts = []
        for row, drive in enumerate(self.drives):
            fact, self._low[row], self._high[row] = connect_servo(exchange, drive)
            facts.append(fact)
        return facts

    def enabling(self) -> list[bytes]:
        """A goal where each servo stands, the limit anew, and only then torque."""
        is_known = (self.states.answered_ns > 0) & ~self.turns.unheard()
        self.turns.trust(True)
        self.turns.is_trusted &= is_known
        self._restarted[:] = False
        ids = self._ids[is_known].tolist()
        if not ids:
            return []
        limit = TORQUE_LIMIT.to_bytes(2, "little")
        limits = feetech.make_sync_write(ids, feetech.TORQUE_LIMIT, [limit] * len(ids))
        self.states.is_driving[is_known] = True  # what is so, each is asked in turn
        return self._cycle(self._goals(self.states.q, is_known) + limits + self._switches(is_known, 1))

    def disabling(self) -> list[bytes]:
        self.turns.trust(False)
        self.states.is_driving[:] = False
        return self._cycle(self._switches(np.ones(len(self.drives), np.bool_), 0))


def signed(raw: np.ndarray, sign_bit: int) -> F64:
    """(n,) numbers whose highest bit is their sign."""
    magnitude = (raw & (1 << sign_bit) - 1).astype(np.float64)
    return np.where(raw >> sign_bit & 1, -magnitude, magnitude)


def check(drives: list[Drive]) -> None:
    """Refuse what no such servo is.

    Raises:
        BridgeError: an unknown model, or an id that a servo cannot have.
    """
    for drive in drives:
        if drive.model not in MODELS or not 0 <= drive.id <= MOST_ID:
            raise BridgeError(f"drive {drive.name or drive.id}", expected=f"one of {', '.join(MODELS)} with an id from "
                              f"0 to {MOST_ID}", found=f"{drive.model}, id {drive.id}",
                              what_to_do="correct the robot file")


def language(drives: list[Drive], baud: int | None = None) -> FeetechBus:
    """For the list of protocols."""
    return FeetechBus(drives, baud or BAUD)
