"""What the far ends of a servo bus have in common: servos with registers on one pair of wires, and their physics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np

from firmware_bridge.drives.language import Drive
from firmware_bridge.emulated_drives import PAUSE_S, EmulatedMotors

P = TypeVar("P")


class Packets(Protocol[P]):
    """A stream of a protocol's packets."""

    def feed(self, data: bytes) -> list[P]:
        """The packets that are complete now."""
        ...

    def forget(self) -> None:
        """Let go of the beginning of a packet whose end has not come."""
        ...


class ServoFarEnd(ABC, Generic[P]):
    """Servos on one pair of wires.

    Args:
        drives: who is on the bus.
        motors: the physics of all drives; `rows` says which of them these are.
        memory_bytes: of each servo's registers.

    Attributes:
        memory: (n,) each servo's registers.
    """

    def __init__(self, drives: list[Drive], motors: EmulatedMotors, rows: list[int], stream: Packets[P],
                 memory_bytes: int) -> None:
        self._stream = stream
        self._motors, self._rows, self._heard_s = motors, np.array(rows, np.intp), motors.now_s
        self._at = {drive.id: at for at, drive in enumerate(drives)}
        self.memory = [bytearray(memory_bytes) for _ in drives]

    def brown_out(self) -> None:
        """All lose their power and start again, limp, with what stands in RAM as it was at first."""
        for at in range(len(self.memory)):
            self._start(at)

    @abstractmethod
    def _start(self, at: int) -> None:
        """A servo's power comes."""

    def _hear(self, data: bytes) -> list[P]:
        """Packets of some bytes; half a one whose end has not come in time is forgotten."""
        if self._motors.now_s - self._heard_s > PAUSE_S:
            self._stream.forget()
        self._heard_s = self._motors.now_s
        return self._stream.feed(data)

    def _is_alive(self, number: int) -> bool:
        """Whether such a servo is there and answers."""
        return number in self._at and not self._motors.is_dead[self._rows[self._at[number]]]
