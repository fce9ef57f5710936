"""ROBOTIS's own dynamixel-sdk as the host of our emulated servos: what it reads is what they are."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")
sdk = pytest.importorskip("dynamixel_sdk", reason="missing dependency: dynamixel-sdk")

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.dynamixel_far_end import DynamixelFarEnd
from firmware_bridge.drives.dynamixel_models import COUNT_RAD, VELOCITY_RAD_S
from firmware_bridge.drives.language import Drive
from firmware_bridge.emulated_port import EmulatedPort
from tests.drive_talk import motors_of

pytestmark = pytest.mark.realtime

DRIVES = [Drive(0, 1, "XM430-W350"), Drive(1, 2, "XM540-W270"), Drive(2, 9, "XM430-W210")]
POSITION, VELOCITY = dynamixel.PRESENT_POSITION.address, dynamixel.PRESENT_VELOCITY.address


class Bench:
    """Servos on a pty, served by a thread, and the SDK at the other end."""

    def __init__(self) -> None:
        self.motors = motors_of(3)
        self.motors.q[:] = 0.5, -0.25, 3.0
        self.far_end = DynamixelFarEnd(DRIVES, self.motors, [0, 1, 2])
        self.port = EmulatedPort(self.far_end)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.host = sdk.PortHandler(self.port.path)
        self.packets: Any = sdk.PacketHandler(2.0)
        assert self.host.openPort() and self.host.setBaudRate(1_000_000)

    def _serve(self) -> None:
        while not self._is_over:
            if select.select([self.port.master], [], [], 0.02)[0]:
                self.port.serve()

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self.host.closePort()
        self.port.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.close()


def counts(radians: float, size: int = 4) -> int:
    return round(radians / COUNT_RAD) & (1 << 8 * size) - 1


def test_it_finds_them(bench: Bench) -> None:
    number, result, error = bench.packets.ping(bench.host, 2)
    assert (number, result, error) == (1120, sdk.COMM_SUCCESS, 0)
    there, result = bench.packets.broadcastPing(bench.host)
    assert result == sdk.COMM_SUCCESS and {i: model for i, (model, _) in there.items()} == {1: 1020, 2: 1120, 9: 1030}


def test_it_reads_and_writes_registers(bench: Bench) -> None:
    assert bench.packets.read4ByteTxRx(bench.host, 2, POSITION) == (counts(-0.25), sdk.COMM_SUCCESS, 0)
    assert bench.packets.write4ByteTxRx(bench.host, 1, 116, counts(1.0)) == (sdk.COMM_SUCCESS, 0)
    assert bench.packets.write1ByteTxRx(bench.host, 1, 64, 1) == (sdk.COMM_SUCCESS, 0)
    assert bench.motors.is_enabled.tolist() == [True, False, False]
    assert bench.motors.target[0, 0] == pytest.approx(1.0, abs=COUNT_RAD)
    assert bench.packets.write1ByteTxRx(bench.host, 1, 11, 0) == (sdk.COMM_SUCCESS, 7), "EEPROM under torque: access"


def test_what_looks_like_a_head_goes_both_ways(bench: Bench) -> None:
    """FF FF FD among the parameters is stuffed by one side and unstuffed by the other."""
    value = 0x01FDFFFF
    assert bench.packets.write4ByteTxRx(bench.host, 9, 116, value) == (sdk.COMM_SUCCESS, 0)
    assert bench.packets.read4ByteTxRx(bench.host, 9, 116) == (value, sdk.COMM_SUCCESS, 0)


@pytest.mark.parametrize("is_fast", [False, True])
def test_it_reads_all_at_once(bench: Bench, is_fast: bool) -> None:
    bench.motors.dq[:] = 1.0, -2.0, 0.0
    group = sdk.GroupSyncRead(bench.host, bench.packets, VELOCITY, 8)
    assert all(group.addParam(drive.id) for drive in DRIVES)
    result = group.fastSyncRead() if is_fast else group.txRxPacket()
    assert result == sdk.COMM_SUCCESS
    for drive, q, dq in zip(DRIVES, bench.motors.q, bench.motors.dq, strict=True):
        assert group.getData(drive.id, POSITION, 4) == counts(q)
        told = np.uint32(group.getData(drive.id, VELOCITY, 4)).view(np.int32)
        assert told * VELOCITY_RAD_S == pytest.approx(dq, abs=VELOCITY_RAD_S)


def test_it_tells_all_at_once(bench: Bench) -> None:
    group = sdk.GroupSyncWrite(bench.host, bench.packets, 116, 4)
    for at, drive in enumerate(DRIVES):
        assert group.addParam(drive.id, list(counts(0.1 * at).to_bytes(4, "little")))
    assert group.txPacket() == sdk.COMM_SUCCESS
    assert bench.packets.ping(bench.host, 9)[1] == sdk.COMM_SUCCESS  # behind it on the same wire
    np.testing.assert_allclose(bench.motors.target[:, 0], [0, 0.1, 0.2], atol=COUNT_RAD)


def test_a_dead_servo_is_a_time_out(bench: Bench) -> None:
    bench.motors.is_dead[1] = True
    assert bench.packets.ping(bench.host, 2)[1] == sdk.COMM_RX_TIMEOUT
    group = sdk.GroupSyncRead(bench.host, bench.packets, POSITION, 4)
    assert all(group.addParam(drive.id) for drive in DRIVES)
    assert group.txRxPacket() != sdk.COMM_SUCCESS
    assert bench.packets.read4ByteTxRx(bench.host, 1, POSITION)[1:] == (sdk.COMM_SUCCESS, 0)


def test_goals_are_out_of_range_once_the_bus_watchdog_has_struck(bench: Bench) -> None:
    for address, value in ((98, 2), (64, 1)):
        assert bench.packets.write1ByteTxRx(bench.host, 1, address, value) == (sdk.COMM_SUCCESS, 0)
    bench.motors.step(0.05)
    assert bench.packets.read1ByteTxRx(bench.host, 1, 98) == (255, sdk.COMM_SUCCESS, 0)
    assert bench.packets.write4ByteTxRx(bench.host, 1, 116, 0) == (sdk.COMM_SUCCESS, 4)
    assert bench.packets.write1ByteTxRx(bench.host, 1, 98, 0) == (sdk.COMM_SUCCESS, 0)
    assert bench.packets.write4ByteTxRx(bench.host, 1, 116, 0) == (sdk.COMM_SUCCESS, 0)
    assert bench.packets.reboot(bench.host, 1) == (sdk.COMM_SUCCESS, 0) and not bench.motors.is_enabled.any()
