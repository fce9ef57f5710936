"""Damiao's drives on a CAN bus behind a serial adapter, in MIT mode."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives import damiao
from firmware_bridge.drives.can_link import U8, CanLink
from firmware_bridge.drives.damiao import Register
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.mit_word import MitRange, MitWord
from firmware_bridge.errors import BridgeError

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
        unknown = sorted({drive.model for drive in drives} - set(damiao.MODELS))
        if unknown:
            raise BridgeError("drive model", expected=f"one of {', '.join(damiao.MODELS)}", found=", ".join(unknown),
                              what_to_do="correct the robot file")
        self.drives, self.link, self.baud = drives, link, baud
        self.states = DriveStates(len(drives))
        self.ranges: list[MitRange] = [damiao.MODELS[drive.model] for drive in drives]
        self._word = MitWord(self.ranges)
        self._ids = np.array([drive.id for drive in drives], np.uint32)
        self._row = np.full(0x800, -1, np.intp)
        for row, drive in enumerate(drives):
            self._row[drive.answer_id or drive.id + damiao.MASTER_OFFSET] = row
        self._low_ids = np.array([drive.id & 0xF for drive in drives], np.uint8)
        self._answers: list[damiao.Answer] = []
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
        frames = self.link.feed(data)
        rows = self._row[np.minimum(frames.ids, 0x7FF)]
        mine = (rows >= 0) & (frames.lengths == 8)
        rows, data8 = rows[mine], frames.data[mine]
        is_state = data8[:, 0] & 0xF == self._low_ids[rows]
        is_register = (data8[:, 2] == 0x33) | (data8[:, 2] == 0x55)
        self._note_registers(data8, rows, is_register)
        self.strangers += int(np.count_nonzero(~mine) + np.count_nonzero(~is_state & ~is_register))
        rows, data8 = rows[is_state], data8[is_state]
        states = self.states
        states.note(rows, self._word.decode_reply(data8, rows), now_ns)
        errors = data8[:, 0] >> 4
        states.faults[rows] = np.where(errors > damiao.ENABLED, errors, 0)
        states.is_driving[rows] = errors == damiao.ENABLED
        states.temperature_c[rows] = data8[:, 6:].max(axis=1, initial=0)
        return len(rows)

    def _note_registers(self, data: U8, rows: npt.NDArray[np.intp], is_register: npt.NDArray[np.bool_]) -> None:
        for at in np.flatnonzero(is_register):
            answer = damiao.read_answer(data[at].tobytes())
            if answer is not None and answer.motor == self.drives[rows[at]].id:
                self._answers = [*self._answers[-64:], answer]

    def _register(self, exchange: Exchange, drive: Drive, question: bytes, register: int) -> float | None:
        """What a drive says its register holds; None when it does not say."""
        packed = self.link.pack(np.array([damiao.REGISTERS_ID], np.uint32), np.frombuffer(question, np.uint8)[None])
        found: list[float] = []

        def is_enough(data: bytes) -> bool:
            self.hear(data, 0)
            found.extend(a.value for a in self._answers if a.motor == drive.id and a.register == register)
            return bool(found)

        for _ in range(TRIES):
            self._answers = []
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
