"""Hands in the gate's process: bus, slot and ring around `HandGate`. A bug of ours here costs the body no tick."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.dds import DdsSettings
from firmware_bridge.dex3 import Dex3Bus
from firmware_bridge.hand_bus import LEFT, RIGHT, SIDES, HandBus
from firmware_bridge.motor_bus import Reading
from runtime.errors import Refused
from runtime.events import emit
from runtime.faults import Mode
from runtime.hand import KEEP, HandModel
from runtime.hand_calibration import hand_of
from runtime.hand_gate import HandGate
from runtime.hand_slots import hand_ring, order_slot
from runtime.settings import GATE_HZ, RunSettings

FIRST_STATE_S = 1.0
"""How long hands are waited for: both were heard within 0.1 s wherever there were any."""


def _dex3(settings: RunSettings) -> HandBus:
    return Dex3Bus(DdsSettings(settings.domain, settings.interface, settings.peers))


def _inspire(settings: RunSettings) -> HandBus:
    from firmware_bridge.inspire_hands import InspireBus

    if settings.hand_ports is None:
        raise Refused("hands on serial ports", expected="their ports", found="none",
                      what_to_do="name them by --hand-ports LEFT,RIGHT, or as `hands` in the wiring file")
    return InspireBus(*settings.hand_ports)


BUSES: dict[str, Callable[[RunSettings], HandBus]] = {"dex3": _dex3, "inspire": _inspire}
"""A hand's `bus` -> what opens it. Another make of hands is a row here and a file."""


def open_hand_bus(model: HandModel, settings: RunSettings) -> HandBus:
    """The bus of a hand's file.

    Raises:
        Refused: one that nobody speaks, or whose ports nobody named.
    """
    if model.bus not in BUSES:
        raise Refused(f"hand {model.name}", expected=f"a bus among {', '.join(BUSES)}", found=model.bus,
                      what_to_do="correct `bus` in the hand's file")
    return BUSES[model.bus](settings)


class GateHands:
    """The hands of a gate's process.

    Args:
        settings: with `hands`.
    """

    def __init__(self, settings: RunSettings) -> None:
        assert settings.hands is not None
        model, self._settings = hand_of(settings), settings
        self._gate = HandGate(model, open_hand_bus(model, settings), GATE_HZ, settings.hands_on_damp or KEEP,
                              is_dry=settings.dry_run)
        shared = Path(settings.shared)
        self._order, self._ring = order_slot(shared, settings.run, model), hand_ring(shared, settings.run, model)
        self._is_broken = False

    def connect(self) -> None:
        """Wait a moment for both hands; a warning a missing one, and none where somebody else commands them.

        Raises:
            Refused: another writer; hands that are required and not there.
        """
        bus, name = self._gate.bus, self._gate.model.name
        end, missing = time.monotonic() + FIRST_STATE_S, {LEFT, RIGHT}
        while missing and time.monotonic() < end:
            missing -= {side for side in missing if bus.read(side) is Reading.NEW}
            time.sleep(0.01)
        for side in (LEFT, RIGHT):
            others = bus.other_writers(side)
            if others:
                raise Refused(f"{SIDES[side]} hand", expected="no other writer", found="; ".join(others),
                              what_to_do="stop the other controller of the hands")
        words = " and ".join(SIDES[side] for side in sorted(missing))
        if missing and self._settings.hands_required:
            raise Refused(f"--hands {name},required", expected="a state of each hand within a second",
                          found=f"nothing from the {words}", what_to_do="connect the hands, or leave `required` out")
        if missing:
            emit("warning", message=f"no {words} {name} hand is heard: the run goes on without")

    def tick(self, now_ns: int, mode: Mode) -> None:
        """One gate tick, after the body's."""
        if self._is_broken:
            return
        try:
            self._order.read()
            if self._gate.tick(now_ns, mode, self._order.record):
                self._ring.record[0] = self._gate.record[0]
                self._ring.push()
                while self._gate.messages:
                    emit("warning", message=self._gate.messages.popleft())
        except Exception as error:
            self._is_broken = True
            emit("warning", message=f"hands are left alone from here on: {type(error).__name__}: {error}")

    def close(self) -> None:
        """Let go of the bus."""
        self._gate.bus.close()
