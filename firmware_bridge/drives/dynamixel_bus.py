"""Dynamixel servos of the X series on one port: a sync write and a sync read a cycle.

These servos have no MIT mode, so a target q, dq, tau, kp, kd becomes
- in extended position mode: gains P and D (kp, kd), and a goal position q + (kd dq + tau) / kp, which pulls with the
  same torque. Without kp the goal is where the servo is, so that kd alone damps; tau without kp is refused;
- in current mode (a model's name with /current): the current of kp (q* - q) + kd (dq* - dq) + tau, by the last answer;
  none for a servo that did not answer the last question.
The bus watchdog stops a servo and makes its goals read-only: it does not let go. Only `enabling` clears it.
"""

from __future__ import annotations

import math

import numpy as np

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.dynamixel import Instruction
from firmware_bridge.drives.dynamixel_block import (
    ADDRESSES,
    FAST_BYTES,
    FAST_HEAD_BYTES,
    SIZE,
    STATUS_BYTES,
    BlockStream,
    FastStream,
)
from firmware_bridge.drives.dynamixel_models import COUNT_RAD, MOST_COUNTS, VELOCITY_RAD_S, Scales
from firmware_bridge.drives.dynamixel_setup import BAUD, connect_servo, watchdog_counts
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.turns import Rows, Turns
from firmware_bridge.masks import has_all, has_any, is_finite
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

FAULT_RESTARTED, FAULT_STOPPED = 1 << 8, 1 << 9
"""Of `DriveStates.faults`, beside hardware error status: it lost its power; its bus watchdog has struck."""
SMALL_PUSH = 0.01
"""Of the stall torque: what may be left out where a target has no kp."""
STRUCK = 255
WAITING_S = 2e-3
PACKET_BYTES, GAINS_BYTES = 14, 6
GAIN_ROW = np.dtype([("id", "u1"), ("d", "<u2"), ("i", "<u2"), ("p", "<u2")])
GOAL_ROW = np.dtype([("id", "u1"), ("goal", "<i4")])
CURRENT_ROW = np.dtype([("id", "u1"), ("goal", "<i2")])


class DynamixelBus:
    """The language of one such port.

    Args:
        drives: in the order of the rows.
        is_fast: ask by fast sync read: fewer bytes, but a servo that is missing ends the packet for those behind it.

    Attributes:
        refused: cycles with a target that such a servo cannot have, counted.
    """

    takes_turns = True

    def __init__(self, drives: list[Drive], baud: int = BAUD, is_fast: bool = False) -> None:
        self.scales = Scales(drives)
        self.drives, self.baud, self.is_fast = drives, baud, is_fast
        n = len(drives)
        self.states, self.turns, self.refused = DriveStates(n), Turns(n), 0
        self._ids = np.array([drive.id for drive in drives], np.uint8)
        self._gains, self._told = np.zeros(n, GAIN_ROW), np.zeros(n, np.bool_)
        self._gains["id"] = self._ids
        self._asked, self._counts, self._pull = b"", np.zeros((2, n)), np.zeros(n)
        self._is_limp, self._has_limp = np.ones(n, np.bool_), True
        self._is_position: np.ndarray = ~self.scales.is_current
        self._goal_rows = np.zeros(n, GOAL_ROW)
        self._goal_rows["id"] = self._ids
        self._limits, self._watchdog, self._cycle = np.zeros(n), 1, 0
        bases = np.array([model.indirect_data for model in self.scales.models])
        self._groups: list[Rows] = [np.flatnonzero(bases == base) for base in np.unique(bases)]
        code = Instruction.FAST_SYNC_READ if is_fast else Instruction.SYNC_READ
        self._reads = [dynamixel.make_sync_read(self._ids[rows].tolist(), int(bases[rows[0]]), SIZE, code)
                       for rows in self._groups]
        stream = FastStream if is_fast else BlockStream
        self._streams: list[BlockStream | FastStream] = [stream(self._ids[rows].tolist()) for rows in self._groups]
        self._turn, self._every = 0, np.arange(n).tobytes()
        self._repeats: dict[int, bytes] = {}
        self._forgot, self._restarted = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.turn_s = self.cycle_s() + WAITING_S

    @property
    def bad(self) -> int:
        return sum(stream.bad for stream in self._streams)

    def cycle_s(self) -> float:
        n = len(self.drives)
        told = 2 * PACKET_BYTES + n * GOAL_ROW.itemsize + PACKET_BYTES + GAIN_ROW.itemsize
        asked = len(self._groups) * (PACKET_BYTES + FAST_HEAD_BYTES * self.is_fast) + n
        answered = n * (FAST_BYTES if self.is_fast else STATUS_BYTES)
        return (told + asked + answered) * 10 / self.baud

    def ask(self, block: F64) -> list[bytes]:
        goals = self._goals(block) if is_finite(block) else None
        if goals is None:
            return []
        return self._cycle_of(goals + self._reminder())

    def _cycle_of(self, told: bytes) -> list[bytes]:
        """What is told, which nobody answers, and then everybody's state."""
        self.turns.plan(self._groups)
        return [told + self._reads[0], *self._reads[1:]]

    def _reminder(self) -> bytes:
        """Tells servos that lost their power again what they are asked for, so that they can say where they stand."""
        if not has_any(self._forgot):
            return b""
        ids = self._ids[self._forgot].tolist()
        rows = b"".join(bytes([number]) + ADDRESSES for number in ids)
        return dynamixel.make_sync_rows(dynamixel.INDIRECT_ADDRESS, len(ADDRESSES), rows) + dynamixel.make_sync_write(
            ids, dynamixel.WATCHDOG, [self._watchdog] * len(ids))

    def _goals(self, block: F64) -> bytes | None:
        """Sync writes of gains and goals to whom an operator has enabled; None for what cannot be said."""
        scales, states, told = self.scales, self.states, self.turns.is_trusted
        if (wanted := block[:, 3:].tobytes()) != self._asked:
            self._asked = wanted
            self._take_gains(block)
        push = block[:, KD] * block[:, DQ]
        push += block[:, TAU]
        is_limp, out = self._is_limp, []
        if self._has_limp and (
                is_limp & ~scales.is_current & (np.abs(push) > SMALL_PUSH * scales.stall_n_m)).any():
            self.refused += 1
            return None
        position = told & self._is_position
        if has_any(position):
            out.append(self._gain_rows(position))
            goal = push * self._pull
            goal += block[:, Q]
            goal *= 1 / COUNT_RAD
            if self._has_limp:
                goal[is_limp] = states.q[is_limp] / COUNT_RAD
            rows = self._goal_rows
            np.maximum(goal, -MOST_COUNTS, out=goal)
            np.minimum(goal, MOST_COUNTS, out=goal)
            rows["goal"] = np.rint(goal)
            rows = rows if has_all(position) else rows[position]
            out.append(dynamixel.make_sync_rows(dynamixel.GOAL_POSITION.address, 4, rows.tobytes()))
        if has_any(current := told & scales.is_current):
            law = block[:, KP] * (block[:, Q] - states.q) + push - block[:, KD] * states.dq
            counts = np.where(self.turns.unheard(), 0.0, np.rint(law / scales.torque_n_m))
            rows = np.zeros(int(current.sum()), CURRENT_ROW)
            rows["id"], rows["goal"] = self._ids[current], np.clip(counts, -self._limits, self._limits)[current]
            out.append(dynamixel.make_sync_rows(dynamixel.GOAL_CURRENT.address, 2, rows.tobytes()))
        return b"".join(out)

    def _take_gains(self, block: F64) -> None:
        """Gains that a cycle wants anew, in the servos' counts, and what a push is worth in position."""
        self._counts[:] = self.scales.gains(block[:, KP], block[:, KD])
        np.equal(self._counts[0], 0, out=self._is_limp)
        self._has_limp = bool(self._is_limp.any())
        self._pull[:] = 1 / np.where(self._is_limp, np.inf, self._counts[0] * self.scales.kp_count)
        self._told[:] &= (self._gains["p"] == self._counts[0]) & (self._gains["d"] == self._counts[1])

    def _gain_rows(self, position: np.ndarray) -> bytes:
        """Gains that have changed, and each servo's now and then: nobody says whether they arrived."""
        gains, at = self._gains, (self._cycle + 1) % len(self._gains)
        self._cycle = at
        if has_any(new := position > self._told):
            gains["p"][new], gains["d"][new] = self._counts[0][new], self._counts[1][new]
            self._told |= new
            self._repeats.clear()
            return _gain_packet(gains[new])
        if not position[at]:
            return b""
        if at not in self._repeats:
            self._repeats[at] = _gain_packet(gains[[at]])
        return self._repeats[at]

    def begin(self, turn: int) -> None:
        for stream in self._streams:
            stream.forget()
        self._turn = turn
        self.turns.begin(turn)

    def is_answered(self) -> bool:
        return self.turns.is_answered()

    def hear(self, data: bytes, now_ns: int) -> int:
        blocks = self._streams[self._turn].feed(data)
        rows, said = self._groups[self._turn][blocks.rows], blocks.data
        good = self.turns.take(rows)
        if not has_all(good):
            rows, said = rows[good], said[good]
        is_usual = not has_any(said["watchdog"] != self._watchdog)
        if not is_usual:
            rows, said = self._note_unusual(rows, said)
        if is_usual and rows.tobytes() == self._every:
            self._note_all(said, now_ns)
        else:
            self._note(rows, said, now_ns)
        if has_any(self._restarted):
            self.states.faults[rows[self._restarted[rows]]] |= FAULT_RESTARTED
        return len(rows)

    def _note_all(self, said: np.ndarray, now_ns: int) -> None:
        """Everybody's state, in the order of the rows: the usual case."""
        states = self.states
        states.note_all(said["position"] * COUNT_RAD, said["velocity"] * VELOCITY_RAD_S,
                        said["current"] * self.scales.torque_n_m, now_ns)
        self._forgot.fill(False)
        states.faults[:], states.temperature_c[:] = said["error"], said["temperature"]
        np.equal(said["torque"], 1, out=states.is_driving)

    def _note(self, rows: Rows, said: np.ndarray, now_ns: int) -> None:
        states = self.states
        motion = np.stack([said["position"] * COUNT_RAD, said["velocity"] * VELOCITY_RAD_S,
                           said["current"] * self.scales.torque_n_m[rows]], axis=1)
        states.note(rows, motion, now_ns)
        self._forgot[rows] = False
        states.faults[rows] = said["error"] | np.where(said["watchdog"] == STRUCK, np.uint32(FAULT_STOPPED), 0)
        states.is_driving[rows], states.temperature_c[rows] = said["torque"] == 1, said["temperature"]

    def _note_unusual(self, rows: Rows, said: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Servos that lost their power or that their watchdog has stopped; who can tell more, and what."""
        is_alive = said["watchdog"] != 0
        gone = rows[~is_alive]
        self._forgot[gone], self._restarted[gone] = True, True
        self.states.faults[gone], self.states.is_driving[gone] = FAULT_RESTARTED, False
        self.turns.is_trusted[gone] = self.turns.is_trusted[rows[said["watchdog"] == STRUCK]] = False
        return rows[is_alive], said[is_alive]

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        self.turns.trust(False)
        self._watchdog = watchdog_counts(watchdog_s)
        self._forgot[:] = self._restarted[:] = False
        facts, scales = [], self.scales
        for row, (drive, model, mode) in enumerate(zip(self.drives, scales.models, scales.modes, strict=True)):
            fact, self._limits[row] = connect_servo(exchange, drive, model, mode, self._watchdog)
            facts.append(fact)
        return facts

    def enabling(self) -> list[bytes]:
        """The watchdog anew, a goal where each servo stands, and only then torque."""
        is_known = (self.states.answered_ns > 0) & ~self.turns.unheard() & ~self._forgot
        self.turns.trust(True)
        self.turns.is_trusted &= is_known  # where another stands nobody knows
        self._told[:], self._restarted[:] = False, False
        rows = np.flatnonzero(is_known)
        ids, position = self._ids[rows].tolist(), self.states.q[rows] / COUNT_RAD
        if not ids:
            return []
        return self._cycle_of(b"".join((
            dynamixel.make_sync_write(ids, dynamixel.WATCHDOG, [0] * len(ids)),
            dynamixel.make_sync_write(ids, dynamixel.WATCHDOG, [self._watchdog] * len(ids)),
            dynamixel.make_sync_write(ids, dynamixel.GOAL_CURRENT, [0] * len(ids)),
            dynamixel.make_sync_write(ids, dynamixel.GOAL_POSITION, [math.floor(q + 0.5) for q in position.tolist()]),
            dynamixel.make_sync_write(ids, dynamixel.TORQUE_ENABLE, [1] * len(ids)),
        )))

    def disabling(self) -> list[bytes]:
        self.turns.trust(False)
        return self._cycle_of(dynamixel.make_sync_write(
            self._ids.tolist(), dynamixel.TORQUE_ENABLE, [0] * len(self._ids)))


def _gain_packet(rows: np.ndarray) -> bytes:
    return dynamixel.make_sync_rows(dynamixel.GAIN_D.address, GAINS_BYTES, rows.tobytes())


def language(drives: list[Drive], baud: int | None = None) -> DynamixelBus:
    """For the list of protocols."""
    return DynamixelBus(drives, baud or BAUD)


def fast_language(drives: list[Drive], baud: int | None = None) -> DynamixelBus:
    """For the list of protocols: by fast sync read."""
    return DynamixelBus(drives, baud or BAUD, is_fast=True)
