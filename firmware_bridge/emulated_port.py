"""A pseudo-terminal that stands for a serial port with something at its far end."""

from __future__ import annotations

import os
import pty
import tty
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.drives.protocols import FarEnd
from firmware_bridge.errors import BridgeError

MOST_BYTES = 65536


class EmulatedPort:
    """One pty; whoever opens `path` talks to the far end.

    Args:
        far_end: answers bytes; one with `tick` also speaks by itself.
        link: where a link to the pty is put, so that a port keeps its name when it is plugged anew; None for none.

    Attributes:
        device: the pty's own name; empty while it is unplugged.
        master: its descriptor for `select`, -1 while it is unplugged.
        lost: bytes that nobody read in time, counted.

    Raises:
        BridgeError: the link's place is taken by something that is no link, or cannot be written.
    """

    def __init__(self, far_end: FarEnd, link: Path | None = None) -> None:
        self.far_end, self._link = far_end, link
        self._tick: Callable[[], bytes] | None = getattr(far_end, "tick", None)
        self.device, self.master, self._slave, self.lost = "", -1, -1, 0
        self.plug()

    @property
    def path(self) -> str:
        """What to open."""
        return self.device if self._link is None else str(self._link)

    def plug(self) -> None:
        """A new pty, under the same link."""
        self.master, self._slave = pty.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.device = os.ttyname(self._slave)
        if self._link is not None:
            self._put_link(self._link)

    def _put_link(self, link: Path) -> None:
        beside = link.with_name(f".{link.name}.{os.getpid()}")
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.exists() and not link.is_symlink():
                raise FileExistsError(f"{link} is no link")
            beside.unlink(missing_ok=True)
            beside.symlink_to(self.device)
            beside.replace(link)
        except OSError as error:
            self.unplug()
            raise BridgeError(f"port {link}", expected="a place for a link to an emulated port", found=str(error),
                              what_to_do="name another path in the wiring file") from error

    def unplug(self) -> None:
        """The cable out: who has it open sees it hang up. The link stays, and leads nowhere."""
        master, slave, self.master, self._slave, self.device = self.master, self._slave, -1, -1, ""
        for descriptor in (master, slave):
            if descriptor >= 0:
                os.close(descriptor)

    def serve(self) -> None:
        """Answer what has come, without waiting."""
        if self.master < 0:
            return
        try:
            data = os.read(self.master, MOST_BYTES)
        except OSError:
            data = b""
        if data:
            self._send(self.far_end.feed(data))

    def tick(self) -> None:
        """Say what is due by itself."""
        if self._tick is not None and self.master >= 0:
            self._send(self._tick())

    def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            taken = os.write(self.master, data)
        except OSError:
            taken = 0
        self.lost += len(data) - taken

    def close(self) -> None:
        """Unplug for good, and take the link away."""
        device = self.device
        self.unplug()
        if self._link is not None and self._link.is_symlink() and os.readlink(self._link) == device:
            self._link.unlink()
