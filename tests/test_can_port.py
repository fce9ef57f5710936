"""Drives on a CAN interface of the system, through python-can and its virtual bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

can = pytest.importorskip("can", reason="missing dependency: python-can")

from firmware_bridge.can_port import CanPort, open_port
from firmware_bridge.drives.can_frames import FRAME_BYTES, CanFrameLink
from firmware_bridge.drives.can_link import EXTENDED
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import PROTOCOLS, make_far_end, make_language, make_maintenance
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import Reading, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import Line
from tests.drive_talk import motors_of, targets

pytestmark = pytest.mark.realtime

CHANNEL = "can:virtual:exoactor-test"
DRIVES = {
    "damiao-socketcan": [Drive(0, 1, "DM4310", name="hip"), Drive(1, 2, "DM4340", name="knee")],
    "robstride-socketcan": [Drive(0, 1, "RS03", name="hip"), Drive(1, 2, "RS00", name="knee")],
}


class Interface:
    """Emulated drives on a virtual CAN bus, in a thread."""

    def __init__(self, protocol: str) -> None:
        self.motors = motors_of(2)
        self.end: Any = make_far_end(protocol, DRIVES[protocol], self.motors, [0, 1])
        self._port = CanPort(CHANNEL, 0)
        self._stop = False
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        while not self._stop:
            data = self._port._receive(0.001)
            if data:
                self._port.write(self.end.feed(data))
            self.motors.step(0.001)

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._port.close()


@pytest.fixture(params=DRIVES)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def interface(protocol: str) -> Iterator[Interface]:
    one = Interface(protocol)
    yield one
    one.close()


def test_a_robot_on_can_interfaces_is_connected_driven_and_let_go(protocol: str, interface: Interface) -> None:
    bus = SerialBus([Line(CHANNEL, DRIVES[protocol], make_language(protocol, DRIVES[protocol]))], 2, 0.01)
    bus.connect()
    assert interface.motors.watchdog_s.tolist() == pytest.approx([0.05] * 2)
    command = SafeCommand(2)
    command.block[:] = targets([0.3, -0.3])
    bus.enable()
    readings = []
    for _ in range(150):
        bus.write(command)
        threading.Event().wait(0.003)
        readings.append(bus.read())
    assert readings.count(Reading.NEW) > 100 and bus.link_is_up()
    np.testing.assert_allclose(bus.sample.q, [0.3, -0.3], atol=0.05)
    bus.close()
    threading.Event().wait(0.05)
    assert not interface.motors.is_enabled.any()


def test_a_scan_finds_the_drives_of_an_interface(protocol: str, interface: Interface) -> None:
    port = open_port(CHANNEL, 0)
    assert [found.id for found in make_maintenance(protocol).scan(port.exchange, range(1, 6))] == [1, 2]
    assert not PROTOCOLS[protocol].is_serial
    port.close()


def test_an_interface_that_is_not_there_is_refused() -> None:
    with pytest.raises(BridgeError, match=r"can:nonsense:0.*of one that is up"):
        open_port("can:nonsense:0", 0)
    with pytest.raises(BridgeError, match="can:socketcan:none9"):
        open_port("can:socketcan:none9", 0)


def test_without_python_can_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "can", None)
    with pytest.raises(BridgeError, match="cannot import can"):
        open_port(CHANNEL, 0)


class Failing:
    """An interface that fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, message: Any, timeout: float) -> None:
        raise self.error

    def recv(self, timeout: float) -> Any:
        raise self.error

    def shutdown(self) -> None:
        raise self.error


@pytest.mark.parametrize(("error", "is_open"), [
    (can.CanOperationError("Transmit buffer full"), True), (can.CanOperationError("full", 105), True),
    (can.CanOperationError("down", 100), False), (OSError(19, "no device"), False)])
def test_a_full_queue_costs_frames_and_a_lost_interface_the_port(error: Exception, is_open: bool) -> None:
    port = CanPort(CHANNEL, 0)
    port._port.shutdown()
    port._port = Failing(error)
    assert not port.write(bytes(2 * FRAME_BYTES)) and port.dropped == 2 * FRAME_BYTES
    assert port.is_open is is_open
    assert port.read() == b"" and not port.is_open
    assert not port.write(bytes(FRAME_BYTES)) and not port.exchange(b"", lambda data: True, 0.01)


def test_remote_error_and_fd_frames_are_no_states() -> None:
    port, other = CanPort(CHANNEL, 0), can.Bus(interface="virtual", channel="exoactor-test")
    for message in (can.Message(arbitration_id=0x11, is_remote_frame=True, dlc=8, is_extended_id=False),
                    can.Message(arbitration_id=0x11, is_error_frame=True, data=bytes(8), is_extended_id=False),
                    can.Message(arbitration_id=0x11, is_fd=True, data=bytes(12), is_extended_id=False),
                    can.Message(arbitration_id=0x12, data=b"\x01\x02", is_extended_id=False)):
        other.send(message)
    link = CanFrameLink()
    frames = link.feed(port.read())
    assert frames.ids.tolist() == [0x12] and frames.lengths.tolist() == [2] and link.bad == 2
    assert frames.data.tolist() == [[1, 2, 0, 0, 0, 0, 0, 0]]
    port.close()
    other.shutdown()


def test_frames_come_back_as_they_were_packed() -> None:
    link, rng = CanFrameLink(), np.random.default_rng(0)
    ids = np.array([0x7FF, 1, EXTENDED | 0x1FFFFFFF, EXTENDED | 5], np.uint32)
    data = rng.integers(0, 256, (4, 8)).astype(np.uint8)
    frames = link.feed(link.pack(ids, data))
    assert frames.ids.tolist() == ids.tolist() and frames.data.tolist() == data.tolist()


@given(st.binary(max_size=200))
def test_noise_is_counted_and_never_raises(noise: bytes) -> None:
    frames = CanFrameLink().feed(noise)
    assert frames.data.shape == (len(frames.ids), 8) and (frames.lengths <= 8).all()
