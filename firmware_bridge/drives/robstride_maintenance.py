"""Finding RobStride's drives and changing what they keep, in their own protocol."""

from __future__ import annotations

from collections.abc import Sequence

from firmware_bridge.drives import robstride
from firmware_bridge.drives.can_frames import CanFrameLink
from firmware_bridge.drives.can_link import CanLink
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.drives.robstride import HOST, Kind, Parameter
from firmware_bridge.drives.robstride_adapter import RobstrideLink
from firmware_bridge.drives.robstride_bus import ANSWER_S, OPENING_S, pack_one, read, write
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.errors import BridgeError

_MODES = {0: "operation", 1: "position", 2: "velocity", 3: "current"}


class RobstrideMaintenance(Maintenance):
    """Upkeep of the drives behind one adapter."""

    baud = 921_600
    ids = range(1, 128)

    def __init__(self, link: CanLink) -> None:
        self._link = link
        self._is_open = False

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        return [self._told(exchange, id_) for id_ in ids if self.ping(exchange, id_)]

    def ping(self, exchange: Exchange, id_: int) -> bool:
        self._open(exchange)

        def is_enough(data: bytes) -> bool:
            numbers = self._link.feed(data).ids.tolist()
            return any(number >> 24 & 0x1F == Kind.GET_ID and number >> 8 & 0xFF == id_ for number in numbers)

        return exchange(pack_one(self._link, robstride.make_id(Kind.GET_ID, HOST, id_), bytes(8)), is_enough, ANSWER_S)

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        self._open(exchange)
        number = robstride.make_id(Kind.SET_ID, new_id << 8 | HOST, id_)
        exchange(pack_one(self._link, number, bytes(8)), lambda heard: len(self._link.feed(heard).ids) > 0, ANSWER_S)
        if not self.ping(exchange, new_id):
            raise BridgeError(f"drive {id_}", expected=f"an answer as {new_id}", found="none",
                              what_to_do="take its torque away, switch its power off and on, then scan")
        return self._save(exchange, new_id)

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        self._open(exchange)
        counts = round(watchdog_s * robstride.TIMEOUT_PER_S)
        told = write(exchange, self._link, id_, Parameter.CAN_TIMEOUT, counts)
        if told is None or int.from_bytes(told, "little") != counts:
            raise BridgeError(f"drive {id_}, parameter CAN_TIMEOUT", expected=str(counts),
                              found="no answer" if told is None else str(int.from_bytes(told, "little")),
                              what_to_do="take its torque away, check the wiring, and try again")
        self._save(exchange, id_)
        return counts / robstride.TIMEOUT_PER_S

    def _save(self, exchange: Exchange, id_: int) -> str:
        exchange(pack_one(self._link, robstride.make_id(Kind.SAVE, HOST, id_), bytes(range(1, 9))),
                 lambda heard: len(self._link.feed(heard).ids) > 0, ANSWER_S)
        return ""

    def _open(self, exchange: Exchange) -> None:
        if not self._is_open and self._link.opening():
            exchange(self._link.opening(), lambda data: False, OPENING_S)
        self._is_open = True

    def _told(self, exchange: Exchange, id_: int) -> Found:
        timeout = read(exchange, self._link, id_, Parameter.CAN_TIMEOUT)
        mode = read(exchange, self._link, id_, Parameter.RUN_MODE)
        facts: dict[str, float | int | str] = {}
        for name, index in (("limit_torque_n_m", Parameter.LIMIT_TORQUE), ("limit_speed_rad_s", Parameter.LIMIT_SPEED),
                            ("bus_v", Parameter.BUS_VOLTAGE), ("position_rad", Parameter.POSITION)):
            raw = read(exchange, self._link, id_, index)
            if raw is not None:
                facts[name] = round(robstride.as_float(raw), 4)
        if mode is not None:
            facts["mode"] = _MODES.get(mode[0], str(mode[0]))
        tau = facts.get("limit_torque_n_m")
        models = [name for name, r in robstride.MODELS.items() if r.tau_n_m == tau]
        watchdog_s = None if timeout is None else int.from_bytes(timeout, "little") / robstride.TIMEOUT_PER_S
        return Found(id_, " or ".join(models), watchdog_s, None, facts)


def slcan() -> RobstrideMaintenance:
    """Behind an slcan adapter."""
    return RobstrideMaintenance(SlcanLink())


def adapter() -> RobstrideMaintenance:
    """Behind RobStride's own adapter."""
    return RobstrideMaintenance(RobstrideLink())


def can() -> RobstrideMaintenance:
    """On a CAN interface of the system."""
    return RobstrideMaintenance(CanFrameLink())
