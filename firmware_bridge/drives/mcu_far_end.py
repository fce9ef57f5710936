"""The far end of our own link in Python, for people without a board: what `firmware_bridge/mcu/exo_link.c` does.

A test plays the same frames to both and compares what they answer.
"""

from __future__ import annotations

import math

import numpy as np

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mcu_link import (
    DAMPING,
    HELLO,
    LEAST_WATCHDOG_MS,
    MOST_WATCHDOG_MS,
    MOTOR_STATE,
    TAIL,
    USUAL_WATCHDOG_MS,
    VERSION,
    Frame,
    FrameStream,
    Kind,
    LinkMode,
    MotorFault,
    make_frame,
)
from firmware_bridge.emulated_drives import EmulatedMotors
from firmware_bridge.motor_bus import KD

FIRMWARE = b"exo-emulated"


class McuFarEnd:
    """An emulated microcontroller with its motors.

    Args:
        drives: whose ids number them.
        motors: the physics; its clock is the board's, and its watchdog does not let go but damps.
        rows: which of `motors` these drives are.

    Attributes:
        stop: the stop line is pressed.
        imu: (10,) as `ImuState.values`; a quaternion of zeros: it has none.
        version: of the link, as an old firmware would tell another.
    """

    def __init__(
        self, drives: list[Drive], motors: EmulatedMotors, rows: list[int], firmware: bytes = FIRMWARE
    ) -> None:
        order = np.argsort([drive.id for drive in drives])
        self._motors, self._rows = motors, np.array(rows, np.intp)[order]
        self._firmware = firmware
        self.stop, self.version = False, VERSION
        self.imu = np.zeros(10)
        self.mode, self.watchdog_ms = LinkMode.LIMP, USUAL_WATCHDOG_MS
        self.ignored = 0
        self.heartbeat_lost = False
        self._stream = FrameStream()
        self._session: int | None = None
        self._answered = self._sequence = 0
        self._heard_s = 0.0

    @property
    def bad(self) -> int:
        """Pieces between two zeros that were no frame, counted."""
        return self._stream.bad

    def feed(self, data: bytes) -> bytes:
        """What it answers to some bytes."""
        self._watch()
        return b"".join(self._obey(frame) for frame in self._stream.feed(data))

    def tick(self) -> bytes:
        """It says nothing by itself, but looks at its heartbeat and its stop line."""
        self._watch()
        return b""

    def _watch(self) -> None:
        silent_us = round(self._motors.now_s * 1e6) - round(self._heard_s * 1e6)
        if self.mode is LinkMode.DRIVEN and silent_us > 1000 * self.watchdog_ms:
            self.heartbeat_lost = True
            self._damp()
        if self.mode is LinkMode.DRIVEN and self.stop:
            self._damp()

    def _switch(self, mode: LinkMode) -> None:
        motors, rows = self._motors, self._rows
        self.mode = mode
        motors.target[rows] = 0
        motors.is_enabled[rows] = mode is not LinkMode.LIMP
        motors.watchdog_s[rows] = 0  # the board's own heartbeat watches

    def _damp(self) -> None:
        self._switch(LinkMode.DAMPED)
        self._motors.target[self._rows, KD] = DAMPING

    def _obey(self, frame: Frame) -> bytes:
        is_newer = 0 < (frame.sequence - self._answered) & 0xFFFF <= 0x8000
        if frame.kind == Kind.HELLO and len(frame.body) == HELLO.itemsize:
            return self._greet(frame)
        if frame.version != self.version:
            self.ignored += 1
            return b""
        is_next = frame.session == self._session and is_newer
        if frame.kind == Kind.DAMP:
            self._damp()
        elif not is_next or not self._take(frame):
            self.ignored += 1
            return b""
        if is_next:
            self._answered = frame.sequence
        return self._state()

    def _greet(self, frame: Frame) -> bytes:
        wanted = int(np.frombuffer(frame.body, HELLO, 1)[0]["watchdog_ms"])
        if wanted:
            self.watchdog_ms = min(max(wanted, LEAST_WATCHDOG_MS), MOST_WATCHDOG_MS)
        self._session, self._answered = frame.session, frame.sequence
        if self.mode is LinkMode.DRIVEN:
            self._damp()
        hello = np.zeros(1, HELLO)
        hello["version"], hello["motors"], hello["watchdog_ms"] = self.version, len(self._rows), self.watchdog_ms
        hello["firmware"] = self._firmware
        return self._frame(Kind.HELLO, hello.tobytes())

    def _take(self, frame: Frame) -> bool:
        if frame.kind == Kind.COMMAND:
            if len(frame.body) != 20 * len(self._rows) or frame.count != len(self._rows):
                return False
            if self.mode is LinkMode.DRIVEN:
                block = frame.command()
                if block is None:
                    return False
                self._motors.command(self._rows, block.astype(np.float64))
        elif frame.body or frame.kind not in (Kind.ENABLE, Kind.DISABLE):
            return False
        elif frame.kind == Kind.DISABLE:
            self._switch(LinkMode.LIMP)
        elif not self.stop:
            self._switch(LinkMode.DRIVEN)
            self.heartbeat_lost = False
        self._heard_s = self._motors.now_s
        return True

    def _state(self) -> bytes:
        motors, rows = self._motors, self._rows
        own = (MotorFault.STOP_LINE if self.stop else 0) | (MotorFault.HEARTBEAT if self.heartbeat_lost else 0)
        state = np.zeros(len(rows), MOTOR_STATE)
        state["q"], state["dq"], state["tau"] = motors.q[rows], motors.dq[rows], motors.tau[rows]
        state["temperature_c"] = np.clip(motors.temperature_c[rows], -99, 999).astype(np.int16)
        state["faults"] = (motors.faults[rows] & 0x3FFF) | own
        state["faults"] |= np.where(motors.is_dead[rows], MotorFault.DRIVE_SILENT, 0).astype(np.uint16)
        tail = np.zeros(1, TAIL)
        tail["quat_wxyz"], tail["gyro"], tail["accel"] = self.imu[:4], self.imu[4:7], self.imu[7:]
        tail["battery_percent"], tail["stop"], tail["mode"] = math.nan, self.stop, self.mode
        tail["answered"] = self._answered
        return self._frame(Kind.STATE, state.tobytes() + tail.tobytes())

    def _frame(self, kind: Kind, body: bytes) -> bytes:
        self._sequence += 1
        return make_frame(kind, self._session or 0, self._sequence, round(self._motors.now_s * 1e6), len(self._rows),
                          body, self.version)


def far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> McuFarEnd:
    """As the list of protocols names it."""
    return McuFarEnd(drives, motors, rows)
