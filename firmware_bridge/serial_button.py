"""The byte stream of a wired stop button: a serial port, opened for us alone, or a FIFO."""

from __future__ import annotations

import os
import stat
from typing import Protocol

from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_port import find_port

BAUD = 115200
MOST_BYTES = 1024


class ByteSource(Protocol):
    """Where bytes come from, without waiting."""

    def read(self) -> bytes:
        """What has arrived, at most `MOST_BYTES`; empty also when the far end is gone."""

    def close(self) -> None:
        """Let it go."""


class FifoBytes:
    """A named pipe: what a program of this computer writes."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def read(self) -> bytes:
        try:
            return os.read(self._descriptor, MOST_BYTES)
        except OSError:
            return b""

    def close(self) -> None:
        os.close(self._descriptor)


class SerialBytes:
    """A serial port, 115200 baud 8N1, locked against others while it is open (pyserial's `exclusive`)."""

    def __init__(self, path: str) -> None:
        import serial

        try:
            self._port = serial.Serial(path, BAUD, timeout=0, exclusive=True)
        except serial.SerialException as error:
            raise OSError(str(error)) from error
        self._gone: type[Exception] = serial.SerialException

    def read(self) -> bytes:
        try:
            return bytes(self._port.read(MOST_BYTES))
        except (OSError, self._gone):
            return b""

    def close(self) -> None:
        self._port.close()


def open_button(path: str) -> ByteSource:
    """The button at this path, or of a name for `find_port`.

    Raises:
        BridgeError: nothing there, not ours to open, in use, or neither a serial port nor a FIFO.
        ModuleNotFoundError: a serial port without pyserial.
    """
    path = find_port(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode):
            return FifoBytes(path)
        if stat.S_ISCHR(mode):
            return SerialBytes(path)
    except OSError as error:
        raise BridgeError(f"stop button {path}", expected="a serial port or FIFO that nobody else uses",
                          found=str(error), what_to_do="check cable, path and rights (group dialout)") from error
    raise BridgeError(f"stop button {path}", expected="a serial port or a FIFO", found="another kind of file",
                      what_to_do="give the port's path, e.g. --estop button:/dev/ttyUSB0")
