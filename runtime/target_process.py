"""The process that makes the gate's targets: a policy, or whatever else stands in its place, between its slots.

It reads the gate's status slot, writes the target slot, and owns no way to command the robot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from firmware_bridge.errors import BridgeError
from runtime.child_life import Life
from runtime.events import emit, emit_refusal
from runtime.faults import BIT
from runtime.realtime import Metronome, freeze_garbage, go_real_time
from runtime.settings import RunSettings
from runtime.slots import Slot

PRIORITY, CORE = 60, 0


class Maker(Protocol):
    """What is ticked.

    Attributes:
        target: the slot that the gate reads.
        period_ns: between two ticks.
    """

    target: Slot
    period_ns: int

    @property
    def ready(self) -> dict[str, Any]:
        """What the supervisor is told when it can be ticked."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """For the operator, at the start."""
        ...

    def tick(self, now_ns: int, late_ns: int) -> None:
        """One period that began at `now_ns`, so much later than it should have; publishes `target`."""
        ...


def run_maker(name: str, argv: list[str], make: Callable[[RunSettings], Maker]) -> int:
    """The whole life of such a process; returns its exit code."""
    life = Life(argv)
    settings = life.settings
    try:
        maker = make(settings)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    freeze_garbage()
    # Only now: all this takes tens of milliseconds, which at this priority would stall whoever else is armed.
    if settings.real_time:
        for line in go_real_time(PRIORITY, CORE):
            emit("warning", message=f"{name} without {line}")
    emit("ready", **maker.ready)
    for line in maker.warnings:
        emit("warning", message=line)
    metronome = Metronome(maker.period_ns)
    try:
        while not life.is_over:
            now = metronome.wait()
            maker.tick(now, metronome.late_ns)
    except Exception as error:  # the gate damps at once instead of waiting for the target to grow old
        maker.target.record["flags"] = BIT["POLICY_FAULT"]
        maker.target.publish()
        emit("error", message=f"{type(error).__name__}: {error}")
        return 1
    return 0
