"""Finding GO-M8010-6 motors: a frame that says brake asks, so nothing turns."""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.drives.go_m8010 import BAUD, ERRORS, GoStream, Status, read_reply
from firmware_bridge.drives.go_m8010_bus import ANSWER_S, MODEL, MOST_ID, brake
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance

TRIES = 2


class GoMaintenance(Maintenance):
    """Upkeep of one port's motors."""

    baud = BAUD
    ids = range(MOST_ID + 1)
    no_set_id = "use Unitree's own tool (changeID of unitree_actuator_sdk)"
    no_watchdog = "nobody has described one: cut their power by another way"

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        found = (self._ask(exchange, id_) for id_ in ids if id_ in self.ids)
        return [drive for drive in found if drive is not None]

    def _ask(self, exchange: Exchange, id_: int) -> Found | None:
        stream, found = GoStream(), list[Found]()

        def is_enough(data: bytes) -> bool:
            for reply in map(read_reply, stream.feed(data)):
                if reply.id == id_:
                    found.append(Found(id_, MODEL, None, reply.status == Status.FOC, {
                        "temperature_c": reply.temperature_c, "q_rad": reply.q,
                        "error": ERRORS[reply.error] if reply.error < len(ERRORS) else str(reply.error)}))
            return bool(found)

        return found[-1] if any(exchange(brake(id_), is_enough, ANSWER_S) for _ in range(TRIES)) else None


def maintenance() -> GoMaintenance:
    """For the list of protocols."""
    return GoMaintenance()
