"""Ports of a serial robot as the gate has them, over a bad line in memory, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import FarEnd, make_far_end, make_language
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.emulated_line import EmulatedLine
from firmware_bridge.motor_bus import KD, KP, MotorCommand, MotorSample
from firmware_bridge.serial_line import Line
from firmware_bridge.serial_port import SerialPort
from tests.serial_models import MODELS

PERIOD_S, STEP_S, WATCHDOG_S = 0.004, 0.001, 0.05


class TurningMotors(EmulatedMotors):
    """Motors that turn as fast as a test says, whatever they are told; watchdogs and switches are as ever.

    Attributes:
        rate: (n,) rad/s.
    """

    def __init__(self, count: int) -> None:
        super().__init__([Motor()] * count)
        self.rate = np.zeros(count)

    def step(self, dt_s: float) -> None:
        self.now_s += dt_s
        self.watch()
        self.dq = self.rate.copy()
        self.q = self.q + dt_s * self.dq


class MemoryPort:
    """What a `SerialPort` is to a `Line`, with a far end in the same process."""

    dropped, descriptor, is_open = 0, -1, True

    def __init__(self, line: EmulatedLine) -> None:
        self.line = line
        self._waiting = b""

    def write(self, data: bytes) -> bool:
        self._waiting += self.line.feed(data)
        return True

    def read(self) -> bytes:
        out, self._waiting = self._waiting + self.line.tick(), b""
        return out

    def exchange(self, data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        self.write(data)
        answer = self.read()
        return bool(answer) and is_enough(answer)


class Rig:
    """Ports of one protocol, each with drives of its own that turn as the test says.

    Attributes:
        lines, wires: per port, the host's side and the emulated one.
        fresh: (n,) bool, the last cycle brought a new state.
    """

    def __init__(self, protocol: str, ports: int = 2, each: int = 3, seed: int = 0) -> None:
        n = ports * each
        self.protocol, self.motors = protocol, TurningMotors(n)
        self.lines: list[Line] = []
        self.wires: list[EmulatedLine] = []
        self.rows = [list(range(port * each, (port + 1) * each)) for port in range(ports)]
        self.now_ns = 1_000_000_000
        self.motors.now_s = 1.0
        self.drives = [[Drive(row, at + (protocol != "mcu"), MODELS[protocol], name=f"joint {row}")
                        for at, row in enumerate(rows)] for rows in self.rows]
        for port, (rows, drives) in enumerate(zip(self.rows, self.drives, strict=True)):
            wire = EmulatedLine(self.far_end(port), self.motors, rows, seed + port)
            line = Line(f"port {port}", drives, make_language(protocol, drives))
            self.lines.append(line)
            self.wires.append(wire)
        self.sample = MotorSample.zeros(n)
        self.fresh = np.zeros(n, np.bool_)
        self.command = MotorCommand(n)
        self.command.block[:, KP], self.command.block[:, KD] = 20, 1
        for line in self.lines:
            self.connect(line)

    def far_end(self, port: int, rows: list[int] | None = None) -> FarEnd:
        """One of a port; `rows` for one whose drives have each other's ids."""
        return make_far_end(self.protocol, self.drives[port], self.motors, rows or self.rows[port])

    def missed(self) -> np.ndarray:
        """(n,) cycles without an answer, counted."""
        return np.concatenate([line.missed for line in self.lines]).astype(np.int64)

    def connect(self, line: Line) -> None:
        port = MemoryPort(self.wires[self.lines.index(line)])
        facts = line.language.connect(port.exchange, WATCHDOG_S)
        assert [fact.problems for fact in facts] == [[] for _ in facts]
        line.opened(cast(SerialPort, port))

    def arm(self) -> None:
        self.cycle(5)
        for line in self.lines:
            line.arm()
        self.cycle(12)

    def cycle(self, times: int = 1) -> None:
        """Periods of a gate: command, let turns and time go on, take."""
        for _ in range(times):
            for line in self.lines:
                line.command(self.command)
            for _ in range(round(PERIOD_S / STEP_S)):
                for line in self.lines:
                    for _ in range(len(line.drives) + 2):
                        line.hear(self.now_ns)
                self.motors.step(STEP_S)
                self.now_ns += round(STEP_S * 1e9)
            for line in self.lines:
                line.hear(self.now_ns)
                taken = line.missed.copy()
                line.take(self.sample, True)
                self.fresh[line.motors] = line.missed == taken
            assert np.isfinite(self.sample.q).all() and np.isfinite(self.sample.dq).all()
