"""The line protocol of a wired stop button: a small board that says at least ten times a second that all is well.

    RUN <n>     released; n is a decimal number that rises with every line and may wrap at 2**32
    STOP        pressed

Lines end in a line feed. Nothing valid for 250 ms, or a number that stands still, is silence: a cut wire, a dead
board and a board that hangs all stop. Pure.
"""

from __future__ import annotations

import re

TIMEOUT_NS = 250_000_000
"""Two lines of a 10 Hz button may be lost."""
LONGEST = 32
_RUN = re.compile(rb"RUN (\d{1,10})\r?")
_STOP = re.compile(rb"STOP\r?")


class ButtonLine:
    """What the bytes of a button mean."""

    def __init__(self) -> None:
        self._rest = b""
        self._number: int | None = None
        self._heard_ns: int | None = None
        self._pressed = False

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take in bytes, in whatever pieces they come; lines without a meaning are passed over."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            self._rest = b"?"  # no line of the protocol is so long: nothing that ends it later may look like one
        for line in lines:
            if _STOP.fullmatch(line):
                self._pressed, self._heard_ns = True, now_ns
                continue
            run = _RUN.fullmatch(line)
            if run is None:
                continue
            number = int(run[1])
            rises = self._number is not None and 0 < (number - self._number) % 2**32 < 2**31
            self._number = number
            if rises:
                self._pressed, self._heard_ns = False, now_ns

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """(pressed, silent); silent from the start."""
        is_silent = self._heard_ns is None or now_ns - self._heard_ns > TIMEOUT_NS
        return self._pressed, is_silent
