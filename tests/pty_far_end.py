"""Emulated drives behind a pty, in a thread."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from typing import Any

from firmware_bridge.emulated_drives import EmulatedMotors


class PtyFarEnd:
    """A far end that answers on a pty.

    Args:
        far_end: with `feed`.
        steps: let the motors run, too.

    Attributes:
        path: of the port.
    """

    def __init__(self, far_end: Any, motors: EmulatedMotors, steps: bool = False) -> None:
        self._far_end, self.motors, self._steps = far_end, motors, steps
        self._master, self._slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop = False
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        last = time.monotonic()
        while not self._stop:
            if select.select([self._master], [], [], 0.001)[0]:
                answer = self._far_end.feed(os.read(self._master, 65536))
                if answer:
                    os.write(self._master, answer)
            now = time.monotonic()
            if self._steps:
                self.motors.step(min(now - last, 0.002))
            last = now

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)
