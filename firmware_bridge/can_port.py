"""A CAN interface in the place of a serial port: SocketCAN, or any other that python-can knows.

Bytes are frames as `can_frames` packs them. Nobody can have a CAN interface alone, so another program's commands on it
are not seen here: run none.
"""

from __future__ import annotations

import errno
import time
from typing import Any

from firmware_bridge.drives.can_frames import ERROR, FRAME_BYTES, REMOTE
from firmware_bridge.drives.can_link import EXTENDED
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_port import SerialPort

CAN = "can:"
"""Begins the name of such a port: can:INTERFACE:CHANNEL, for instance can:socketcan:can0."""
BITS_PER_S = 1_000_000
MOST_FRAMES = 512
_FULL = (errno.ENOBUFS, errno.EAGAIN, None)
"""What a send says whose queue is full; anything else means that the interface has gone."""


def open_port(path: str, baud: int) -> SerialPort:
    """A port by its name: a CAN interface or a serial port.

    Raises:
        BridgeError: it cannot be had.
    """
    return CanPort(path, baud) if path.startswith(CAN) else SerialPort(path, baud)


class CanPort(SerialPort):
    """A CAN interface by its name.

    Args:
        path: can:INTERFACE:CHANNEL.
        baud: unused: what sets a SocketCAN interface's rate is `ip link`.
    """

    @property
    def is_open(self) -> bool:
        return self._port is not None

    def open(self) -> None:
        """Open it, again where it has gone.

        Raises:
            BridgeError: no python-can, no such interface, or none that is up.
        """
        try:
            import can
        except ImportError:
            raise BridgeError(f"CAN interface {self.path}", expected="python-can", found="cannot import can",
                              what_to_do="pip install 'exoactor[can]'") from None
        interface, _, channel = self.path.removeprefix(CAN).partition(":")
        try:
            self._port = can.Bus(interface=interface, channel=channel, bitrate=BITS_PER_S)
        except (can.CanError, OSError, ValueError, ImportError) as error:
            raise BridgeError(f"CAN interface {self.path}", expected="can:INTERFACE:CHANNEL of one that is up",
                              found=str(error), what_to_do="correct the name, or set it up: ip link set can0 up type "
                              "can bitrate 1000000") from error

    def write(self, data: bytes) -> bool:
        import can

        port = self._port
        if port is None:
            return False
        for at in range(0, len(data), FRAME_BYTES):
            number, frame = int.from_bytes(data[at : at + 4], "little"), data[at : at + FRAME_BYTES]
            message = can.Message(arbitration_id=number & ~EXTENDED, is_extended_id=number >= EXTENDED,
                                  data=frame[8 : 8 + frame[4]])
            try:
                port.send(message, timeout=0)
            except (can.CanError, OSError) as error:
                self.dropped += len(data) - at
                if getattr(error, "error_code", getattr(error, "errno", None)) not in _FULL:
                    self.close()
                return False
        return True

    def read(self) -> bytes:
        return self._receive(0.0)

    def _receive(self, longest_s: float) -> bytes:
        """Frames that have come, or come first within this time."""
        import can

        port = self._port
        frames: list[bytes] = []
        if port is None:
            return b""
        try:
            while len(frames) < MOST_FRAMES and (message := port.recv(timeout=longest_s)) is not None:
                longest_s = 0.0
                if not message.is_fd:
                    frames.append(_bytes_of(message))
        except (can.CanError, OSError, ValueError):
            self.close()
        return b"".join(frames)

    def exchange(self, data: bytes, is_enough: Any, longest_s: float) -> bool:
        self.write(data)
        end = time.monotonic() + longest_s
        while self.is_open and (left := end - time.monotonic()) > 0:
            heard = self._receive(left)
            if heard and is_enough(heard):
                return True
        return False

    def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.shutdown()
            except Exception:  # each interface has its own errors for one that has gone
                return


def _bytes_of(message: Any) -> bytes:
    number = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
    number |= (REMOTE if message.is_remote_frame else 0) | (ERROR if message.is_error_frame else 0)
    data = b"" if message.is_remote_frame else bytes(message.data)
    return int(number).to_bytes(4, "little") + bytes([len(data), 0, 0, 0]) + data.ljust(8, b"\0")
