"""An IMU on a port of its own, pulled out and put back while the bus runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge.drives.xsens_far_end import XsensFarEnd
from firmware_bridge.drives.xsens_imu import XsensImu
from firmware_bridge.emulated_port import EmulatedPort
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_imu import SerialImu

pytestmark = pytest.mark.realtime


class Served:
    """An emulated port, served by a thread."""

    def __init__(self, link: Path) -> None:
        self.sensor = XsensFarEnd(lambda: np.array([1, 0, 0, 0, 0.1, 0.2, 0.3, 0, 0, 9.81]), time.monotonic)
        self.port = EmulatedPort(self.sensor, link)
        self._lock, self._is_over = threading.Lock(), False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_over:
            with self._lock:
                self.port.serve()
                self.port.tick()
            time.sleep(0.001)

    def plug(self, is_in: bool) -> None:
        with self._lock:
            (self.port.plug if is_in else self.port.unplug)()

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self.port.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "imu")
    yield served
    served.close()


def until(claim: str, bus: SerialBus, imu: SerialImu, is_it: bool) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        bus.read()
        now = time.monotonic_ns()
        if {"fresh": not imu.is_stale(now), "open": bus.link_is_up()}[claim] is is_it:
            return
        time.sleep(0.002)
    raise AssertionError(f"{claim} never became {is_it}")


def test_an_imu_comes_back_when_it_is_plugged_in_again(served: Served) -> None:
    files = len(os.listdir("/proc/self/fd"))
    imu = SerialImu(served.port.path, XsensImu())
    bus = SerialBus([], 1, 0.002, imu=imu)
    bus.connect()
    for _ in range(3):
        until("fresh", bus, imu, True)
        np.testing.assert_allclose(bus.sample.gyro, [0.1, 0.2, 0.3], atol=1e-6)
        served.plug(False)
        until("open", bus, imu, False)
        until("fresh", bus, imu, False)
        served.plug(True)
        until("open", bus, imu, True)
    until("fresh", bus, imu, True)
    bus.close()
    assert not imu.is_open and len(os.listdir("/proc/self/fd")) <= files


def test_what_is_no_imu_is_refused_and_its_port_let_go(served: Served) -> None:
    served.sensor.is_silent = True
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BridgeError, match="no answer of an Xsens MTi"):
        SerialImu(served.port.path, XsensImu()).connect()
    assert len(os.listdir("/proc/self/fd")) == files
