"""Finding Damiao's drives and changing what they keep: by their registers, which answer without torque.

Registers 7 (what a drive answers with) and 8 (its id) take effect when they are written and outlive a power cycle only
once saved: jia-xie/python-damiao-driver `docs/concept/registers.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from firmware_bridge.drives import damiao
from firmware_bridge.drives.can_frames import CanFrameLink
from firmware_bridge.drives.can_link import CanLink
from firmware_bridge.drives.damiao import Answer, Register
from firmware_bridge.drives.damiao_adapter import DamiaoLink
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.errors import BridgeError

ANSWER_S = 0.02
TRIES = 3
OPENING_S = 0.02
AT_ONCE = 8
"""Questions in one go: what a bus takes within the time that an answer is waited for."""
_TOLD = (Register.V_MAX, Register.T_MAX, Register.TIMEOUT, Register.CONTROL_MODE, Register.MASTER_ID)


class DamiaoMaintenance(Maintenance):
    """Upkeep of the drives behind one adapter."""

    baud = 921_600
    ids = range(1, 33)

    def __init__(self, link: CanLink) -> None:
        self._link = link
        self._is_open = False

    def scan(self, exchange: Exchange, ids: Sequence[int]) -> list[Found]:
        self._open(exchange)
        p_max: dict[int, float] = {}
        for begin in range(0, len(ids), AT_ONCE):
            p_max |= self._ask(exchange, list(ids[begin : begin + AT_ONCE]), Register.P_MAX)
        told = {register: self._ask(exchange, list(p_max), register) for register in _TOLD}
        errors = self._errors(exchange, {id_: int(master) for id_, master in told[Register.MASTER_ID].items()})
        return [self._found(id_, p_max[id_], {register: told[register].get(id_) for register in _TOLD}, errors.get(id_))
                for id_ in ids if id_ in p_max]

    def ping(self, exchange: Exchange, id_: int) -> bool:
        self._open(exchange)
        return bool(self._collect(exchange, [id_], Register.P_MAX, damiao.make_read))

    def set_id(self, exchange: Exchange, id_: int, new_id: int) -> str:
        self._open(exchange)
        self._write(exchange, id_, Register.MASTER_ID, new_id + damiao.MASTER_OFFSET)
        self._send(exchange, damiao.make_write(id_, Register.ID, new_id))
        for at in (new_id, id_):  # one that takes it later is saved under its old id
            if self.ping(exchange, at):
                self._send(exchange, damiao.make_save(at))
                return "" if at == new_id else f"switch its power off and on: it answers as {id_} until then"
        raise BridgeError(f"drive {id_}", expected=f"an answer as {new_id}", found="none, and none as the old one",
                          what_to_do="switch its power off and on, then scan again")

    def set_watchdog(self, exchange: Exchange, id_: int, watchdog_s: float) -> float:
        self._open(exchange)
        told = self._write(exchange, id_, Register.TIMEOUT, round(watchdog_s * damiao.TIMEOUT_PER_S))
        self._send(exchange, damiao.make_save(id_))
        return told / damiao.TIMEOUT_PER_S

    def _open(self, exchange: Exchange) -> None:
        if not self._is_open and self._link.opening():
            exchange(self._link.opening(), lambda data: self._heard(data) is None, OPENING_S)
        self._is_open = True

    def _errors(self, exchange: Exchange, masters: dict[int, int]) -> dict[int, int]:
        """The code in place of an error that each says of itself, by what it answers with; asked without a command."""
        told: dict[int, int] = {}

        def is_enough(data: bytes) -> bool:
            frames = self._link.feed(data)
            for number, row in zip(frames.ids.tolist(), frames.data, strict=True):
                told.update({id_: int(row[0]) >> 4 for id_, master in masters.items()
                             if number == master and row[0] & 0xF == id_ & 0xF})
            return len(told) == len(masters)

        for _ in range(TRIES):
            missing = [id_ for id_ in masters if id_ not in told]
            if missing:
                exchange(b"".join(self._packed(damiao.make_refresh(id_)) for id_ in missing), is_enough, ANSWER_S)
        return told

    def _found(
        self, id_: int, p_max: float, told: dict[Register, float | None], error: int | None
    ) -> Found:
        scale = (p_max, told[Register.V_MAX], told[Register.T_MAX])
        models = [name for name, r in damiao.MODELS.items() if (r.q_rad, r.dq_rad_s, r.tau_n_m) == scale]
        timeout, mode, master = told[Register.TIMEOUT], told[Register.CONTROL_MODE], told[Register.MASTER_ID]
        facts: dict[str, float | int | str] = {"pmax_rad": p_max}
        for name, value in (("vmax_rad_s", scale[1]), ("tmax_n_m", scale[2])):
            if value is not None:
                facts[name] = value
        if mode is not None:
            facts["mode"] = {1: "MIT", 2: "position", 3: "velocity", 4: "position-force"}.get(int(mode), str(int(mode)))
        if master is not None:
            facts["answers_as"] = int(master)
        watchdog_s = None if timeout is None else timeout / damiao.TIMEOUT_PER_S
        if error is not None and error > damiao.ENABLED:
            facts["error"] = damiao.ERRORS.get(error, str(error))
        return Found(id_, " or ".join(models), watchdog_s, None if error is None else error == damiao.ENABLED, facts)

    def _ask(self, exchange: Exchange, ids: list[int], register: Register) -> dict[int, float]:
        """What the registers of these hold; those that do not say are left out."""
        told: dict[int, float] = {}
        for _ in range(TRIES):
            missing = [id_ for id_ in ids if id_ not in told]
            if not missing:
                break
            told |= self._collect(exchange, missing, register, damiao.make_read)
        return told

    def _write(self, exchange: Exchange, id_: int, register: Register, value: int) -> float:
        """Write, then read back.

        Raises:
            BridgeError: the drive says something else afterwards.
        """
        self._collect(exchange, [id_], register, lambda at, number: damiao.make_write(at, number, value))
        told = self._ask(exchange, [id_], register).get(id_)
        if told != value:
            raise BridgeError(f"drive {id_}, register {register.name}", expected=str(value), found=str(told),
                              what_to_do="take its torque away, check the wiring, and try again")
        return told

    def _collect(self, exchange: Exchange, ids: list[int], register: Register,
                 question: Callable[[int, int], bytes]) -> dict[int, float]:
        told: dict[int, float] = {}

        def is_enough(data: bytes) -> bool:
            for answer in self._heard(data):
                if answer.motor in ids and answer.register == register:
                    told[answer.motor] = answer.value
            return len(told) == len(ids)

        packed = b"".join(self._packed(question(id_, register)) for id_ in ids)
        exchange(packed, is_enough, ANSWER_S)
        return told

    def _send(self, exchange: Exchange, data: bytes) -> None:
        """Something that is answered or not."""
        exchange(self._packed(data), lambda heard: self._heard(heard) is None, ANSWER_S)

    def _packed(self, data: bytes) -> bytes:
        return self._link.pack(np.array([damiao.REGISTERS_ID], np.uint32), np.frombuffer(data, np.uint8)[None])

    def _heard(self, data: bytes) -> list[Answer]:
        frames = self._link.feed(data)
        answers = [damiao.read_answer(row.tobytes()) for row in frames.data[frames.lengths == 8]]
        return [answer for answer in answers if answer is not None]


def slcan() -> DamiaoMaintenance:
    """Behind an slcan adapter."""
    return DamiaoMaintenance(SlcanLink())


def adapter() -> DamiaoMaintenance:
    """Behind Damiao's own adapter."""
    return DamiaoMaintenance(DamiaoLink())


def can() -> DamiaoMaintenance:
    """On a CAN interface of the system."""
    return DamiaoMaintenance(CanFrameLink())
