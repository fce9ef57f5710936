"""A robot whose motors hang on serial ports, behind the seam that a DDS robot has.

A cycle is a write and, a gate's period later, a read: all ports are written first, then nobody waits, and what the
drives answered meanwhile is collected at the next read. A drive that did not answer keeps its last state, and its age
grows: it costs its own sample and nobody else's. Ports that have gone are looked for in a thread beside; their drives
have let go by their own watchdogs by then, and nothing here gives them torque again: only `enable` does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.language import F64, Drive, Facts, Language
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, MotorSample, Q, Reading, SafeCommand
from firmware_bridge.serial_imu import BaseImu
from firmware_bridge.serial_port import SerialPort

FAULT_LOST, FAULT_LIMP = 1 << 16, 1 << 17
"""Of `motor_error`, beside the protocol's own bits: it has not answered for too long; it lost its torque by itself."""
MOST_MISSES = 10
"""Cycles without an answer before a drive counts as lost."""
SHARE_OF_PERIOD = 0.8
REOPEN_S = 0.5


@dataclass
class Line:
    """One port, the drives on it and how they speak."""

    path: str
    drives: list[Drive]
    language: Language
    port: SerialPort | None = None

    def __post_init__(self) -> None:
        drives = self.drives
        self.motors = np.array([drive.motor for drive in drives], np.intp)
        self.sign = np.array([float(drive.sign) for drive in drives])
        self.gear = np.array([drive.gear for drive in drives])
        self.offset = np.array([drive.offset_rad for drive in drives])
        self.misses = np.zeros(len(drives), np.int64)
        self.missed = np.zeros(len(drives), np.uint32)
        self.before = np.zeros(len(drives), np.uint32)
        self.was_driven = np.zeros(len(drives), np.bool_)
        self.is_enabled = False
        self.reconnects = 0

    def to_drive(self, block: npt.NDArray[np.float32]) -> F64:
        """Joint targets of this line's motors, (n, 5), on the drives' side."""
        out = block[self.motors].astype(np.float64)
        turn, square = self.sign * self.gear, self.gear**2
        out[:, Q] = (out[:, Q] - self.offset) * turn
        out[:, DQ] *= turn
        out[:, TAU] *= self.sign / self.gear
        out[:, KP] /= square
        out[:, KD] /= square
        return out


class SerialBus:
    """Every motor of a robot over its serial ports; a `MotorBus`.

    Args:
        lines: the ports.
        motors: how many slots the robot has.
        period_s: of the gate.
        watchdog_s: after which silence each drive is to let go.
        imu: of the base; None leaves the sample upright and at rest. While it is stale there is no new reading at all.

    Raises:
        BridgeError: a cycle does not fit the period.
    """

    def __init__(self, lines: Sequence[Line], motors: int, period_s: float, watchdog_s: float = 0.05,
                 imu: BaseImu | None = None) -> None:
        self._lines, self.imu = list(lines), imu
        self._watchdog_s = watchdog_s
        for line in self._lines:
            needed = line.language.cycle_s()
            if needed > SHARE_OF_PERIOD * period_s:
                raise BridgeError(
                    f"bus {line.path}", expected=f"a cycle within {SHARE_OF_PERIOD * period_s * 1e3:.2f} ms "
                    f"({1 / period_s:.0f} Hz)", found=f"{needed * 1e3:.2f} ms for {len(line.drives)} drives",
                    what_to_do="put fewer drives on this bus, or choose a lower rate")
        self.sample = MotorSample.zeros(motors)
        self.sample.temperature_c[:] = 0
        self._is_open = True
        self._has_written = False
        self._tick = 0
        self._lock = threading.Lock()
        self._seeker = threading.Thread(target=self._seek, name="serial-reconnect", daemon=True)

    def connect(self) -> None:
        """Open every port and make every drive ready, without torque.

        Raises:
            BridgeError: a port or drive is missing, a drive is another than the robot file says, or a watchdog cannot
                be set.
        """
        for line in self._lines:
            line.port = SerialPort(line.path, line.language.baud)
            self._check(line, line.language.connect(line.port.exchange, self._watchdog_s))
            line.before[:] = line.language.states.answers
        if self.imu is not None:
            self.imu.connect()
        self._seeker.start()

    @staticmethod
    def _check(line: Line, facts: list[Facts]) -> None:
        problems = [problem for fact in facts for problem in fact.problems]
        problems += [f"{drive.name}: its watchdog is off" for drive, fact in zip(line.drives, facts, strict=True)
                     if fact.watchdog_s == 0 and not fact.problems]
        if problems:
            raise BridgeError(f"bus {line.path}", expected="drives as the robot file describes them, watchdog on",
                              found="; ".join(problems), what_to_do="correct the robot file, or the drives' settings")

    def enable(self) -> None:
        """Give the drives torque: an operator's doing, never a reconnect's."""
        for line in self._lines:
            for data in line.language.enabling():
                if line.port is not None:
                    line.port.write(data)
            line.is_enabled = True

    def read(self) -> Reading:
        """What the drives answered since the last read, into `sample`."""
        now_ns = time.monotonic_ns()
        has_new = False
        for line in self._lines:
            if line.port is not None and line.port.is_open:
                data = line.port.read()
                if data:
                    line.language.hear(data, now_ns)
            has_new |= self._take(line)
        self._has_written = False
        if not self._hear_imu(now_ns) or not has_new:
            return Reading.NONE
        self._tick += 1
        self.sample.tick[0] = self._tick & 0xFFFFFFFF
        return Reading.NEW

    def _hear_imu(self, now_ns: int) -> bool:
        """The IMU's newest into `sample`; whether it is to be believed."""
        if self.imu is None:
            return True
        self.imu.hear(now_ns)
        if self.imu.is_stale(now_ns):
            return False
        self.imu.fill(self.sample)
        return True

    def _take(self, line: Line) -> bool:
        """States of a line into the sample; whether any is new."""
        states, sample, motors = line.language.states, self.sample, line.motors
        came = states.answers != line.before
        line.before[:] = states.answers
        if self._has_written:
            line.misses = np.where(came, 0, line.misses + 1)
            line.missed += ~came
        if came.any():
            rows = motors[came]
            sample.q[rows] = (line.sign * states.q / line.gear + line.offset)[came]
            sample.dq[rows] = (line.sign * states.dq / line.gear)[came]
            sample.tau[rows] = (line.sign * states.tau * line.gear)[came]
            sample.temperature_c[rows] = states.temperature_c[came]
            line.was_driven |= states.is_driving
        limp = line.is_enabled & line.was_driven & ~states.is_driving
        sample.motor_error[motors] = (
            states.faults | np.where(line.misses > MOST_MISSES, FAULT_LOST, 0).astype(np.uint32)
            | np.where(limp, FAULT_LIMP, 0).astype(np.uint32)
        )
        sample.motor_lost[motors] = line.missed
        return bool(came.any())

    def write(self, command: SafeCommand) -> bool:
        """Ask every drive for its state with its new target; False when a port did not take it."""
        is_taken = self._is_open
        for line in self._lines:
            if line.port is None or not line.port.is_open:
                is_taken = False
                continue
            questions = line.language.ask(line.to_drive(command.block)) if command.enabled else []
            questions = questions if command.enabled else line.language.disabling()
            is_taken &= bool(questions)
            for data in questions:
                is_taken &= line.port.write(data)
        self._has_written = True
        return is_taken

    def other_writers(self) -> list[str]:
        """Ports are locked for us alone while they are open."""
        return []

    def link_is_up(self) -> bool:
        """Whether every port is there."""
        imu_is_up = self.imu is None or self.imu.is_open
        return imu_is_up and all(line.port is not None and line.port.is_open for line in self._lines)

    def _seek(self) -> None:
        """Opens again what has gone; its drives come back without torque, and stay so."""
        while self._is_open:
            time.sleep(REOPEN_S)
            for line in self._lines:
                if self._is_open and line.port is not None and not line.port.is_open:
                    self._reopen(line)
            if self._is_open and self.imu is not None and not self.imu.is_open:
                with contextlib.suppress(BridgeError):
                    self.imu.connect()

    def _reopen(self, line: Line) -> None:
        try:
            port = SerialPort(line.path, line.language.baud)
        except BridgeError:
            return
        line.is_enabled = False
        with self._lock:
            if not self._is_open:
                port.close()
                return
            try:
                self._check(line, line.language.connect(port.exchange, self._watchdog_s))
            except BridgeError:
                port.close()
                return
            line.port, line.reconnects = port, line.reconnects + 1

    def close(self) -> None:
        """Take the torque and let every port go."""
        self._is_open = False
        with self._lock:
            for line in self._lines:
                if line.port is not None:
                    for data in line.language.disabling() * 3:
                        line.port.write(data)
                    line.port.close()
            if self.imu is not None:
                self.imu.close()
