"""Whether a network interface is usable, as the kernel says."""

from __future__ import annotations

import contextlib
import os

STATE = "/sys/class/net/{}/operstate"
UP = (b"up", b"unknown")
"""A loopback has no carrier: its state is always unknown."""
MOST_BYTES = 64


class NetworkLink:
    """One interface. Its state's file stays open: opening one takes memory of the kernel, and where none is left,
    whoever asks waits until there is some. So a gate was silent for 105 ms while its group's memory was full.

    Args:
        interface: its name.
    """

    def __init__(self, interface: str) -> None:
        self._path, self._file = STATE.format(interface), -1

    def is_up(self) -> bool:
        """Whether it is there and usable now; one that was unplugged and comes back is found again."""
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._file, MOST_BYTES, 0).strip() in UP
        except OSError:
            self.close()
            return False

    def close(self) -> None:
        """Let the file go."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1
