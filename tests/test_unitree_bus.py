"""What a Unitree bus fills into a sample from topics of their own: battery and torso IMU."""

from __future__ import annotations

import time

import numpy as np
import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import GO_LOW_STATE, HG_BMS_STATE, HG_IMU_STATE, Buffer, Layout
from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.sim_command import CHARGE_PERCENT, DdsRobot
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.unitree_bus import (
    BATTERY_READS,
    BATTERY_SILENT_NS,
    PROFILES,
    STATE_TOPIC,
    TORSO_READS,
    TORSO_SILENT_NS,
    SlowTopics,
    UnitreeBus,
)

HG_DOMAIN, GO_DOMAIN = 74, 75
PATIENCE_S = 15.0
SECOND = 1_000_000_000


class FakeReader:
    """A topic: `send` puts a sample into it."""

    def __init__(self, layout: Layout) -> None:
        self.buffer: Buffer = layout.empty()
        self._has_come = False
        self._layout = layout

    def send(self, path: str, value: object) -> None:
        self._layout.view(self.buffer, path)[:] = value
        self._has_come = True

    def take(self) -> bool:
        came, self._has_come = self._has_come, False
        return came


def test_battery_and_torso_are_unknown_before_and_after_they_are_heard() -> None:
    sample, torso, battery = MotorSample.zeros(29), FakeReader(HG_IMU_STATE), FakeReader(HG_BMS_STATE)
    slow = SlowTopics(sample, torso, battery, None)  # type: ignore[arg-type]
    slow.look(BATTERY_READS, 0)
    assert np.isnan(sample.battery_percent).all() and np.isnan(sample.torso_quat_wxyz).all()
    torso.send("quaternion", (0.5, 0.5, 0.5, -0.5))
    battery.send("soc", 37)
    slow.look(TORSO_READS, SECOND)
    assert sample.torso_quat_wxyz.tolist() == [0.5, 0.5, 0.5, -0.5]
    assert np.isnan(sample.battery_percent).all(), "the battery is looked at more rarely"
    slow.look(BATTERY_READS, SECOND)
    assert sample.battery_percent[0] == 37
    slow.look(BATTERY_READS, SECOND + TORSO_SILENT_NS)
    assert np.isfinite(sample.torso_quat_wxyz).all()
    slow.look(BATTERY_READS, SECOND + TORSO_SILENT_NS + 1)
    assert np.isnan(sample.torso_quat_wxyz).all() and sample.battery_percent[0] == 37
    slow.look(BATTERY_READS, SECOND + BATTERY_SILENT_NS + 1)
    assert np.isnan(sample.battery_percent).all()
    battery.send("soc", 36)
    slow.look(BATTERY_READS, 20 * SECOND)
    assert sample.battery_percent[0] == 36


def test_a_battery_without_a_topic_of_its_own_is_read_from_the_state() -> None:
    sample, buffer = MotorSample.zeros(20), GO_LOW_STATE.empty()
    slow = SlowTopics(sample, None, None, GO_LOW_STATE.view(buffer, "bms_state.soc"))
    GO_LOW_STATE.view(buffer, "bms_state.soc")[0] = 55
    slow.look(BATTERY_READS, 0)
    assert sample.battery_percent[0] == 55 and np.isnan(sample.torso_quat_wxyz).all()


def read_until_known(bus: UnitreeBus, robot: DdsRobot) -> None:
    """Let the robot publish and the bus read until the battery is known."""
    end = time.monotonic() + PATIENCE_S
    while np.isnan(bus.sample.battery_percent[0]):
        assert time.monotonic() < end, "no battery"
        robot.tick()
        bus.read()


def test_the_simulated_robot_tells_battery_torso_and_the_remote_s_head() -> None:
    robot = DdsRobot(SimulatedRobot(), DdsSettings(HG_DOMAIN))
    bus = UnitreeBus(DdsSettings(HG_DOMAIN), "unitree_hg", 29)
    try:
        read_until_known(bus, robot)
        assert bus.sample.battery_percent[0] == CHARGE_PERCENT
        np.testing.assert_allclose(np.linalg.norm(bus.sample.torso_quat_wxyz), 1, atol=1e-5)
        assert bus.sample.remote[:2].tolist() == [0x55, 0x51]
    finally:
        bus.close()
        robot.close()


def test_the_simulated_imu_never_repeats_itself_though_the_robot_hangs_still() -> None:
    robot = DdsRobot(SimulatedRobot(), DdsSettings(HG_DOMAIN))
    bus = UnitreeBus(DdsSettings(HG_DOMAIN), "unitree_hg", 29)
    try:
        read_until_known(bus, robot)
        seen = []
        while len(seen) < 50:
            robot.tick()
            if bus.wait(1.0) and bus.read() is Reading.NEW:
                seen.append(bus.sample.imu.tobytes())
        assert len(set(seen)) == len(seen)
        assert float(np.abs(bus.sample.gyro).max()) < 0.001
    finally:
        bus.close()
        robot.close()


@pytest.mark.parametrize(("profile", "charge"), [("unitree", 55.0), ("unitree-mujoco", float("nan"))])
def test_a_go_robot_s_charge_counts_unless_it_is_an_unchecked_simulator(profile: str, charge: float) -> None:
    """A simulator that leaves the battery zero must not look like a robot about to die."""
    bus = UnitreeBus(DdsSettings(GO_DOMAIN), "unitree_go", 20, PROFILES[profile])
    with Participant(DdsSettings(GO_DOMAIN), "go robot") as robot:
        writer = robot.writer(STATE_TOPIC, GO_LOW_STATE)
        GO_LOW_STATE.view(writer.buffer, "bms_state.soc")[0] = 55
        GO_LOW_STATE.seal(writer.buffer).write()
        states, end = 0, time.monotonic() + PATIENCE_S
        while states < BATTERY_READS:
            assert time.monotonic() < end, "no states"
            writer.write()
            states += bus.wait(0.1) and bus.read() is Reading.NEW
    np.testing.assert_equal(float(bus.sample.battery_percent[0]), charge)
    bus.close()
