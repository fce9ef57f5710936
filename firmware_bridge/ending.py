"""How a command begins that serves until it is told to end: its signals, its priority, no pauses of its own."""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType


class Ending:
    """Whether SIGTERM or SIGINT has come.

    Attributes:
        has_come: it has.
    """

    def __init__(self) -> None:
        self.has_come = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True


def ask_real_time(command: str, priority: int) -> None:
    """SCHED_FIFO where that is permitted; a warning in the name of the command where it is not.

    Call it after set-up: what exists by then is no longer looked through for garbage, which takes 25 ms each time, and
    drives that say nothing for as long are lost.
    """
    gc.collect()
    gc.freeze()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        print(f"exoactor {command}: no right to SCHED_FIFO, timing will suffer under load", file=sys.stderr)
