"""The operator's terminal: lines typed without blocking the run. A closed one never says anything, least of all yes."""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
from typing import Any


class Console:
    """Standard input as a source of operator's lines."""

    def __init__(self) -> None:
        self._closed = False
        self._lent: list[Any] | None = None

    def say(self, text: str) -> None:
        """Print to the operator."""
        print(text, file=sys.stderr, flush=True)

    def line(self, wait_s: float = 0.0) -> str | None:
        """The next line without its end, or None when nothing was typed within the time."""
        if self._closed or self._lent is not None:
            time.sleep(wait_s)
            return None
        if not select.select([sys.stdin], [], [], wait_s)[0]:
            return None
        text = sys.stdin.readline()
        self._closed = not text
        return text.strip() if text else None

    def lend(self) -> None:
        """Leave the terminal to another process until `take_back`: two readers would take each other's keys."""
        with contextlib.suppress(OSError, ValueError, termios.error):
            self._lent = termios.tcgetattr(sys.stdin)

    def take_back(self) -> None:
        """Read lines again, from a terminal as it was; what was typed meanwhile is forgotten."""
        if self._lent is None:
            return
        before, self._lent = self._lent, None
        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)

    @property
    def is_closed(self) -> bool:
        """Nobody can type here any more."""
        return self._closed
