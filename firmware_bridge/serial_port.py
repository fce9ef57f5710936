"""One serial port of drives: opened for us alone, written and read without waiting, and survived when it goes.

Unplugging shows as three unrelated exceptions in pyserial, and its own write without a time-out can spin for ever
(pyserial/pyserial#280): so the descriptor is used directly, and pyserial only to open and to set the line.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import time
from typing import TYPE_CHECKING, Any

from firmware_bridge.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 16384
USB = "usb:"
"""Begins the name of a port that is found by its device: usb:VID:PID:SERIAL."""


def find_port(name: str) -> str:
    """The path of a port by its name, looked for anew each time: a device that was replugged has another.

    Raises:
        BridgeError: no port, or several, of that device.
    """
    if not name.startswith(USB):
        return name
    from serial.tools import list_ports

    vid, pid, number = ([*name.removeprefix(USB).split(":", 2), "", ""])[:3]
    try:
        wanted = (int(vid, 16), int(pid, 16), number)
    except ValueError:
        raise BridgeError(f"serial port {name}", expected="usb:VID:PID:SERIAL, the first two hexadecimal", found=name,
                          what_to_do="correct the name") from None
    ports = list(list_ports.comports())
    found = [port.device for port in ports if (port.vid, port.pid, port.serial_number) == wanted]
    if len(found) != 1:
        there = [f"usb:{port.vid:04x}:{port.pid:04x}:{port.serial_number}" for port in ports if port.vid is not None]
        raise BridgeError(f"serial port {name}", expected="one port of that device",
                          found=f"{len(found)}; there are: {', '.join(there) or 'no USB ports'}",
                          what_to_do="check the cable, or correct the file")
    return str(found[0])


class SerialPort:
    """A port by its path.

    Args:
        path: better one of /dev/serial/by-id, which survives replugging, than ttyUSB0; or a name for `find_port`.
        baud: of the line.

    Attributes:
        is_open: it was opened and has not gone.
        has_low_latency: the driver took the low-latency setting; ptys and CDC devices have none.
        dropped: bytes that the system did not take, counted: the rest of such a write is not sent.
    """

    def __init__(self, path: str, baud: int) -> None:
        self.path, self.baud = path, baud
        self.dropped = 0
        self.has_low_latency = False
        self._port: Any = None
        self._descriptor = -1
        self.open()

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    @property
    def descriptor(self) -> int:
        """For `poll`; -1 when closed."""
        return self._descriptor

    def open(self) -> None:
        """Open it, again where it has gone.

        Raises:
            BridgeError: no such port, not ours to open, or in use.
        """
        import serial

        path = find_port(self.path)
        try:
            port = serial.Serial(path, self.baud, timeout=0, write_timeout=0.002, exclusive=True)
        except (OSError, serial.SerialException, ValueError) as error:
            raise BridgeError(f"serial port {self.path}", expected="a port that nobody else uses", found=str(error),
                              what_to_do="check cable, path and rights (group dialout)") from error
        try:
            port.set_low_latency_mode(True)
            self.has_low_latency = True
        except (OSError, ValueError, RuntimeError, AttributeError):  # each driver says its own no
            self.has_low_latency = False
        self._port, self._descriptor = port, port.fileno()
        os.set_blocking(self._descriptor, False)
        _tell_nothing_from_hung_up(self._descriptor)

    def write(self, data: bytes) -> bool:
        """Hand over bytes; False when not all were taken, or the port is gone."""
        if self._descriptor < 0:
            return False
        try:
            taken = os.write(self._descriptor, data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self.close()
            return False
        self.dropped += len(data) - taken
        return taken == len(data)

    def read(self) -> bytes:
        """What has arrived; empty also when the port is gone."""
        if self._descriptor < 0:
            return b""
        try:
            data = os.read(self._descriptor, MOST_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            self.close()
            return b""
        if not data and self._hung_up():
            self.close()
        return data

    def _hung_up(self) -> bool:
        """Whether an empty read means that the far end is gone: a terminal without bytes may say that it is empty."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))

    def exchange(self, data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        """Set-up's way to ask: send, then wait for answers; whether they were enough."""
        self.write(data)
        end = time.monotonic() + longest_s
        while (left := end - time.monotonic()) > 0:
            if not self.is_open:
                return False
            select.select([self._descriptor], [], [], left)
            heard = self.read()
            if heard and is_enough(heard):
                return True
        return False

    def close(self) -> None:
        """Let it go, whatever state it is in."""
        port, self._port, self._descriptor = self._port, None, -1
        if port is not None:
            try:
                port.close()
            except Exception:  # pyserial and termios have three families of them for a port that has gone
                with contextlib.suppress(OSError, TypeError):
                    os.close(port.fd)


def _tell_nothing_from_hung_up(descriptor: int) -> None:
    """A terminal without bytes then says that it would block, where pyserial lets it say that it is at its end.

    So the usual empty read costs one call to the system and not two.
    """
    with contextlib.suppress(termios.error):
        settings = termios.tcgetattr(descriptor)
        settings[6][termios.VMIN] = 1
        termios.tcsetattr(descriptor, termios.TCSANOW, settings)
