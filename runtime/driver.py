"""What the supervisor has to know of the process that makes the targets, be it a policy or something in its place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.child import Child
from runtime.console import Console
from runtime.faults import Mode, Request
from runtime.mux import Source
from runtime.pilot import Phase
from runtime.robot import Robot
from runtime.settings import RunSettings


@dataclass(frozen=True)
class Seen:
    """One look of the supervisor.

    Attributes:
        mode: of the gate; phase, source: of the newest target.
        asked: what the gate was asked for last.
        gesture: an operator's gesture counted since the last look.
        console: the terminal, for lines typed; silent while it is lent to the operator's process.
    """

    mode: Mode
    phase: Phase
    source: Source
    asked: Request
    gesture: bool
    console: Console


class Driver(Protocol):
    """The supervisor's side of such a process.

    Attributes:
        name: of the process, for people and files.
        module: what `python -m` starts, with the file of the settings (`runtime.target_process`).
        robot: as the gate has it.
        robot_module: what `python -m` starts for a simulated robot of the run's own.
        told: the processes that lines can be written to (`Child.tell`).
    """

    name: str
    module: str
    robot: Robot
    robot_module: Sequence[str]
    told: Collection[str]

    def share(self, settings: RunSettings, children: Mapping[str, Child]) -> None:
        """Make what it needs of shared memory besides status, target and control; `children` will be the processes."""
        ...

    def awaited(self) -> str:
        """What nothing is armed without, in words; empty when it is there."""
        ...

    def started(self, settings: RunSettings, ready: dict[str, Any], notes: dict[str, Any]) -> RunSettings:
        """The settings for the processes that start after it, and notes for the report, from its `ready`."""
        ...

    def confirmation(self, settings: RunSettings) -> str:
        """What a person is asked before a real robot is armed; the answer is MOVE."""
        ...

    def hear(self, event: dict[str, Any]) -> None:
        """An event of any process besides errors and warnings."""
        ...

    def look(self, seen: Seen) -> Request:
        """What to ask of the gate now, while nothing is damped yet."""
        ...

    def silence_ms(self) -> int:
        """For how long the gate should write nothing from now on; 0 for no such wish. Told once."""
        ...

    def line(self, mode: Mode, phase: Phase) -> str:
        """What it is doing, for the status line."""
        ...

    def end(self, notes: dict[str, Any]) -> None:
        """Notes for the report, once all processes have ended."""
        ...
