"""Watching a serial robot, and serving it on DDS: who may give torque, and what happens when commands end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

from firmware_bridge import bridge_monitor
from firmware_bridge.bridge_run import STALE_S, Relay
from firmware_bridge.emulated_robot import EmulatedRobot
from firmware_bridge.motor_bus import KD, KP, MotorCommand, MotorSample, Q
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.wiring import read_wiring
from tests.test_emulated_robot import Served, wired

__all__ = ["wired"]

MS = 1_000_000


class Noted:
    """A bus that notes what it is told."""

    def __init__(self) -> None:
        self.sample = MotorSample.zeros(2)
        self.sample.q[:] = 0.3
        self.told: list[str] = []
        self.block = np.zeros((2, 5), np.float32)

    def watch(self) -> None:
        self.told.append("watch")

    def enable(self) -> None:
        self.told.append("enable")

    def relay(self, command: MotorCommand) -> bool:
        self.told.append("relay")
        self.block = command.block.copy()
        return True


@pytest.fixture
def bus() -> Noted:
    return Noted()


@pytest.fixture
def relay(bus: Noted) -> Relay:
    return Relay(cast(SerialBus, bus), np.array([2.0, 3.0]))


def stiff() -> MotorCommand:
    command = MotorCommand(2)
    command.block[:, KP], command.block[:, Q] = 40, 1
    return command


def test_commands_reach_nobody_before_the_operator_s_word(bus: Noted, relay: Relay) -> None:
    for tick in range(5):
        relay.tick(stiff(), tick * 2 * MS)
    assert bus.told == ["watch"] * 5


def test_torque_waits_for_the_first_command_after_the_word(bus: Noted, relay: Relay) -> None:
    relay.tick(stiff(), 2 * MS)
    relay.arm()
    relay.tick(None, 4 * MS)
    assert bus.told == ["watch", "watch"]
    relay.tick(stiff(), 6 * MS)
    relay.tick(None, 8 * MS)
    assert bus.told[2:] == ["enable", "relay", "relay"] and bus.block[0, KP] == 40


def test_when_commands_end_the_joints_damp_until_the_next_word(bus: Noted, relay: Relay) -> None:
    relay.arm()
    relay.tick(stiff(), MS)
    relay.tick(None, MS + round(STALE_S * 1e9))
    assert not relay.is_stale and bus.block[0, KP] == 40
    relay.tick(None, MS + round(STALE_S * 1e9) + 1)
    assert relay.is_stale
    relay.tick(stiff(), 2 * round(STALE_S * 1e9))  # too late
    np.testing.assert_array_equal(bus.block[:, KP], 0)
    np.testing.assert_allclose(bus.block[:, KD], [2, 3])
    np.testing.assert_allclose(bus.block[:, Q], 0.3)
    relay.arm()
    relay.tick(stiff(), 3 * round(STALE_S * 1e9))
    assert bus.block[0, KP] == 40


@pytest.mark.realtime
def test_a_monitor_tells_who_answers_and_gives_no_torque(
    wired: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = Served(EmulatedRobot(read_wiring(wired)))
    try:
        arguments = argparse.Namespace(robot=str(wired), seconds=0.5, hz=100.0, json=True)
        assert bridge_monitor.run(arguments) == 0
        found = json.loads(capsys.readouterr().out)
        drives = [drive for port in found["ports"] for drive in port["drives"]]
        assert found["is_healthy"] and [drive["joint"] for drive in drives] == ["joint_0", "joint_2", "joint_1"]
        assert all(drive["hz"] > 10 for drive in drives) and found["imu"]["quat_wxyz"][0] == pytest.approx(1, abs=1e-3)
        assert not served.robot.was_driven.any()
        served.robot.motors.faults[1] = 0xB
        assert bridge_monitor.run(argparse.Namespace(robot=str(wired), seconds=1.0, hz=100.0, json=False)) == 1
        assert "joint_2" in capsys.readouterr().out
    finally:
        served.close()
