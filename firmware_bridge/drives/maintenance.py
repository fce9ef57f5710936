"""What a protocol offers beside driving: finding drives, and changing what they keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from firmware_bridge.drives.language import Exchange
from firmware_bridge.errors import BridgeError

WATCHDOG_S = (0.01, 1.0)
"""Shorter trips on a computer without real time, longer is no watchdog."""


@dataclass(frozen=True)
class Found:
    """A drive that answered.

    Attributes:
        id: on its bus.
        model: as it says, or as its full scales say; empty where neither does.
        watchdog_s: after which silence it lets go; 0 for off, None where the protocol cannot say.
        is_driving: it has torque; None where the protocol cannot say without a command.
        facts: what else it said, by name with the unit, for a table or a program.
    """

    id: int
    model: str = ""
    watchdog_s: float | None = None
    is_driving: bool | None = None
    facts: dict[str, float | int | str] = field(default_factory=dict)


class Maintenance(ABC):
    """One protocol's upkeep; nothing of it gives torque.

    Attributes:
        baud: usual on its port.
        ids: that a scan asks when it is told none.
        no_set_id, no_watchdog: why the protocol has none, and what to do instead; read when the method is not there.
    """

    baud: int
    ids: Sequence[int]
    no_set_id = "use the maker's own tool"
    no_watchdog = "use the maker's own tool"

    @abstractmethod
    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        """Who of these answers, in the order of the ids."""

    def ping(self, exchange: Exchange, id_: int) -> bool:
        """Whether one drive answers now: one question, one answer."""
        return bool(self.scan(exchange, [id_]))

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        """Give a drive another id, and make it outlive a power cycle; what remains to be done, or nothing.

        Raises:
            BridgeError: the protocol has no such thing, or the drive did not take it.
        """
        raise BridgeError("set-id", expected="a protocol that can change an id", found="this one, which cannot",
                          what_to_do=self.no_set_id)

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        """Set a drive's watchdog and give what it says it is then, s.

        Raises:
            BridgeError: the protocol has no such thing, or the drive did not take it.
        """
        raise BridgeError("watchdog", expected="a protocol whose drives have a watchdog that can be set",
                          found="this one, whose drives have none", what_to_do=self.no_watchdog)
