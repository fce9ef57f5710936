"""Finding Dynamixel servos and changing what they keep."""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.dynamixel import BROADCAST, Instruction, PacketStream, Register
from firmware_bridge.drives.dynamixel_models import MODELS, MOST_ID
from firmware_bridge.drives.dynamixel_setup import BAUD, WATCHDOG_S, read, transact, watchdog_counts, write
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.errors import BridgeError

EVERYBODY_S = 1.0
"""Until all 253 have answered a ping to everybody, 3 ms each and some."""
ID, DELAY_S = Register(7, 1), 2e-6
STRUCK = 255


class DynamixelMaintenance(Maintenance):
    """Upkeep of one port's servos."""

    baud = BAUD
    ids = range(MOST_ID + 1)

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        there = self._ping(exchange, BROADCAST, EVERYBODY_S) if len(ids) > 1 else self._ping(exchange, ids[0])
        return [self._describe(exchange, id_, there[id_]) for id_ in ids if id_ in there]

    def ping(self, exchange: Exchange, id_: int) -> bool:
        return id_ in self._ping(exchange, id_)

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        if not 0 <= new_id <= MOST_ID:
            raise BridgeError("id", expected=f"0 to {MOST_ID}", found=str(new_id), what_to_do="choose another")
        write(exchange, id_, dynamixel.TORQUE_ENABLE, 0)
        transact(exchange, id_, dynamixel.make_write(id_, ID, new_id))
        if not self.ping(exchange, new_id):
            raise BridgeError(f"servo {id_}", expected=f"an answer as {new_id}", found="none",
                              what_to_do="scan again; ids are kept where torque is off only")
        return ""

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        """Forgotten when its power goes: a run sets it again."""
        write(exchange, id_, dynamixel.WATCHDOG, 0)
        counts = watchdog_counts(watchdog_s)
        told = write(exchange, id_, dynamixel.WATCHDOG, counts)
        if told != counts:
            raise BridgeError(f"servo {id_}, bus watchdog", expected=str(counts), found=str(told),
                              what_to_do="check the wiring and the firmware (38 or later), and try again")
        return counts * WATCHDOG_S

    def _ping(self, exchange: Exchange, id_: int, seconds: float = 0.02) -> dict[int, int]:
        stream, there = PacketStream(), dict[int, int]()

        def is_enough(data: bytes) -> bool:
            there.update({p.id: int.from_bytes(p.parameters[:2], "little") for p in stream.feed(data)
                          if p.instruction == Instruction.STATUS and len(p.parameters) == 3})
            return id_ in there

        exchange(dynamixel.make_packet(id_, Instruction.PING), is_enough, seconds)
        return there

    def _describe(self, exchange: Exchange, id_: int, number: int) -> Found:
        watchdog = read(exchange, id_, dynamixel.WATCHDOG)
        facts: dict[str, float | int | str] = {"model_number": number}
        for name, register in (("temperature_c", dynamixel.PRESENT_TEMPERATURE), ("mode", dynamixel.OPERATING_MODE),
                               ("hardware_error", dynamixel.HARDWARE_ERROR)):
            if (told := read(exchange, id_, register)) is not None:
                facts[name] = told
        delay = read(exchange, id_, dynamixel.RETURN_DELAY)
        if delay is not None:
            facts["return_delay_s"] = delay * DELAY_S
        names = [name for name, model in MODELS.items() if model.number == number]
        watchdog_s = None if watchdog is None else 0.0 if watchdog == STRUCK else watchdog * WATCHDOG_S
        return Found(id_, "".join(names), watchdog_s, read(exchange, id_, dynamixel.TORQUE_ENABLE) == 1, facts)


def maintenance() -> DynamixelMaintenance:
    """For the list of protocols."""
    return DynamixelMaintenance()
