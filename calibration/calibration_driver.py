"""The supervisor's side of a routine (`runtime.driver`): when it may begin, what it says and asks, how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from runtime.child import Child
from runtime.deadman import deadman_text
from runtime.driver import Seen
from runtime.faults import Mode, Request
from runtime.operator_view import confirmation_text
from runtime.pilot import Phase
from runtime.robot import Robot
from runtime.settings import RunSettings

BAR = 30


def bar(progress: float) -> str:
    """How far it is, for a terminal."""
    done = int(BAR * min(max(progress, 0.0), 1.0))
    return f"[{'#' * done}{'.' * (BAR - done)}] {100 * progress:3.0f} %"


class CalibrationDriver:
    """A routine drives.

    Args:
        robot: within the routine's envelope.
        hangs: it has to hang.
        say: shows a line to the person.

    Attributes:
        is_done: the routine ran to its end; `stopped`: why it did not, "" while nobody said.
    """

    name, module = "conductor", "calibration.conductor_process"
    robot_module: Sequence[str] = ("calibration.simulated_bench",)
    told: Collection[str] = ("conductor", "sim")

    def __init__(self, settings: RunSettings, robot: Robot, *, hangs: bool, say: Callable[[str], None]) -> None:
        self.robot, self._settings, self._hangs, self._say = robot, settings, hangs, say
        self._children: Mapping[str, Child] = {}
        self._is_held, self._is_asked, self._progress = settings.deadman is None, False, 0.0
        self.is_done, self.stopped, self._silence_ms = False, "", 0

    def share(self, settings: RunSettings, children: Mapping[str, Child]) -> None:
        """Nothing; the routine's ring is its own process's."""
        self._settings, self._children = settings, children

    def awaited(self) -> str:
        """The dead-man in a hand."""
        deadman = self._settings.deadman
        return "" if self._is_held or deadman is None else f"the dead-man: {deadman_text(deadman)}"

    def started(self, settings: RunSettings, ready: dict[str, Any], notes: dict[str, Any]) -> RunSettings:
        """As they are."""
        return settings

    def confirmation(self, settings: RunSettings) -> str:
        """What a run asks, and that nothing stands."""
        where = ("It must HANG, its feet off the floor: a routine moves one joint after the other and balances nothing."
                 if self._hangs else "It stays where the plan says; nothing balances it.")
        return f"{where}\n{confirmation_text(settings, self.robot)}"

    def hear(self, event: dict[str, Any]) -> None:
        """What the routine says and asks; what a simulated person answers."""
        kind = event["event"]
        if kind == "said":
            self._line(str(event["text"]))
        elif kind == "question":
            self._is_asked = True
            self._ask(event)
        elif kind == "answer" and self._is_asked:
            self._answer(str(event["text"]))
        elif kind == "silence":
            self._silence_ms = round(1000 * float(event["seconds"]))
        elif kind == "routine":
            self._progress, self._is_held = float(event["progress"]), bool(event["is_held"])
            self.stopped, self.is_done = str(event["stopped"]), bool(event["is_done"])

    def _ask(self, question: dict[str, Any]) -> None:
        if "sim" in self._children:
            self._line(str(question["text"]))
            self._children["sim"].tell(json.dumps(question))
            return
        if question.get("choices"):
            self._line(f"{question['text']}; type one of: {', '.join(question['choices'])}")
            return
        how = "press Enter" if self._settings.deadman is None else "say so with the dead-man's other button, or Enter"
        self._line(f"{question['text']}; when it is done, {how}")

    def _answer(self, text: str) -> None:
        self._is_asked = False
        self._children[self.name].tell(text)

    def _line(self, text: str) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self._say(text)

    def look(self, seen: Seen) -> Request:
        """It begins as soon as it is armed; what is typed answers."""
        typed = seen.console.line()
        if typed is not None and self._is_asked:
            self._answer(typed)
        if seen.mode is Mode.READY and seen.phase is Phase.READY and seen.asked is Request.ARM:
            return Request.TRACK
        return Request.NONE

    def silence_ms(self) -> int:
        """As the routine wanted it."""
        wanted, self._silence_ms = self._silence_ms, 0
        return wanted

    def line(self, mode: Mode, phase: Phase) -> str:
        """How far it is."""
        return f"{mode.name:<9}{bar(self._progress)}"

    def end(self, notes: dict[str, Any]) -> None:
        """Nothing more to say."""
