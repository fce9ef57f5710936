"""What a service manager wants to hear of a run (sd_notify(3)): ready, alive, stopping. Nothing without one."""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Service:
    """The service manager that started this process, if one did.

    Attributes:
        period_s: how often `beat` speaks at most; half the manager's patience.
    """

    def __init__(self) -> None:
        path = os.environ.pop("NOTIFY_SOCKET", "")  # taken, so that no child speaks for us
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.period_s = int(os.environ.pop("WATCHDOG_USEC", "0") or 0) * 0.5e-6
        self._next_s = 0.0

    def tell(self, state: str) -> None:
        """One datagram, e.g. `READY=1`; a manager that does not listen is no error of ours."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
            wire.setblocking(False)
            wire.sendto(state.encode(), self._address)

    def beat(self) -> None:
        """Say that this loop still turns; call it as often as you like."""
        now_s = time.monotonic()
        if self.period_s and now_s >= self._next_s:
            self._next_s = now_s + self.period_s
            self.tell("WATCHDOG=1")
