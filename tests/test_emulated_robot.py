"""A whole robot behind emulated serial ports: from a wiring file to joints that move, and back out of it."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import make_language
from firmware_bridge.emulated_robot import EmulatedRobot, JointsOfDrives, PlantMotors
from firmware_bridge.errors import BridgeError
from firmware_bridge.gantry import MOST_S
from firmware_bridge.motor_bus import KD, KP, MotorCommand, Q, Reading, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import Line
from firmware_bridge.serial_robot import make_serial_bus
from firmware_bridge.wiring import read_wiring, wiring_path
from tests.test_wiring import small_wiring

PERIOD_S = 0.01


class Served:
    """An emulated robot in a thread of its own, until it is left."""

    def __init__(self, robot: EmulatedRobot) -> None:
        self.robot = robot
        self._is_over = False
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_over:
            self.robot.serve_until(time.monotonic() + 0.005)
            while not self._jobs.empty():
                job, is_done = self._jobs.get()
                job()
                is_done.set()

    def do(self, job: Callable[[], None]) -> None:
        """Something with the robot, between two steps of it; when it is done."""
        is_done = threading.Event()
        self._jobs.put((job, is_done))
        assert is_done.wait(5)

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self.robot.close()


@pytest.fixture
def wired(tmp_path: Path) -> Path:
    drives = [{"joint": "joint_0", "id": 1, "model": "DM4310", "sign": -1, "offset_rad": 0.2},
              {"joint": "joint_2", "id": 2, "model": "DM4340", "gear": 2.0}]
    return small_wiring(tmp_path, buses=[
        {"port": "ports/a", "protocol": "damiao-slcan", "drives": drives},
        {"port": "ports/b", "protocol": "damiao-adapter", "drives": [{"joint": "joint_1", "id": 1, "model": "DM4310"}]},
    ], imu={"port": "ports/imu", "protocol": "xsens", "mounting_wxyz": [0.5, 0.5, 0.5, 0.5]},
       watchdog_s=0.5)  # a pause of the computer is not what these tests are about


@pytest.fixture
def served(wired: Path) -> Iterator[Served]:
    one = Served(EmulatedRobot(read_wiring(wired)))
    yield one
    one.close()


def cycle(bus: SerialBus, block: np.ndarray, times: int) -> list[Reading]:
    command, readings = SafeCommand(3), []
    command.block[:] = block
    due_ns = time.monotonic_ns()
    for _ in range(times):
        bus.write(command)
        due_ns = max(due_ns, time.monotonic_ns()) + round(PERIOD_S * 1e9)
        bus.pump(due_ns)
        readings.append(bus.read())
    return readings


def targets(q: float, kp: float = 20) -> np.ndarray:
    block = np.zeros((3, 5), np.float32)
    block[:, Q], block[:, KP], block[:, KD] = q, kp, 1
    return block


@pytest.mark.realtime
def test_a_robot_moves_through_a_wiring_file_and_back(wired: Path, served: Served) -> None:
    bus = make_serial_bus(read_wiring(wired), PERIOD_S)
    bus.connect()
    try:
        assert Reading.NEW in cycle(bus, targets(0.4), 20)
        assert not served.robot.motors.is_enabled.any()
        bus.enable()
        cycle(bus, targets(0.4), 150)
        np.testing.assert_allclose(bus.sample.q, 0.4, atol=0.06)
        np.testing.assert_allclose(bus.sample.quat_wxyz, [1, 0, 0, 0], atol=1e-5)  # through the mounting and back
        np.testing.assert_allclose(bus.sample.accel, [0, 0, 9.81], atol=1e-4)
        assert not bus.sample.motor_error.any()
        (first, second) = bus.statistics()
        assert first["drives"][0]["joint"] == "joint_0" and second["bad"] == 0 and second["drives"][0]["missed"] < 20
    finally:
        bus.close()


@pytest.mark.realtime
def test_a_pulled_port_takes_its_own_motors_only_and_comes_back_limp(wired: Path, served: Served) -> None:
    bus = make_serial_bus(read_wiring(wired), PERIOD_S)
    bus.connect()
    try:
        bus.enable()
        cycle(bus, targets(0.0), 20)
        port = served.robot.ports[str(wired.parent / "ports/b")]
        served.do(port.unplug)
        served.robot.motors.is_enabled[2] = False
        cycle(bus, targets(0.1), 30)
        assert not bus.link_is_up() and bus.sample.q[0] == pytest.approx(0.1, abs=0.05)
        assert [bool(error) for error in bus.sample.motor_error] == [False, True, False]
        served.do(port.plug)
        end = time.monotonic() + 10
        while not bus.link_is_up() and time.monotonic() < end:
            cycle(bus, targets(0.1), 5)
        cycle(bus, targets(0.1), 30)
        assert not served.robot.motors.is_enabled[2] and bus.sample.motor_error[1]
    finally:
        bus.close()


def test_links_are_put_and_taken_away(wired: Path) -> None:
    robot = EmulatedRobot(read_wiring(wired))
    links = sorted((wired.parent / "ports").iterdir())
    assert [link.name for link in links] == ["a", "b", "imu"] and all(link.is_symlink() for link in links)
    open_files = len(os.listdir("/proc/self/fd"))
    for port in robot.ports.values():
        port.unplug()
        port.plug()
    assert len(os.listdir("/proc/self/fd")) == open_files
    robot.close()
    assert list((wired.parent / "ports").iterdir()) == []


def test_a_file_in_a_port_s_place_is_left_alone(wired: Path) -> None:
    (wired.parent / "ports").mkdir()
    (wired.parent / "ports" / "b").write_text("precious")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BridgeError, match="no link"):
        EmulatedRobot(read_wiring(wired))
    assert (wired.parent / "ports" / "b").read_text() == "precious" and len(os.listdir("/proc/self/fd")) == before


def test_what_a_line_tells_drives_reaches_the_joints_unchanged() -> None:
    drives = [Drive(2, 1, "DM4310", -1, 3.0, 0.3), Drive(0, 2, "DM4310", 1, 0.5, -0.1), Drive(1, 3, "DM4310")]
    line = Line("x", drives, make_language("damiao-slcan", drives))
    block = np.arange(15, dtype=np.float32).reshape(3, 5)
    np.testing.assert_allclose(JointsOfDrives(drives).to_joints(line.to_drive(block)), block[[2, 0, 1]], rtol=1e-6)


def test_a_plant_hangs_until_its_drives_are_enabled_and_then_obeys_them() -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import SimulatedRobot

    wiring = read_wiring(wiring_path("g1_serial_demo"))
    drives = [drive for bus in wiring.buses for drive in bus.drives]
    motors = PlantMotors(drives, SimulatedRobot(table=wiring.table), np.array(wiring.table.effort_n_m))
    joints = JointsOfDrives(drives)
    elbow = [drive.name for drive in drives].index("left_elbow_joint")
    goal = np.zeros((29, 5))
    goal[:, KP], goal[:, KD] = 40, 1
    goal[elbow, Q] = 0.7
    line = Line("x", drives, make_language("damiao-slcan", drives))
    block = np.zeros((29, 5), np.float32)
    block[joints.slots] = goal
    for _ in range(10):
        motors.command(np.arange(29), line.to_drive(block))
        motors.step(0.002)
    assert np.abs(motors.tau).max() < 1e-6  # not enabled
    motors.is_enabled[:] = True
    for _ in range(400):
        motors.command(np.arange(29), line.to_drive(block))
        motors.step(0.002)
    assert motors.robot.sample.q[drives[elbow].motor] == pytest.approx(0.7, abs=0.1)
    motors.watchdog_s[:] = 0.05
    for _ in range(30):
        motors.step(0.002)  # nobody commands
    assert not motors.is_enabled.any() and np.abs(motors.tau).max() < 1e-6


def test_a_held_gantry_waits_until_it_is_told() -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import SimulatedRobot

    table = read_wiring(wiring_path("g1_serial_demo")).table
    robot, stiff = SimulatedRobot(table=table), MotorCommand(29)
    robot.gantry.waits = True
    stiff.block[:, KP], stiff.block[:, KD] = 40, 1
    for _ in range(round((MOST_S + 0.5) / 0.002)):
        robot.command(stiff)
        robot.step()
    height_m = float(robot.base_position[2])
    assert robot.base_orientation.tolist() == [1, 0, 0, 0]
    robot.gantry.let_go()
    for _ in range(200):
        robot.command(stiff)
        robot.step()
    assert float(robot.base_position[2]) < height_m - 0.002


def test_the_shipped_wiring_fits_500_hz_and_its_robot() -> None:
    wiring = read_wiring(wiring_path("g1_serial_demo"))
    assert wiring.motors == 29 and len(wiring.buses) == 4
    make_serial_bus(wiring, 0.002)
    home = str(Path.home())
    assert all(bus.port.startswith(home) for bus in wiring.buses)  # a user's own: two do not take each other's


@pytest.mark.realtime
def test_letting_go_reaches_every_drive_that_answers_and_names_the_others(wired: Path, served: Served) -> None:
    bus = make_serial_bus(read_wiring(wired), PERIOD_S)
    bus.connect()
    bus.enable()
    cycle(bus, targets(0.3), 60)
    motors = served.robot.motors
    assert motors.is_enabled.all()
    motors.watchdog_s[:] = 0  # a host that died, and drives that go on by themselves
    for line in bus.lines:
        assert line.port is not None
        line.port.close()
    motors.is_dead[1] = True
    other = make_serial_bus(read_wiring(wired), PERIOD_S)
    try:
        doubts = other.let_go()
        assert doubts == ["joint_2: says nothing"] and not motors.is_enabled[[0, 2]].any()
    finally:
        other.close()
        bus.close()
