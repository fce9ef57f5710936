"""Finding moteus and changing what they keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

from firmware_bridge.drives import moteus_settings as settings
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.drives.moteus import LineStream, Mode, Register, make_line, read_registers
from firmware_bridge.drives.moteus_codec import QUERY
from firmware_bridge.drives.moteus_settings import ANSWER_S, TRIES, Console
from firmware_bridge.errors import BridgeError

AT_ONCE = 16


class MoteusMaintenance(Maintenance):
    """Upkeep of the drives behind one adapter."""

    baud = 921_600
    ids = range(1, 128)

    def __init__(self) -> None:
        self._stream = LineStream()
        self._checksum: bool | None = None

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        told: dict[int, bytes] = {}
        for begin in range(0, len(ids), AT_ONCE):
            told |= self._ask(exchange, ids[begin : begin + AT_ONCE])
        return [self._found(exchange, id_, told[id_]) for id_ in ids if id_ in told]

    def ping(self, exchange: Exchange, id_: int) -> bool:
        return id_ in self._ask(exchange, [id_])

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        self._ask(exchange, [id_])
        self._console(exchange, id_).tell(settings.ID, new_id)
        if not any(self.ping(exchange, new_id) for _ in range(TRIES)):
            raise BridgeError(f"drive {id_}", expected=f"an answer as {new_id}", found="none",
                              what_to_do="stop it, check the wiring, then scan again")
        self._console(exchange, new_id).save()
        return ""

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        self._ask(exchange, [id_])
        console = self._console(exchange, id_)
        told = console.set(settings.TIMEOUT, watchdog_s)
        if told is None or abs(told - watchdog_s) > 1e-4:
            raise BridgeError(f"drive {id_}, {settings.TIMEOUT}", expected=f"{watchdog_s:g}", found=str(told),
                              what_to_do="stop it, check the wiring, and try again")
        console.save()
        return told

    def _console(self, exchange: Exchange, id_: int) -> Console:
        return Console(exchange, self._stream, id_, self._checksum is not False)

    def _ask(self, exchange: Exchange, ids: Sequence[int]) -> dict[int, bytes]:
        """What those who are there answer; a first question also settles whether lines need a check sum."""
        told: dict[int, bytes] = {}

        def is_enough(data: bytes) -> bool:
            told.update((line.motor, line.payload) for line in self._stream.feed(data) if line.motor in ids)
            return len(told) == len(ids)

        for checksum in (True, False) if self._checksum is None else (self._checksum,):
            taken = self._stream.acknowledged
            exchange(b"".join(make_line(id_, QUERY, checksum=checksum) for id_ in ids), is_enough, ANSWER_S)
            if self._stream.acknowledged > taken or told:
                self._checksum = checksum
                break
        return told

    def _found(self, exchange: Exchange, id_: int, payload: bytes) -> Found:
        registers = read_registers(payload) or {}
        console = self._console(exchange, id_)
        facts: dict[str, float | int | str] = {}
        for name, register, scale in (("position_rad", Register.POSITION, 2 * math.pi),
                                      ("bus_v", Register.VOLTAGE, 1.0), ("fault", Register.FAULT, 1.0)):
            if register in registers:
                facts[name] = round(registers[register] * scale, 4)
        for name in (settings.KP, settings.KD):
            gain = console.get(name)
            if gain is not None:
                facts[name] = gain
        timeout = console.get(settings.TIMEOUT)
        watchdog_s = None if timeout is None else 0.0 if math.isnan(timeout) else timeout
        mode = registers.get(Register.MODE)
        return Found(id_, "moteus", watchdog_s, None if mode is None else mode == Mode.POSITION, facts)


def moteus_maintenance() -> MoteusMaintenance:
    """Behind an fdcanusb, or on a UART."""
    return MoteusMaintenance()
