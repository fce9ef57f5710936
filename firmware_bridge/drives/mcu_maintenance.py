"""Looking after a microcontroller with our link: it is one, whatever it has of motors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firmware_bridge.drives.language import Drive, Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.drives.mcu_bus import BAUD, MODEL, McuBus, greet
from firmware_bridge.drives.mcu_link import HELLO, MOST_MOTORS, VERSION, FrameStream, MotorFault
from firmware_bridge.errors import BridgeError

ANSWER_S = 0.1
SESSION = 0xFFFF


class McuMaintenance(Maintenance):
    """Upkeep of the motors behind one microcontroller; a session of ours damps one that another host drove."""

    baud = BAUD
    ids = range(MOST_MOTORS)
    no_set_id = "the numbers are an order in the board's firmware: change it there, or the ids in the wiring file"

    def _hello(self, exchange: Exchange, watchdog_ms: int) -> np.void | None:
        """What it says of itself; None for no answer.

        Raises:
            BridgeError: its firmware is of another version of the link.
        """
        frame = greet(exchange, FrameStream(), SESSION, 0, watchdog_ms)
        if frame is None:
            return None
        if frame.version != VERSION:
            raise BridgeError("firmware", expected=f"version {VERSION} of the link", found=f"version {frame.version}",
                              what_to_do="reflash it with firmware_bridge/mcu of this release")
        hello: np.void = np.frombuffer(frame.body, HELLO, 1)[0]
        return hello

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        hello = self._hello(exchange, 0)
        if hello is None:
            return []
        drives = [Drive(at, at, MODEL) for at in range(int(hello["motors"]))]
        bus, watchdog_s = McuBus(drives), int(hello["watchdog_ms"]) * 1e-3
        bus.connect(exchange, watchdog_s)
        frames = bus.ask(np.zeros((len(drives), 5)))
        if not exchange(b"".join(frames), lambda data: bus.hear(data, 1) > 0, ANSWER_S):
            return []
        firmware = bytes(hello["firmware"]).decode("ascii", "replace")
        return [Found(id_, firmware, watchdog_s, bool(bus.states.is_driving[id_]), self._facts(bus, id_))
                for id_ in ids if id_ < len(drives)]

    @staticmethod
    def _facts(bus: McuBus, id_: int) -> dict[str, float | int | str]:
        faults = MotorFault(int(bus.states.faults[id_]) & 0xC03F)
        names = "|".join(bit.name or "" for bit in MotorFault if bit in faults)
        return {"q_rad": float(bus.states.q[id_]), "temperature_c": int(bus.states.temperature_c[id_]),
                "mode": bus.mode.name.lower(), "faults": names}

    def ping(self, exchange: Exchange, id_: int) -> bool:
        return self._hello(exchange, 0) is not None

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        """Of the whole board, until it is switched off."""
        hello = self._hello(exchange, round(watchdog_s * 1e3))
        if hello is None:
            raise BridgeError("microcontroller", expected="an answer", found="none", what_to_do="check power and cable")
        return int(hello["watchdog_ms"]) * 1e-3
