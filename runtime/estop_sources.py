"""Emergency-stop sources: each is asked for (pressed, silent), and a silent one stops as a pressed one does.

On the command line: `--estop KIND[:WHERE]`, see `KINDS`. A source that is not heard of is silent from the start, so
that nothing arms before every source was alive.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from firmware_bridge.serial_button import open_button
from runtime.errors import Refused
from runtime.gamepad import Gamepad
from runtime.keyboard import Keyboard
from runtime.operator_key import parse_address
from runtime.stop_button import ButtonLine
from runtime.teleop_sources import TeleopSource

KINDS: dict[str, tuple[str, str, str]] = {
    "keyboard": ("", "the run's terminal: space or Esc", "the terminal hung up"),
    "gamepad": ("[:/dev/input/eventN]", "the right one of the four buttons (B, circle)", "unplugged"),
    "network": ("[:HOST:PORT]", "`exoactor teleop stop-button` on another computer", "no right answer for 500 ms"),
    "button": (":PATH", "a board on a serial port, or a FIFO: `STOP`", "no rising `RUN n` for 250 ms"),
    "gpio": (":PATH", "a GPIO value file that reads 1", "the file reads neither 0 nor 1"),
}
"""Kind: (what follows it, what presses it, what makes it silent)."""
TELEOP = "teleop"
"""The stop key, button or message of the run's own source of commands; it comes by itself and is never silent."""
MOST_SOURCES = 16


@dataclass(frozen=True)
class EstopSpec:
    """One `--estop`: its kind, and what follows the first colon, or None."""

    kind: str
    where: str | None


def parse_estop(text: str) -> EstopSpec:
    """KIND[:WHERE].

    Raises:
        Refused: an unknown kind, or one with too much or too little behind it.
    """
    kind, colon, where = text.partition(":")
    forms = ", ".join(name + form for name, (form, _, _) in KINDS.items())
    form = KINDS[kind][0] if kind in KINDS else None
    takes, needs = bool(form), bool(form) and not str(form).startswith("[")
    if form is None or (colon and not (takes and where)) or (needs and not where):
        raise Refused("--estop", expected=forms, found=text, what_to_do="name a source in one of these forms")
    if kind == "network" and where:
        parse_address(where, "--estop network")
    return EstopSpec(kind, where or None)


def parse_estops(texts: Sequence[str]) -> tuple[EstopSpec, ...]:
    """All of a run.

    Raises:
        Refused: one that does not parse, one given twice, or too many.
    """
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice or len(texts) > MOST_SOURCES:
        raise Refused("--estop", expected=f"at most {MOST_SOURCES} sources, each once",
                      found=f"{', '.join(twice)} twice" if twice else f"{len(texts)}",
                      what_to_do="leave the others out")
    return tuple(parse_estop(text) for text in texts)


class EstopSource(Protocol):
    """Something that can stop the robot."""

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """(pressed, silent) now; never waits, never raises."""


class TeleopStop:
    """The stop of the run's source of commands."""

    def __init__(self, teleop: TeleopSource) -> None:
        self._teleop = teleop

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """Never silent: a source of commands that falls silent is held, then stood, by rules of its own."""
        return self._teleop.stop_pressed(), False


class KeyboardStop:
    """The terminal's stop keys; a press counts for the look that follows it."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard, self._seen = keyboard, 0

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """Pressed: since the last look."""
        stops = self._keyboard.keys.stops
        pressed, self._seen = stops != self._seen, stops
        return pressed, not self._keyboard.is_open


class GamepadStop:
    """A gamepad's stop button."""

    def __init__(self, gamepad: Gamepad) -> None:
        self._gamepad, self._seen = gamepad, 0

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """Pressed: held down, or hit since the last look."""
        pad = self._gamepad.pad
        pressed, self._seen = pad.is_stop_down or pad.stops != self._seen, pad.stops
        return pressed, not self._gamepad.is_open


class ButtonStop:
    """A wired button that speaks `runtime.stop_button`'s lines.

    Raises:
        BridgeError: the port cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._bytes, self._line = open_button(path), ButtonLine()

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """As its lines say."""
        data = self._bytes.read()
        if data:
            self._line.feed(data, now_ns)
        return self._line.poll(now_ns)

    def close(self) -> None:
        """Let the port go."""
        self._bytes.close()


class GpioStop:
    """A GPIO value file: 0 runs, 1 stops, anything else is silence.

    Raises:
        Refused: the file cannot be read.
    """

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Refused(f"--estop gpio:{path}", expected="a GPIO value file", found=str(error.strerror),
                          what_to_do="export the line as an input first, and check the path") from error

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """As the file reads now."""
        try:
            value = os.pread(self._descriptor, 8, 0).strip()
        except OSError:
            value = b""
        return value == b"1", value not in (b"0", b"1")

    def close(self) -> None:
        """Let the file go."""
        os.close(self._descriptor)
