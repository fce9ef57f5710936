"""A terminal's keys as stop, dead-man and velocity command.

A terminal tells of no key's release, so hold-to-run lives from key repeat: a key counts as held for 0.6 s after its
first press (repeat begins after up to half a second) and for 0.2 s after each repeat. Only one key repeats at a time.
"""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Callable
from typing import Any

from runtime.errors import Refused

FIRST_NS, REPEAT_NS = 600_000_000, 200_000_000
"""Repeat begins after 0.5 s and comes 11 times a second on a Linux console, sooner and faster elsewhere."""
STOP_KEYS = b" \x1b"
ENGAGE_KEY, RESUME_KEY = ord("g"), ord("c")
SPEEDS: dict[int, tuple[float, float, float]] = {
    ord("w"): (0.4, 0.0, 0.0),
    ord("s"): (-0.3, 0.0, 0.0),
    ord("a"): (0.0, 0.2, 0.0),
    ord("d"): (0.0, -0.2, 0.0),
    ord("q"): (0.0, 0.0, 0.5),
    ord("e"): (0.0, 0.0, -0.5),
    ord("h"): (0.0, 0.0, 0.0),
    ENGAGE_KEY: (0.0, 0.0, 0.0),
    RESUME_KEY: (0.0, 0.0, 0.0),
}
"""vx, vy (m/s), yaw rate (rad/s) of each key that also is the dead-man."""
KEY_HELP = "hold w/s forward/back, a/d left/right, q/e turn, h stand; g engage; c hand back; space or Esc STOP"
MOST_BYTES = 256


class Keys:
    """What typed bytes mean.

    Attributes:
        stops: counts presses of a stop key.
        gestures: counts fresh presses of the engage key; its repeats are none.
        resumes: likewise of the key that hands back.
    """

    def __init__(self) -> None:
        self.stops = self.gestures = self.resumes = 0
        self._key = 0
        self._key_ns = self._until_ns = 0
        self._gesture_ns: dict[int, int] = {}

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take in what was typed. Any key without a meaning lets go."""
        for byte in data:
            if byte in STOP_KEYS:
                self.stops += 1
            key = byte | 0x20  # capitals too: somebody may have hit Caps Lock
            if key not in SPEEDS:
                self._key, self._until_ns = 0, 0
                continue
            is_repeat = key == self._key and now_ns - self._key_ns <= FIRST_NS
            self._until_ns = now_ns + (REPEAT_NS if is_repeat else FIRST_NS)
            self._key, self._key_ns = key, now_ns
            if key in (ENGAGE_KEY, RESUME_KEY):
                if key not in self._gesture_ns or now_ns - self._gesture_ns[key] > FIRST_NS:
                    self.gestures += key == ENGAGE_KEY
                    self.resumes += key == RESUME_KEY
                self._gesture_ns[key] = now_ns

    def held(self, now_ns: int) -> bool:
        """A key of the table is held down, as far as can be told."""
        return self._key != 0 and now_ns <= self._until_ns

    def command(self, now_ns: int) -> tuple[float, float, float]:
        """vx, vy (m/s), yaw rate (rad/s)."""
        return SPEEDS[self._key] if self.held(now_ns) else (0.0, 0.0, 0.0)


class Terminal:
    """A terminal, read key by key (cbreak) until it is closed; Ctrl-C goes on meaning what it meant.

    Args:
        feed: takes in what was typed, and when.

    Attributes:
        is_open: false before `open` and once the terminal hung up.
        was_open: `open` was called.
    """

    def __init__(self, path: str, feed: Callable[[bytes, int], None]) -> None:
        self._path, self._feed = path, feed
        self._descriptor = -1
        self._before: list[Any] | None = None
        self.was_open = False

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def fileno(self) -> int:
        return self._descriptor

    def open(self) -> None:
        """Take the terminal; nobody else may read it from now on.

        Raises:
            Refused: it is none, or not ours.
        """
        self.was_open = True
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSAFLUSH)  # what was typed before was meant for another
        except (OSError, termios.error) as error:
            self.close()
            raise Refused("keyboard", expected=f"the terminal {self._path}", found=str(error),
                          what_to_do="start the run in a terminal of yours, or use another source") from error

    def pump(self, now_ns: int) -> None:
        """Take in what was typed since the last call, at most `MOST_BYTES`; a terminal that hung up is closed."""
        if not self.is_open:
            return
        try:
            data = os.read(self._descriptor, MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._feed(data, now_ns)
        else:
            self.close()

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._descriptor < 0:
            return
        if self._before is not None:
            with contextlib.suppress(OSError, termios.error):  # hung up: nothing to give back
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
        os.close(self._descriptor)
        self._descriptor = -1


class Keyboard(Terminal):
    """A terminal whose keys stop, hold to run and command.

    Attributes:
        keys: what was typed.
    """

    def __init__(self, path: str) -> None:
        self.keys = Keys()
        super().__init__(path, self.keys.feed)
