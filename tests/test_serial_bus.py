"""Motors on serial ports behind the gate's seam, against drives emulated on a pty."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge.drives import damiao
from firmware_bridge.drives.damiao_bus import DamiaoBus
from firmware_bridge.drives.damiao_far_end import DamiaoFarEnd
from firmware_bridge.drives.language import Drive, Facts
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import KD, KP, Q, Reading, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import FAULT_LIMP, FAULT_LOST, MOST_MISSES, Line

pytestmark = pytest.mark.realtime

DRIVES = [
    Drive(0, 1, "DM4310", name="hip"), Drive(1, 2, "DM4310", sign=-1, name="knee"),
    Drive(2, 3, "DM4340", gear=2.0, offset_rad=0.3, name="ankle"),
]
WATCHDOG_S = 0.05


class FarSide:
    """Emulated drives behind a pty, in a thread; `path` is a link that survives replugging."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "port"
        self.motors = EmulatedMotors([Motor() for _ in DRIVES])
        self.end = DamiaoFarEnd(DRIVES, SlcanLink(), self.motors, [0, 1, 2])
        self.noise = b""
        self._stop = False
        self._master = -1
        self.plug()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """A new port behind the same name."""
        master, slave = pty.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        os.set_blocking(master, False)
        beside = self.path.with_suffix(".new")
        beside.symlink_to(os.ttyname(slave))
        beside.replace(self.path)
        self._slave, self._master = slave, master

    def unplug(self) -> None:
        """The cable out, the drives without power: they come back without torque."""
        master, self._master = self._master, -1
        time.sleep(0.01)
        os.close(self._slave)
        os.close(master)
        self.motors.is_enabled[:] = False

    def _pump(self) -> None:
        last = time.monotonic()
        while not self._stop:
            master = self._master
            if master < 0:
                time.sleep(0.002)
                last = time.monotonic()
                continue
            try:
                select.select([master], [], [], 0.001)
                data = os.read(master, 65536)
            except (BlockingIOError, OSError, ValueError):
                data = b""
            answer = self.end.feed(data) if data else b""
            if answer:
                noise, self.noise = self.noise, b""
                try:
                    os.write(master, noise + answer)
                except OSError:
                    continue
            now = time.monotonic()
            self.motors.step(min(now - last, 0.01))
            last = now

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[FarSide]:
    side = FarSide(tmp_path)
    yield side
    side.close()


def bus_of(far: FarSide) -> SerialBus:
    line = Line(str(far.path), DRIVES, DamiaoBus(DRIVES, SlcanLink()))
    return SerialBus([line], 3, 0.01, WATCHDOG_S)


def command(q: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> SafeCommand:
    out = SafeCommand(3)
    out.block[:, Q], out.block[:, KP], out.block[:, KD] = q, 20, 1
    return out


def cycle(bus: SerialBus, what: SafeCommand, times: int) -> list[Reading]:
    """Some periods of a slow gate."""
    readings = []
    for _ in range(times):
        bus.write(what)
        time.sleep(0.005)
        readings.append(bus.read())
    return readings


@pytest.fixture
def bus(far: FarSide) -> Iterator[SerialBus]:
    one = bus_of(far)
    one.connect()
    yield one
    one.close()


def test_joints_go_where_they_are_told_through_sign_gear_and_offset(far: FarSide, bus: SerialBus) -> None:
    bus.enable()
    cycle(bus, command((0.5, 0.5, 0.5)), 150)
    np.testing.assert_allclose(bus.sample.q, 0.5, atol=0.05)
    np.testing.assert_allclose(far.motors.q, [0.5, -0.5, 0.4], atol=0.1)  # (0.5 - 0.3) * 2 behind the gear
    assert not bus.sample.motor_error.any()


def test_nothing_has_torque_before_it_is_enabled(far: FarSide, bus: SerialBus) -> None:
    readings = cycle(bus, command((1.0, 1.0, 1.0)), 20)
    assert Reading.NEW in readings and not far.motors.is_enabled.any()
    assert np.abs(far.motors.q).max() < 1e-6


def test_each_drive_s_watchdog_is_set_and_it_lets_go_of_a_silent_host(far: FarSide, bus: SerialBus) -> None:
    assert far.motors.watchdog_s.tolist() == pytest.approx([WATCHDOG_S] * 3)
    bus.enable()
    cycle(bus, command(), 5)
    assert far.motors.is_enabled.all()
    time.sleep(4 * WATCHDOG_S)
    assert not far.motors.is_enabled.any()
    cycle(bus, command(), 4)
    assert (bus.sample.motor_error & FAULT_LIMP).all() and not far.motors.is_enabled.any()


def test_a_dead_drive_costs_itself_and_is_told(far: FarSide, bus: SerialBus) -> None:
    bus.enable()
    cycle(bus, command(), 5)
    far.motors.is_dead[1] = True
    cycle(bus, command((0.2, 0.2, 0.2)), MOST_MISSES + 40)
    assert [bool(error & FAULT_LOST) for error in bus.sample.motor_error] == [False, True, False]
    assert bus.sample.motor_lost[1] > MOST_MISSES and bus.sample.q[0] == pytest.approx(0.2, abs=0.05)


def test_damaged_bytes_are_counted_and_cost_a_sample(far: FarSide, bus: SerialBus) -> None:
    cycle(bus, command(), 3)
    for noise in (b"t0118zz", b"\x00\xff\x07", b"t01185000000000000000\r"):
        far.noise = noise
        cycle(bus, command(), 2)
    assert Reading.NEW in cycle(bus, command(), 3)
    assert np.isfinite(bus.sample.q).all()


def test_a_drive_s_own_fault_code_is_passed_on(far: FarSide, bus: SerialBus) -> None:
    bus.enable()
    cycle(bus, command(), 3)
    far.motors.faults[2] = 0xB
    cycle(bus, command(), 3)
    assert damiao.ERRORS[int(bus.sample.motor_error[2] & 0xF)] == "transistors hot"


def test_unplugged_it_says_so_and_replugged_it_has_no_torque(far: FarSide, bus: SerialBus) -> None:
    bus.enable()
    cycle(bus, command(), 3)
    far.unplug()
    cycle(bus, command(), 3)
    assert not bus.link_is_up() and not bus.write(command()) and bus.read() is Reading.NONE
    far.plug()
    end = time.monotonic() + 10
    while not bus.link_is_up() and time.monotonic() < end:
        time.sleep(0.02)
    assert bus.link_is_up()
    before = far.motors.q.copy()
    assert Reading.NEW in cycle(bus, command((1.0, 1.0, 1.0)), 20)
    assert not far.motors.is_enabled.any()
    np.testing.assert_allclose(far.motors.q, before, atol=0.02)
    bus.enable()
    cycle(bus, command(), 3)
    assert far.motors.is_enabled.all()


@pytest.mark.slow
def test_a_port_survives_being_pulled_again_and_again(far: FarSide, bus: SerialBus) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        far.unplug()
        cycle(bus, command(), 2)
        far.plug()
        end = time.monotonic() + 10
        while not bus.link_is_up() and time.monotonic() < end:
            time.sleep(0.02)
        assert Reading.NEW in cycle(bus, command(), 10)
    assert len(os.listdir("/proc/self/fd")) <= open_files


def test_closing_takes_the_torque(far: FarSide) -> None:
    bus = bus_of(far)
    bus.connect()
    bus.enable()
    cycle(bus, command(), 3)
    bus.close()
    time.sleep(0.05)
    assert not far.motors.is_enabled.any()


def test_a_drive_of_another_model_is_refused(far: FarSide) -> None:
    far.end.registers[0][damiao.Register.V_MAX] = 50.0
    with pytest.raises(BridgeError, match=r"hip: V_MAX 50 rad/s in the drive, 30 rad/s for a DM4310"):
        bus_of(far).connect()


def test_a_drive_that_is_not_there_is_refused(far: FarSide) -> None:
    far.motors.is_dead[1] = True
    with pytest.raises(BridgeError, match="knee: no answer"):
        bus_of(far).connect()


def test_a_cycle_that_cannot_fit_is_refused() -> None:
    many = [Drive(i, i + 1, "DM4310") for i in range(12)]
    with pytest.raises(BridgeError, match=r"500 Hz.*12 drives"):
        SerialBus([Line("/dev/null", many, DamiaoBus(many, SlcanLink()))], 12, 0.002)


def test_a_port_that_is_in_use_is_refused(far: FarSide, bus: SerialBus) -> None:
    with pytest.raises(BridgeError, match="nobody else"):
        bus_of(far).connect()


def test_what_is_not_finite_is_not_sent(far: FarSide, bus: SerialBus) -> None:
    bad = command()
    bad.block[1, Q] = np.nan
    assert not bus.write(bad)


def test_drives_without_a_watchdog_are_refused_unless_the_file_says_so() -> None:
    drives = [Drive(0, 1, "DM4310", name="elbow")]
    for accepts in (False, True):
        line = Line("port", drives, DamiaoBus(drives, SlcanLink()), without_watchdog=accepts)
        with nullcontext() if accepts else pytest.raises(BridgeError, match="without a watchdog: elbow"):
            SerialBus._check(line, [Facts()])
