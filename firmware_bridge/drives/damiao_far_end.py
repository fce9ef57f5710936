"""The far end of a Damiao bus: an adapter and drives that answer as those do, for tests and for people without any."""

from __future__ import annotations

import struct

import numpy as np

from firmware_bridge.drives import damiao
from firmware_bridge.drives.can_link import CanFrames, CanLink
from firmware_bridge.drives.damiao import Register
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mit_word import MitWord
from firmware_bridge.emulated_drives import EmulatedMotors


class DamiaoFarEnd:
    """Drives behind one adapter.

    Args:
        drives: who is on the bus.
        link: how the adapter frames; a far end packs what a host's link reads.
        motors: the physics of all drives; `rows` says which of them these are.
    """

    def __init__(self, drives: list[Drive], link: CanLink, motors: EmulatedMotors, rows: list[int]) -> None:
        self._link, self._motors, self._rows = link, motors, np.array(rows, np.intp)
        self._ids = {drive.id: at for at, drive in enumerate(drives)}
        self._answers = np.array([drive.answer_id or drive.id + damiao.MASTER_OFFSET for drive in drives], np.uint32)
        ranges = [damiao.MODELS[drive.model] for drive in drives]
        self._word = MitWord(ranges)
        self.registers: list[dict[int, float]] = [
            {Register.P_MAX: r.q_rad, Register.V_MAX: r.dq_rad_s, Register.T_MAX: r.tau_n_m, Register.TIMEOUT: 0.0,
             Register.CONTROL_MODE: 1.0, Register.CAN_BAUD: 4.0, Register.MASTER_ID: float(answer),
             Register.ID: float(number)} for r, number, answer in zip(ranges, self._ids, self._answers, strict=True)]
        self._commands = np.zeros((len(drives), 8), np.uint8)

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        frames = self._link.feed(data)
        if self._is_a_cycle(frames):
            self._motors.command(self._rows, self._word.decode_command(frames.data))
            return self._link.pack(self._answers, self._states())
        out: list[bytes] = []
        answering: list[int] = []
        told: list[int] = []
        for number, row in zip(frames.ids.tolist(), frames.data, strict=True):
            if number == damiao.REGISTERS_ID:
                out.append(self._register(row.tobytes()))
                continue
            at = self._ids.get(number)
            if at is None or self._motors.is_dead[self._rows[at]]:
                continue
            answering.append(at)
            if row[:7].tobytes() == b"\xff" * 7 and row[7] >= 0xFB:
                self._switch(at, int(row[7]))
            else:
                self._commands[at] = row
                told.append(at)
        if told:
            self._motors.command(self._rows[told], self._word.decode_command(self._commands)[told])
        if answering:
            out.append(self._link.pack(self._answers[answering], self._states()[answering]))
        return b"".join(out)

    def _is_a_cycle(self, frames: CanFrames) -> bool:
        """The usual case: a target for each drive, in their order, and all alive."""
        order = np.fromiter(self._ids, np.uint32, len(self._ids))
        is_special = (frames.data[:, 0] == 0xFF) & (frames.data[:, 7] >= 0xFB)
        return np.array_equal(frames.ids, order) and not (is_special.any() or self._motors.is_dead[self._rows].any())

    def _switch(self, at: int, code: int) -> None:
        motors, row = self._motors, self._rows[at]
        if code == damiao.ENABLE[7]:
            motors.is_enabled[row] = motors.faults[row] == 0
            motors.target[row], motors.commanded_s[row] = 0, motors.now_s
        elif code == damiao.DISABLE[7]:
            motors.is_enabled[row] = False
        elif code == damiao.SET_ZERO[7]:
            motors.q[row] = 0
        elif code == damiao.CLEAR_FAULT[7]:
            motors.faults[row] = 0

    def _states(self) -> np.ndarray:
        motors, rows = self._motors, self._rows
        state = np.stack([motors.q[rows], motors.dq[rows], motors.tau[rows]], axis=1)
        errors = np.where(motors.faults[rows] > 0, motors.faults[rows], motors.is_enabled[rows])
        warm = np.clip(motors.temperature_c[rows], 0, 255)
        ids = np.array(list(self._ids), np.uint8)
        return self._word.encode_reply(state, ids, errors.astype(np.uint8), np.stack([warm, warm], axis=1))

    def _register(self, data: bytes) -> bytes:
        motor, operation, register = data[0] | data[1] << 8, data[2], data[3]
        at = self._ids.get(motor)
        if at is None or self._motors.is_dead[self._rows[at]] or operation not in (0x33, 0x55, 0xCC):
            return b""
        if operation == 0xCC:
            return self._link.pack(self._answers[[at]], self._states()[[at]])
        values = self.registers[at]
        if operation == 0x55:
            answer = damiao.read_answer(data)
            assert answer is not None
            values[register] = answer.value
            if register == Register.TIMEOUT:
                self._motors.watchdog_s[self._rows[at]] = answer.value / damiao.TIMEOUT_PER_S
            elif register == Register.ID:
                self._ids = {number if other != at else int(answer.value): other for number, other in self._ids.items()}
                motor = int(answer.value)
            elif register == Register.MASTER_ID:
                self._answers[at] = int(answer.value)
        value = values.get(register, 0.0)
        raw = struct.pack("<I", int(value)) if register in damiao.INTEGERS else struct.pack("<f", value)
        answer_data = np.frombuffer(bytes([motor & 0xFF, motor >> 8]) + data[2:4] + raw, np.uint8)[None]
        return self._link.pack(self._answers[[at]], answer_data)
