"""How every process of a run but the gate begins, and is told to end."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType

from runtime.realtime import die_with_parent
from runtime.settings import RunSettings


class Life:
    """One process's: it ends with its parent or when that asks, and Ctrl-C, which is for the supervisor, ends nothing.

    Args:
        argv: the file of the run's settings.

    Attributes:
        is_over: it was asked to end.

    Raises:
        Refused: settings of another version.
    """

    def __init__(self, argv: list[str]) -> None:
        self.settings = RunSettings.load(Path(argv[0]))
        self.is_over = False
        die_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.is_over = True
