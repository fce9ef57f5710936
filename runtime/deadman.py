"""The dead-man of a calibration routine: what a hand holds while a robot moves that nobody balances or steers.

It is asked for (held, answers): whether it is held now, and how often its other button said that a person has done
what they were asked for. A source that is not heard is not held. `remote` needs no source of its own: its buttons come
with the robot's state.
"""

from __future__ import annotations

from typing import Protocol

from firmware_bridge.remote import BUTTONS, button_mask
from firmware_bridge.serial_button import open_button
from runtime.errors import Refused
from runtime.gamepad import Gamepad
from runtime.keyboard import Terminal
from runtime.stop_button import ButtonLine

KINDS: dict[str, tuple[str, str]] = {
    "keyboard": ("", "hold the space bar in this terminal; Enter, pressed in between, says that something is done; "
                 "any other key stops"),
    "gamepad": ("[:/dev/input/eventN]", "hold the left shoulder button; the right one says that something is done; "
                "B (circle) stops"),
    "remote": ("[:BUTTON]", "hold R1 (or BUTTON) of the wireless remote; A says that something is done"),
    "button": (":PATH", "hold a button on a serial port that says `RUN n` while it is held"),
}
"""Kind: (what follows it, how it is held)."""
REMOTE_BUTTON, REMOTE_DONE = "R1", "A"
HOLD_KEY, DONE_KEYS = ord(" "), b"\r\n"
FIRST_NS, REPEAT_NS = 700_000_000, 500_000_000
"""A key begins to repeat after up to 0.66 s (X11), then comes at least ten times a second; SSH may bundle a few."""


def parse_deadman(text: str) -> tuple[str, str | None]:
    """KIND[:WHERE] of `--deadman`.

    Raises:
        Refused: an unknown kind, or one with too much or too little behind it.
    """
    kind, colon, where = text.partition(":")
    form = KINDS[kind][0] if kind in KINDS else None
    is_fit = form is not None and (bool(where) if form.startswith(":") else not colon or (bool(form) and bool(where)))
    if not is_fit or (kind == "remote" and where and where not in BUTTONS):
        raise Refused("--deadman", expected=", ".join(name + form for name, (form, _) in KINDS.items()), found=text,
                      what_to_do="name one of these; a remote's buttons are " + ", ".join(BUTTONS))
    return kind, where or None


def deadman_text(spec: str) -> str:
    """How it is held, for a person."""
    return KINDS[parse_deadman(spec)[0]][1]


def remote_masks(spec: str) -> tuple[int, int]:
    """Button bits of a remote's dead-man: the one that is held, and the one that answers."""
    _, where = parse_deadman(spec)
    return button_mask([where or REMOTE_BUTTON]), button_mask([REMOTE_DONE])


class Deadman(Protocol):
    """Something that a hand holds."""

    def look(self, now_ns: int) -> tuple[bool, int]:
        """(held, answers so far) now; never waits, never raises."""
        ...


class HeldKeys:
    """What typed bytes mean to whoever holds the space bar. A terminal tells of no key's release: keys that stop coming
    were let go.

    Attributes:
        answers: counts fresh presses of Enter.
        was_broken: another key was pressed: nothing is held any more.
    """

    def __init__(self) -> None:
        self.answers = 0
        self.was_broken = False
        self._key, self._key_ns, self._until_ns = -1, 0, 0

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take in what was typed."""
        for byte in data:
            if byte != HOLD_KEY and byte not in DONE_KEYS:
                self.was_broken = True
            is_repeat = byte == self._key and now_ns - self._key_ns <= FIRST_NS
            self.answers += byte in DONE_KEYS and not is_repeat
            self._until_ns = now_ns + (REPEAT_NS if is_repeat else FIRST_NS)
            self._key, self._key_ns = byte, now_ns

    def held(self, now_ns: int) -> bool:
        """The space bar is held down, or Enter was pressed a moment ago."""
        return self._key >= 0 and not self.was_broken and now_ns <= self._until_ns


class KeyboardDeadman(Terminal):
    """The run's terminal; one that hung up is let go of."""

    def __init__(self, path: str) -> None:
        self._keys = HeldKeys()
        super().__init__(path, self._keys.feed)

    def look(self, now_ns: int) -> tuple[bool, int]:
        """As the keys say."""
        return self.is_open and self._keys.held(now_ns), self._keys.answers


class GamepadDeadman:
    """A gamepad; unplugged it is let go of."""

    def __init__(self, gamepad: Gamepad) -> None:
        self._gamepad = gamepad

    def look(self, now_ns: int) -> tuple[bool, int]:
        """As its buttons say."""
        pad = self._gamepad.pad
        return pad.held and not pad.is_stop_down and pad.stops == 0, pad.gestures


class ButtonDeadman:
    """A wired button that speaks `runtime.stop_button`'s lines: RUN while it is held; silent it is let go of.

    Raises:
        BridgeError: the port cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._bytes, self._line = open_button(path), ButtonLine()

    def look(self, now_ns: int) -> tuple[bool, int]:
        """As its lines say; it has no other button, answers are typed."""
        data = self._bytes.read()
        if data:
            self._line.feed(data, now_ns)
        pressed, silent = self._line.poll(now_ns)
        return not pressed and not silent, 0

    def close(self) -> None:
        """Let the port go."""
        self._bytes.close()
