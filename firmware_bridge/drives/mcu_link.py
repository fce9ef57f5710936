"""Our own link to a microcontroller between us and the drives: one frame a way and cycle for the whole robot.

A frame is COBS-stuffed and ends in a zero byte: version, type, session, sequence, time in microseconds, count, body,
CRC-32 (zlib's), all little endian. A command's body is five floats a motor (q, dq, tau, kp, kd), a state's three
floats, a temperature and fault bits a motor, then the IMU and the stop line. The state repeats the sequence it answers,
so latency and loss cost nothing extra to know. docs/mcu_link.md has it byte by byte; the far end in C is
`firmware_bridge/mcu`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import F32

VERSION = 1
MOST_MOTORS = 64
END = b"\0"
HEADER = np.dtype([("version", "u1"), ("kind", "u1"), ("session", "<u2"), ("sequence", "<u2"), ("time_us", "<u4"),
                   ("count", "u1")])
MOTOR_STATE = np.dtype([("q", "<f4"), ("dq", "<f4"), ("tau", "<f4"), ("temperature_c", "<i2"), ("faults", "<u2")])
TAIL = np.dtype([("quat_wxyz", "<f4", (4,)), ("gyro", "<f4", (3,)), ("accel", "<f4", (3,)), ("battery_percent", "<f4"),
                 ("stop", "u1"), ("mode", "u1"), ("answered", "<u2")])
HELLO = np.dtype([("version", "u1"), ("motors", "u1"), ("watchdog_ms", "<u2"), ("firmware", "S16")])
CRC_BYTES = 4


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    COMMAND = 2
    DAMP = 3
    STATE = 4
    ENABLE = 5
    DISABLE = 6


class LinkMode(IntEnum):
    """What the microcontroller does with its motors."""

    LIMP = 0
    DRIVEN = 1
    DAMPED = 2


class MotorFault(IntFlag):
    """Fault bits of a motor; the board's own are the lower ones, the link sets the last two for every motor."""

    OVER_TEMPERATURE = 1 << 0
    OVER_CURRENT = 1 << 1
    UNDER_VOLTAGE = 1 << 2
    OVER_VOLTAGE = 1 << 3
    ENCODER = 1 << 4
    DRIVE_SILENT = 1 << 5
    STOP_LINE = 1 << 14
    HEARTBEAT = 1 << 15


LEAST_WATCHDOG_MS, USUAL_WATCHDOG_MS, MOST_WATCHDOG_MS = 10, 50, 1000
DAMPING = 1.0
"""N m s/rad of every motor while it is damped, unless the board has its own."""


def stuff(data: bytes) -> bytes:
    """COBS (Cheshire and Baker 1999): the same bytes without a zero; at most one more a 254."""
    out = bytearray()
    for piece in (data + END).split(END)[:-1]:
        while len(piece) >= 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        out += bytes([len(piece) + 1]) + piece
    return bytes(out)


def unstuff(data: bytes) -> bytes | None:
    """The inverse; None for what no `stuff` makes."""
    out, at, size = bytearray(data), 0, len(data)
    while at < size:  # where no run is the longest, each code stands where a zero was
        code = out[at]
        if code == 255:
            return _unstuff_long(data)
        if code == 0:
            return None
        out[at] = 0
        at += code
    return bytes(out[1:]) if at == size else None


def _unstuff_long(data: bytes) -> bytes | None:
    """The same with runs of 254 bytes, whose code stands for no zero."""
    out, at, size = bytearray(), 0, len(data)
    while at < size:
        code = data[at]
        if code == 0 or at + code > size:
            return None
        out += data[at + 1 : at + code]
        at += code
        if code != 255 and at < size:
            out.append(0)
    return bytes(out)


def make_frame(
    kind: Kind, session: int, sequence: int, time_us: int, count: int, body: bytes, version: int = VERSION
) -> bytes:
    """A whole frame with its end."""
    head = np.zeros(1, HEADER)
    head["version"], head["kind"], head["session"] = version, kind, session & 0xFFFF
    head["sequence"], head["time_us"], head["count"] = sequence & 0xFFFF, time_us & 0xFFFFFFFF, count
    plain = head.tobytes() + body
    return stuff(plain + zlib.crc32(plain).to_bytes(CRC_BYTES, "little")) + END


def make_command(session: int, sequence: int, time_us: int, block: F32) -> bytes | None:
    """Targets (n, 5), columns q, dq, tau, kp, kd; None when a number is not finite."""
    if not np.isfinite(block).all():
        return None
    return make_frame(Kind.COMMAND, session, sequence, time_us, len(block), block.astype("<f4").tobytes())


@dataclass(frozen=True)
class Frame:
    """A frame whose CRC is right."""

    kind: int
    version: int
    session: int
    sequence: int
    time_us: int
    count: int
    body: bytes

    def command(self) -> F32 | None:
        """(count, 5) of a COMMAND; None where its size is another or a number is not finite."""
        if self.kind != Kind.COMMAND or len(self.body) != 20 * self.count:
            return None
        block = np.frombuffer(self.body, "<f4").reshape(-1, 5).astype(np.float32)
        return block if np.isfinite(block).all() else None

    def state(self) -> tuple[npt.NDArray[np.void], np.void] | None:
        """Motors (count,) of MOTOR_STATE and the TAIL of a STATE; None where its size is another or not finite."""
        if self.kind != Kind.STATE or len(self.body) != MOTOR_STATE.itemsize * self.count + TAIL.itemsize:
            return None
        motors = np.frombuffer(self.body, MOTOR_STATE, self.count)
        tail = np.frombuffer(self.body, TAIL, 1, MOTOR_STATE.itemsize * self.count)[0]
        parts = (motors["q"], motors["dq"], motors["tau"], tail["quat_wxyz"], tail["gyro"], tail["accel"])
        return (motors, tail) if all(np.isfinite(part).all() for part in parts) else None


class FrameStream:
    """Frames out of a stream of bytes.

    Attributes:
        bad: pieces between two zeros that were none, counted.
    """

    MOST = 4096

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        *pieces, self._waiting = (self._waiting + data).split(END)
        if len(self._waiting) > self.MOST:
            self._waiting, self.bad = b"", self.bad + 1
        frames = []
        for piece in filter(None, pieces):
            frame = self._read(piece)
            if frame is None:
                self.bad += 1
            else:
                frames.append(frame)
        return frames

    @staticmethod
    def _read(piece: bytes) -> Frame | None:
        plain = unstuff(piece) if len(piece) <= FrameStream.MOST else None
        if plain is None or len(plain) < HEADER.itemsize + CRC_BYTES:
            return None
        if zlib.crc32(plain[:-CRC_BYTES]) != int.from_bytes(plain[-CRC_BYTES:], "little"):
            return None
        head = np.frombuffer(plain, HEADER, 1)[0]
        return Frame(int(head["kind"]), int(head["version"]), int(head["session"]), int(head["sequence"]),
                     int(head["time_us"]), int(head["count"]), plain[HEADER.itemsize : -CRC_BYTES])
