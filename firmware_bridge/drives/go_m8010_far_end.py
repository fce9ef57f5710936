"""The far end of a GO-M8010-6 port: motors that answer as those do, for tests and for people without any."""

from __future__ import annotations

from firmware_bridge.drives.go_m8010 import (
    OUT_HEAD,
    OVER_TEMPERATURE_C,
    Command,
    GoStream,
    Reply,
    Status,
    make_reply,
    read_command,
)
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
        self._stream = GoStream(OUT_HEAD)
        self._motors, self._heard_s = motors, motors.now_s
        self._rows = dict(zip((drive.id for drive in drives), rows, strict=True))
        self._statuses = dict.fromkeys(self._rows, int(Status.BRAKE))

    def brown_out(self) -> None:
        """All lose their power and start again."""
        self._statuses = dict.fromkeys(self._rows, int(Status.BRAKE))

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        if self._motors.now_s - self._heard_s > PAUSE_S:
            self._stream.forget()
        self._heard_s = self._motors.now_s
        return b"".join([self._take(read_command(frame)) for frame in self._stream.feed(data)])

    def _take(self, command: Command) -> bytes:
        dead = self._motors.is_dead
        heard = list(self._rows) if command.id == EVERYBODY else [command.id]
        alive = [number for number in heard if number in self._rows and not dead[self._rows[number]]]
        for number in alive:
            self._command(number, command)
        return self._answer(alive[0]) if command.id != EVERYBODY and alive else b""

    def _command(self, number: int, command: Command) -> None:
        motors, row = self._motors, self._rows[number]
        if motors.temperature_c[row] >= OVER_TEMPERATURE_C:
            motors.faults[row] = OVER_TEMPERATURE
        is_on = command.status == Status.FOC and motors.faults[row] == 0
        motors.is_enabled[row] = is_on
        self._statuses[number] = command.status if is_on else Status.BRAKE
        motors.target[row], motors.commanded_s[row] = command.target, motors.now_s

    def _answer(self, number: int) -> bytes:
        motors, row = self._motors, self._rows[number]
        return make_reply(Reply(
            number, float(motors.q[row]), float(motors.dq[row]), float(motors.tau[row]), int(motors.temperature_c[row]),
            int(motors.faults[row]), self._statuses[number]))


def far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> GoFarEnd:
    """For the list of protocols."""
    return GoFarEnd(drives, motors, rows)
