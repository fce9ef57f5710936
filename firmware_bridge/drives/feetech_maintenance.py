"""Finding Feetech's STS servos and changing their ids."""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.drives import feetech
from firmware_bridge.drives.feetech import Instruction
from firmware_bridge.drives.feetech_bus import MOST_ID
from firmware_bridge.drives.feetech_setup import BAUD, MODELS, read, transact, write
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.errors import BridgeError


class FeetechMaintenance(Maintenance):
    """Upkeep of one port's servos."""

    baud = BAUD
    ids = range(MOST_ID + 1)
    no_watchdog = "such servos hold their last position: cut their power by another way"

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        return [self._describe(exchange, id_) for id_ in ids if self.ping(exchange, id_)]

    def ping(self, exchange: Exchange, id_: int) -> bool:
        return transact(exchange, id_, feetech.make_packet(id_, Instruction.PING)) is not None

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        if not 0 <= new_id <= MOST_ID:
            raise BridgeError("id", expected=f"0 to {MOST_ID}", found=str(new_id), what_to_do="choose another")
        write(exchange, id_, feetech.TORQUE_ENABLE, 1, 0)
        write(exchange, id_, feetech.LOCK, 1, 0)
        transact(exchange, id_, feetech.make_packet(id_, Instruction.WRITE, bytes([feetech.ID, new_id])))
        if write(exchange, new_id, feetech.LOCK, 1, 1) != 1:
            raise BridgeError(f"servo {id_}", expected=f"an answer as {new_id}", found="none", what_to_do="scan again")
        return ""

    def _describe(self, exchange: Exchange, id_: int) -> Found:
        number = read(exchange, id_, feetech.MODEL_NUMBER, 2)
        names = [name for name, model in MODELS.items() if model.number == number]
        facts: dict[str, float | int | str] = {} if number is None else {"model_number": number}
        for name, address in (("temperature_c", feetech.PRESENT_TEMPERATURE), ("return_delay", feetech.RETURN_DELAY)):
            if (told := read(exchange, id_, address, 1)) is not None:
                facts[name] = told
        return Found(id_, "".join(names), None, read(exchange, id_, feetech.TORQUE_ENABLE, 1) == 1, facts)


def maintenance() -> FeetechMaintenance:
    """For the list of protocols."""
    return FeetechMaintenance()
