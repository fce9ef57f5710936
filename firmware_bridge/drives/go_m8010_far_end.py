"""The far end of a GO-M8010-6 port: motors that answer as those do, for tests and for people without any."""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.go_m8010 import OUT_BYTES, OUT_HEAD, OVER_TEMPERATURE_C, GoCodec, GoStream, Status
from firmware_bridge.drives.go_m8010_bus import EVERYBODY, check
from firmware_bridge.drives.language import Drive
from firmware_bridge.emulated_drives import PAUSE_S, EmulatedMotors

OVER_TEMPERATURE = 1


class GoFarEnd:
    """Motors on one pair of wires.

    Args:
        drives: who is on the bus.
        motors: the physics of all drives, behind the gear; `rows` says which of them these are.
    """

    def __init__(self, drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> None:
        check(drives)
        self._codec = GoCodec([drive.id for drive in drives])
        self._stream = GoStream(OUT_HEAD)
        self._motors, self._rows, self._heard_s = motors, np.array(rows, np.intp), motors.now_s
        self._at = {drive.id: at for at, drive in enumerate(drives)}
        self._statuses = np.zeros(len(drives), np.uint8)

    def brown_out(self) -> None:
        """All lose their power and start again."""
        self._statuses[:] = Status.BRAKE

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        if self._motors.now_s - self._heard_s > PAUSE_S:
            self._stream.forget()
        self._heard_s = self._motors.now_s
        if len(data) == OUT_BYTES and self._stream.is_empty:  # the usual case: one whole question
            one = self._codec.decode_command_one(data)
            if one is not None:
                return self._obey(*one)
        out: list[bytes] = []
        commands = self._codec.decode_commands(self._stream.feed(data))
        for number, status, target in zip(commands.ids.tolist(), commands.statuses.tolist(), commands.targets,
                                          strict=True):
            out.append(self._obey(number, status, target))
        return b"".join(out)

    def _obey(self, number: int, status: int, target: np.ndarray) -> bytes:
        heard = list(self._at.values()) if number == EVERYBODY else [self._at[number]] if number in self._at else []
        alive = [at for at in heard if not self._motors.is_dead[self._rows[at]]]
        for at in alive:
            self._command(at, status, target)
        return self._answer(alive[0]) if number != EVERYBODY and alive else b""

    def _command(self, at: int, status: int, target: np.ndarray) -> None:
        motors, row = self._motors, self._rows[at]
        if motors.temperature_c[row] >= OVER_TEMPERATURE_C:
            motors.faults[row] = OVER_TEMPERATURE
        motors.is_enabled[row] = status == Status.FOC and motors.faults[row] == 0
        self._statuses[at] = status if motors.is_enabled[row] else Status.BRAKE
        motors.command(self._rows[[at]], target[None])

    def _answer(self, at: int) -> bytes:
        motors, row = self._motors, self._rows[at]
        state = float(motors.q[row]), float(motors.dq[row]), float(motors.tau[row])
        return self._codec.encode_one(at, state, float(motors.temperature_c[row]), int(motors.faults[row]),
                                      int(self._statuses[at]))


def far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> GoFarEnd:
    """For the list of protocols."""
    return GoFarEnd(drives, motors, rows)
