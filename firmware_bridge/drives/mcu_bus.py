"""Our own link to a microcontroller, for the motors behind it: one frame a way and cycle.

The microcontroller numbers its motors from 0; a drive's id is that number, and all of them are on the robot. Its IMU,
where it has one, comes with the same frames.
"""

from __future__ import annotations

import os
import time

import numpy as np

from firmware_bridge.drives.imu import ImuState
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.drives.mcu_link import (
    CRC_BYTES,
    HEADER,
    HELLO,
    MOST_MOTORS,
    MOTOR_STATE,
    TAIL,
    VERSION,
    Frame,
    FrameStream,
    Kind,
    LinkMode,
    make_command,
    make_frame,
)
from firmware_bridge.errors import BridgeError

BAUD = 4_000_000
"""29 motors at 500 Hz need it on a UART; a USB CDC device ignores it."""
MODEL = "mcu"
ANSWER_S = 0.1
TRIES = 3
BITS_A_BYTE = 10
REMEMBERED = 256


class McuBus:
    """The language of one such link.

    Args:
        drives: in the order of the rows.
        baud: of the port.

    Attributes:
        imu: the microcontroller's, in its own axes.
        stop: its stop line is pressed.
        mode: what it does with its motors.
        battery_percent: NaN where it does not know.
        lost: commands that it has not answered, counted when a later one was.
        round_trip_s: of the last answered command; NaN before.
    """

    takes_turns = False
    turn_s = 0.0

    def __init__(self, drives: list[Drive], baud: int | None = None) -> None:
        ids = [drive.id for drive in drives]
        if sorted(ids) != list(range(len(ids))) or len(ids) > MOST_MOTORS:
            raise BridgeError("drives of a microcontroller", found=str(ids),
                              expected=f"its motors, numbered from 0 without a gap, at most {MOST_MOTORS}",
                              what_to_do="number them in the wiring file as the board's firmware does")
        models = sorted({drive.model for drive in drives} - {MODEL})
        if models:
            raise BridgeError("drive model", expected=MODEL, found=", ".join(models),
                              what_to_do="correct the wiring file")
        self.drives, self.baud = drives, baud or BAUD
        self.states = DriveStates(len(drives))
        self.imu = ImuState()
        self.stop, self.mode = False, LinkMode.LIMP
        self.battery_percent = self.round_trip_s = float("nan")
        self.lost = self.strangers = 0
        self._row_of = np.argsort(ids)
        self._number_of = np.array(ids, np.intp)
        self._all = np.arange(len(ids))
        self._stream = FrameStream()
        self._session = 0
        self._sequence = 0
        self._heard_sequence = -1
        self._answered = 0
        self._sent_ns = [0] * REMEMBERED

    @property
    def bad(self) -> int:
        return self._stream.bad

    def cycle_s(self) -> float:
        """A port has a wire a way: the longer frame counts."""
        n = len(self.drives)
        body = max(20 * n, MOTOR_STATE.itemsize * n + TAIL.itemsize)
        return BITS_A_BYTE * (HEADER.itemsize + body + CRC_BYTES + 2 + body // 254) / self.baud

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        self._session = 1 + int.from_bytes(os.urandom(2), "little") % 0xFFFF
        self._sequence, self._heard_sequence, self._answered = 0, -1, 0
        self.states.is_driving[:] = False
        frame = greet(exchange, self._stream, self._session, len(self.drives), round(watchdog_s * 1e3))
        facts = [Facts() for _ in self.drives]
        if frame is None:
            facts[0].problems.append("no answer of a microcontroller with our link")
            return facts
        if frame.version != VERSION:
            facts[0].problems.append(f"its firmware speaks version {frame.version} of the link, this program version "
                                     f"{VERSION}: reflash it with firmware_bridge/mcu of this release")
            return facts
        hello = np.frombuffer(frame.body, HELLO, 1)[0]
        if int(hello["motors"]) != len(self.drives):
            facts[0].problems.append(f"it has {int(hello['motors'])} motors, the wiring file {len(self.drives)}")
        for fact in facts:
            fact.watchdog_s = int(hello["watchdog_ms"]) * 1e-3
        if int(hello["watchdog_ms"]) != round(watchdog_s * 1e3):
            facts[0].problems.append(f"its watchdog is {int(hello['watchdog_ms'])} ms, {watchdog_s * 1e3:.0f} were set")
        return facts

    def ask(self, block: F64) -> list[bytes]:
        frame = make_command(self._session, self._next(), _time_us(), block[self._row_of].astype(np.float32))
        return [] if frame is None else [frame]

    def begin(self, turn: int) -> None:
        """Nobody waits for another here."""

    def is_answered(self) -> bool:
        return True

    def hear(self, data: bytes, now_ns: int) -> int:
        newest: Frame | None = None
        for frame in self._stream.feed(data):
            if frame.kind != Kind.STATE or frame.version != VERSION or frame.session != self._session:
                self.strangers += frame.kind != Kind.HELLO
            elif self._heard_sequence < 0 or 0 < (frame.sequence - self._heard_sequence) & 0xFFFF < 0x8000:
                self._heard_sequence, newest = frame.sequence, frame
        return 0 if newest is None else self._take(newest, now_ns)

    def _take(self, frame: Frame, now_ns: int) -> int:
        state = frame.state()
        if state is None or frame.count != len(self.drives):
            self.strangers += 1
            return 0
        motors, tail = state
        motors = motors[self._number_of]
        states = self.states
        motion = np.stack([motors["q"], motors["dq"], motors["tau"]], axis=1)
        states.note(self._all, motion.astype(np.float64), now_ns)
        states.temperature_c[:] = motors["temperature_c"]
        states.faults[:] = motors["faults"]
        self.mode, self.stop = LinkMode(min(int(tail["mode"]), 2)), bool(tail["stop"])
        states.is_driving[:] = self.mode is LinkMode.DRIVEN
        self.battery_percent = float(tail["battery_percent"])
        self._note_answer(int(tail["answered"]), now_ns)
        quat = tail["quat_wxyz"].astype(np.float64)
        norm = float(np.linalg.norm(quat))
        if abs(norm - 1) < 0.05:
            self.imu.note(np.concatenate([quat / norm, tail["gyro"], tail["accel"]]), now_ns)
        return len(motors)

    def _note_answer(self, answered: int, now_ns: int) -> None:
        steps = (answered - self._answered) & 0xFFFF
        if 0 < steps < 0x8000:
            self.lost += steps - 1
            self._answered = answered
            self.round_trip_s = (now_ns - self._sent_ns[answered % REMEMBERED]) * 1e-9

    def enabling(self) -> list[bytes]:
        return [self._order(Kind.ENABLE)]

    def disabling(self) -> list[bytes]:
        return [self._order(Kind.DISABLE)]

    def damping(self) -> list[bytes]:
        """Has it damp its motors by itself, until it is enabled again."""
        return [self._order(Kind.DAMP)]

    def _order(self, kind: Kind) -> bytes:
        return make_frame(kind, self._session, self._next(), _time_us(), len(self.drives), b"")

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._sent_ns[self._sequence % REMEMBERED] = time.monotonic_ns()
        return self._sequence


def greet(exchange: Exchange, stream: FrameStream, session: int, motors: int, watchdog_ms: int) -> Frame | None:
    """Begin a session: the microcontroller's HELLO, of whatever version; None for no answer.

    Args:
        watchdog_ms: to set; 0 leaves it as it is.
    """
    hello = np.zeros(1, HELLO)
    hello["version"], hello["motors"], hello["watchdog_ms"] = VERSION, motors, watchdog_ms
    heard: list[Frame] = []

    def is_enough(data: bytes) -> bool:
        heard.extend(frame for frame in stream.feed(data) if frame.kind == Kind.HELLO and frame.session == session
                     and len(frame.body) == HELLO.itemsize)
        return bool(heard)

    frame = b"\0" + make_frame(Kind.HELLO, session, 0, _time_us(), motors, hello.tobytes())
    for _ in range(TRIES):  # the leading zero ends whatever half a frame lies before it
        if exchange(frame, is_enough, ANSWER_S):
            return heard[0]
    return None


def _time_us() -> int:
    return time.monotonic_ns() // 1000


def language(drives: list[Drive], baud: int | None) -> McuBus:
    """As the list of protocols names it."""
    return McuBus(drives, baud)
