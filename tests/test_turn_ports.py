"""Buses that take turns, on real ptys: pulled and plugged again, with noise, beside a port that goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import make_far_end, make_language
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.emulated_line import Damage, EmulatedLine
from firmware_bridge.emulated_port import EmulatedPort
from firmware_bridge.motor_bus import KD, KP, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import Line
from tests.serial_models import MODELS

pytestmark = pytest.mark.realtime

PERIOD_S, EACH = 0.02, 3


class Rig:
    """Two ports of one protocol on ptys, served by a thread, and the bus that drives them."""

    def __init__(self, protocol: str, folder: Path) -> None:
        self.motors = EmulatedMotors([Motor(inertia=0.05)] * 2 * EACH)
        self.wires, self.ports, lines = [], [], []
        for at in range(2):
            rows = list(range(at * EACH, (at + 1) * EACH))
            drives = [Drive(row, row + 1, MODELS[protocol], name=f"joint {row}") for row in rows]
            wire = EmulatedLine(make_far_end(protocol, drives, self.motors, rows), self.motors, rows, at)
            self.wires.append(wire)
            self.ports.append(EmulatedPort(wire, folder / f"port{at}"))
            language = make_language(protocol, drives)
            language.turn_s = 0.01  # the far end shares an interpreter with other tests' load
            lines.append(Line(self.ports[at].path, drives, language, without_watchdog=True))
        self.lines, self._is_over, self._lock = lines, False, threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.bus = SerialBus(lines, 2 * EACH, PERIOD_S)
        self.bus.connect()
        self.command = SafeCommand(2 * EACH)
        self.command.block[:, KP], self.command.block[:, KD] = 20, 1

    def _serve(self) -> None:
        last = time.monotonic()
        while not self._is_over:
            with self._lock:
                for port in self.ports:
                    port.serve()
                    port.tick()
                now = time.monotonic()
                if now - last >= 0.001:
                    self.motors.step(min(now - last, 0.01))
                    last = now
            time.sleep(0.0002)

    def cycle(self, times: int) -> None:
        for _ in range(times):
            self.bus.write(self.command)
            self.bus.pump(time.monotonic_ns() + round(PERIOD_S * 1e9))
            self.bus.read()

    def pull(self, at: int) -> None:
        with self._lock:
            self.ports[at].unplug()

    def plug(self, at: int) -> None:
        with self._lock:
            self.ports[at].plug()

    def close(self) -> None:
        self.bus.close()
        self._is_over = True
        self._thread.join()
        for port in self.ports:
            port.close()


@pytest.fixture(params=["go-m8010", "dynamixel", "feetech"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    one = Rig(request.param, tmp_path)
    yield one
    one.close()


def test_a_port_that_was_pulled_comes_back_without_torque_and_the_other_goes_on(rig: Rig) -> None:
    rig.cycle(5)
    rig.bus.enable()
    rig.cycle(12)
    assert rig.motors.is_enabled.all()
    for _ in range(2):
        rig.pull(0)
        rig.motors.is_enabled[:EACH] = False
        answers = rig.lines[1].language.states.answers.copy()
        rig.cycle(10)
        assert not rig.bus.link_is_up() and (rig.lines[1].language.states.answers > answers).all()
        rig.plug(0)
        end = time.monotonic() + 20
        while not rig.bus.link_is_up() and time.monotonic() < end:
            rig.cycle(1)
        assert rig.bus.link_is_up()
        answers = rig.lines[0].language.states.answers.copy()
        rig.command.block[:, 0] = 0.5
        rig.cycle(20)
        assert (rig.lines[0].language.states.answers > answers).all()
        assert rig.motors.is_enabled.tolist() == [False] * EACH + [True] * EACH
    rig.bus.enable()
    rig.cycle(12)
    assert rig.motors.is_enabled.all()


def test_noise_on_one_port_leaves_the_other_alone(rig: Rig) -> None:
    rig.cycle(5)
    rig.wires[0].there = rig.wires[0].back = Damage(lost=0.01, corrupted=0.01, duplicated=0.01)
    bad = rig.lines[1].language.bad
    answers = rig.lines[0].language.states.answers.copy()
    rig.cycle(40)
    assert rig.lines[1].language.bad == bad and rig.lines[0].language.bad > 0
    assert (rig.lines[0].language.states.answers > answers).all()
    assert np.isfinite(rig.bus.sample.q).all() and not rig.motors.is_enabled.any()
