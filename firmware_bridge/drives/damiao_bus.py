"""Damiao's drives on a CAN bus behind a serial adapter, in MIT mode."""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives import damiao
from firmware_bridge.drives.can_link import CanLink
from firmware_bridge.drives.damiao import Register
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts, refuse_unknown_models
from firmware_bridge.drives.mit_word import MitRange, MitWord

ANSWER_S = 0.02
TRIES = 3
MIT_MODE = 1
SCALE_TOLERANCE = 1e-3
FRAME_BITS = 123
"""Of a frame with a short identifier and eight data bytes, with the stuffing that is usual."""


class DamiaoBus:
    """The language of one such bus.

    Args:
        drives: in the order of the rows.
        link: the adapter's framing.
        baud: of the serial side.
    """

    takes_turns = False
    turn_s = 0.0

    def __init__(self, drives: list[Drive], link: CanLink, baud: int = 921_600) -> None:
        refuse_unknown_models(drives, damiao.MODELS)
        self.drives, self.link, self.baud = drives, link, baud
        self.states = DriveStates(len(drives))
        self.ranges: list[MitRange] = [damiao.MODELS[drive.model] for drive in drives]
        self._word = MitWord(self.ranges)
        self._ids = np.array([drive.id for drive in drives], np.uint32)
        self._row = np.full(0x800, -1, np.intp)
        self._answer_ids = np.array([drive.answer_id or drive.id + damiao.MASTER_OFFSET for drive in drives], np.uint32)
        self._row[self._answer_ids] = self._every = np.arange(len(drives))
        self._low_ids = np.array([drive.id & 0xF for drive in drives], np.uint8)
        self.strangers = 0

    @property
    def bad(self) -> int:
        return self.link.bad

    def cycle_s(self) -> float:
        return len(self.drives) * 2 * FRAME_BITS / 1e6

    def ask(self, block: F64) -> list[bytes]:
        return [self.link.pack(self._ids, self._word.bytes)] if self._word.encode(block) else []

    def begin(self, turn: int) -> None:
        """Nothing to note: answers come when they come."""

    def is_answered(self) -> bool:
        return True

    def hear(self, data: bytes, now_ns: int) -> int:
        ids, data8, lengths = self.link.feed(data)
        if len(ids) == 0:
            return 0
        rows = self._every
        if len(ids) != len(rows) or (ids != self._answer_ids).any() or lengths.min() != 8:
            rows = self._row[np.minimum(ids, 0x7FF)]
            is_mine = (rows >= 0) & (lengths == 8)
            self.strangers += int(np.count_nonzero(~is_mine))
            rows, data8 = rows[is_mine], data8[is_mine]
        head = data8[:, 0]
        is_state = head & 0xF == self._low_ids[rows]
        if not is_state.all():
            self.strangers += int(np.count_nonzero(~is_state))
            rows, data8, head = rows[is_state], data8[is_state], head[is_state]
        states = self.states
        states.note(rows, self._word.decode_reply(data8, rows), now_ns)
        errors = head >> 4
        states.faults[rows] = errors * (errors > damiao.ENABLED)
        states.is_driving[rows] = errors == damiao.ENABLED
        states.temperature_c[rows] = np.maximum(data8[:, 6], data8[:, 7])
        return len(rows)

    def _register(self, exchange: Exchange, drive: Drive, question: bytes, register: int) -> float | None:
        """What a drive says its register holds; None when it does not say."""
        packed = self.link.pack(np.array([damiao.REGISTERS_ID], np.uint32), np.frombuffer(question, np.uint8)[None])
        found: list[float] = []

        def is_enough(data: bytes) -> bool:
            answers = [damiao.read_answer(row.tobytes()) for row in self.link.feed(data).data]
            found.extend(a.value for a in answers if a and (a.motor, a.register) == (drive.id, register))
            return bool(found)

        for _ in range(TRIES):
            if exchange(packed, is_enough, ANSWER_S):
                return found[-1]
        return None

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        exchange(self.link.opening(), lambda data: False, 0.01 if self.link.opening() else 0.0)
        for drive in self.drives:  # no torque before the operator says so
            self._send(exchange, drive, damiao.DISABLE)
        return [self._connect_drive(exchange, drive, range_, watchdog_s)
                for drive, range_ in zip(self.drives, self.ranges, strict=True)]

    def _send(self, exchange: Exchange, drive: Drive, data: bytes) -> None:
        exchange(self.link.pack(np.array([drive.id], np.uint32), np.frombuffer(data, np.uint8)[None]),
                 lambda heard: self.hear(heard, 0) > 0, ANSWER_S)

    def _connect_drive(self, exchange: Exchange, drive: Drive, scale: MitRange, watchdog_s: float) -> Facts:
        facts = Facts()
        for register, expected, unit in (
            (Register.P_MAX, scale.q_rad, "rad"), (Register.V_MAX, scale.dq_rad_s, "rad/s"),
            (Register.T_MAX, scale.tau_n_m, "N m"),
        ):
            told = self._register(exchange, drive, damiao.make_read(drive.id, register), register)
            if told is None:
                facts.problems.append(f"{drive.name}: no answer to register {register.name}")
                return facts
            if abs(told - expected) > SCALE_TOLERANCE * expected:
                facts.problems.append(f"{drive.name}: {register.name} {told:g} {unit} in the drive, "
                                      f"{expected:g} {unit} for a {drive.model}")
        mode = self._register(exchange, drive, damiao.make_read(drive.id, Register.CONTROL_MODE), Register.CONTROL_MODE)
        if mode != MIT_MODE:
            facts.problems.append(f"{drive.name}: control mode {mode}, not {MIT_MODE} (MIT)")
        counts = round(watchdog_s * damiao.TIMEOUT_PER_S)
        self._register(exchange, drive, damiao.make_write(drive.id, Register.TIMEOUT, counts), Register.TIMEOUT)
        told = self._register(exchange, drive, damiao.make_read(drive.id, Register.TIMEOUT), Register.TIMEOUT)
        facts.watchdog_s = 0.0 if told is None else told / damiao.TIMEOUT_PER_S
        if told != counts:
            facts.problems.append(f"{drive.name}: watchdog {told} counts, {counts} were written")
        return facts

    def enabling(self) -> list[bytes]:
        return [self._all(damiao.ENABLE)]

    def disabling(self) -> list[bytes]:
        return [self._all(damiao.DISABLE)]

    def _all(self, data: bytes) -> bytes:
        return self.link.pack(self._ids, np.tile(np.frombuffer(data, np.uint8), (len(self._ids), 1)))
