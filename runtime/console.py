"""The operator's terminal: lines typed without blocking the run. A closed one never says anything, least of all yes."""

from __future__ import annotations

import select
import sys
import time


class Console:
    """Standard input as a source of operator's lines."""

    def __init__(self) -> None:
        self._closed = False

    def say(self, text: str) -> None:
        """Print to the operator."""
        print(text, file=sys.stderr, flush=True)

    def line(self, wait_s: float = 0.0) -> str | None:
        """The next line without its end, or None when nothing was typed within the time."""
        if self._closed:
            time.sleep(wait_s)
            return None
        if not select.select([sys.stdin], [], [], wait_s)[0]:
            return None
        text = sys.stdin.readline()
        self._closed = not text
        return text.strip() if text else None

    @property
    def is_closed(self) -> bool:
        """Nobody can type here any more."""
        return self._closed
