"""Our link's firmware in C at the far end of a pty: driven through the serial bus, left alone by a host that stops."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mcu_bus import McuBus
from firmware_bridge.drives.mcu_link import LinkMode, MotorFault
from firmware_bridge.motor_bus import KD, KP, Q, Reading, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_imu import BaseImu
from firmware_bridge.serial_line import Line
from tests.mcu_firmware import MCU, build

pytestmark = pytest.mark.realtime

HOST = """
import sys, time
import numpy as np
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mcu_bus import McuBus
from firmware_bridge.serial_port import SerialPort

bus = McuBus([Drive(0, 0, "mcu"), Drive(1, 1, "mcu")])
port = SerialPort(sys.argv[1], bus.baud)
assert not bus.connect(port.exchange, 0.2)[0].problems
port.write(bus.enabling()[0])
print("driving", flush=True)
while True:
    port.write(bus.ask(np.array([[0.5, 0, 0, 20, 1.0]] * 2))[0])
    time.sleep(0.01)
    bus.hear(port.read(), time.monotonic_ns())
"""


class Board:
    """The C program, and what it says."""

    def __init__(self, program: Path, motors: int) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, str(motors)], stdin=pipe, stdout=pipe)
        self._said = b""
        self.port = self.wait_for("port ")

    def wait_for(self, begin: str, longest_s: float = 10.0) -> str:
        """The rest of the next line that begins so; the lines before it are forgotten."""
        assert self.process.stdout is not None
        end = time.monotonic() + longest_s
        while time.monotonic() < end:
            line, newline, rest = self._said.partition(b"\n")
            if newline:
                self._said = rest
                if line.startswith(begin.encode()):
                    return line[len(begin):].decode()
            elif select.select([self.process.stdout], [], [], 0.1)[0]:
                self._said += os.read(self.process.stdout.fileno(), 4096)
        raise AssertionError(f"the board never said {begin!r}")

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(MCU / "host_main.c", tmp_path_factory.mktemp("mcu"))


@pytest.fixture
def board(program: Path) -> Iterator[Board]:
    board = Board(program, 2)
    with board.process:
        yield board


@pytest.fixture
def bus(board: Board) -> Iterator[SerialBus]:
    drives = [Drive(0, 0, "mcu", name="hip"), Drive(1, 1, "mcu", sign=-1, gear=2.0, name="knee")]
    language = McuBus(drives)
    bus = SerialBus([Line(board.port, drives, language)], 2, 0.005, 0.2, imu=BaseImu(language.imu))
    bus.connect()
    yield bus
    bus.close()


def cycle(bus: SerialBus, command: SafeCommand, times: int) -> list[Reading]:
    readings = []
    for _ in range(times):
        bus.write(command)
        time.sleep(0.005)
        readings.append(bus.read())
    return readings


def test_joints_go_where_they_are_told_through_the_firmware(board: Board, bus: SerialBus) -> None:
    command = SafeCommand(2)
    command.block[:, Q], command.block[:, KP], command.block[:, KD] = 0.4, 20, 1
    assert Reading.NEW in cycle(bus, command, 20) and np.abs(bus.sample.q).max() < 1e-3  # nothing before it is enabled
    bus.enable()
    cycle(bus, command, 200)
    np.testing.assert_allclose(bus.sample.q, 0.4, atol=0.02)
    assert bus.sample.quat_wxyz.tolist() == [1, 0, 0, 0] and bus.sample.accel[2] == pytest.approx(9.81)
    board.tell("fault 1 2")
    cycle(bus, command, 20)
    assert int(bus.sample.motor_error[1]) & MotorFault.OVER_CURRENT and not bus.sample.motor_error[0]


def test_a_pressed_stop_line_takes_the_targets_away(board: Board, bus: SerialBus) -> None:
    command = SafeCommand(2)
    bus.enable()
    cycle(bus, command, 20)
    board.tell("stop 1")
    board.wait_for(f"mode {LinkMode.DAMPED:d}")
    cycle(bus, command, 20)
    assert (bus.sample.motor_error & MotorFault.STOP_LINE).all()


def test_it_damps_by_itself_when_its_host_is_stopped_and_stays_so_when_it_goes_on(board: Board) -> None:
    root = str(Path(__file__).resolve().parents[1])
    host = subprocess.Popen([sys.executable, "-c", HOST, board.port], stdout=subprocess.PIPE, cwd=root,
                            env={**os.environ, "PYTHONPATH": root})
    with host:
        try:
            board.wait_for(f"mode {LinkMode.DRIVEN:d}", 30)
            host.send_signal(signal.SIGSTOP)
            board.wait_for(f"mode {LinkMode.DAMPED:d}")
            host.send_signal(signal.SIGCONT)
            with pytest.raises(AssertionError, match="never said"):
                board.wait_for("mode ", 1.0)
            assert host.poll() is None  # it goes on commanding, and nothing comes of it
        finally:
            host.kill()
