"""A robot on serial ports before a run: its drives are connected and asked for a second, and none gets torque."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import Reading
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.wiring import read_wiring, wiring_path
from runtime.gate_bus import open_serial_bus, refuse_clipped_gains
from runtime.manifest import Manifest
from runtime.preflight import Check, refused_line
from runtime.preflight_pose import check_imu, check_motors, check_pose
from runtime.preflight_robot import LOST_RATIO, WATCH_S, Watch
from runtime.realtime import hurried
from runtime.settings import GATE_HZ, RunSettings

PRIORITY = 70
FIRST_STATE_S, SETTLE_S = 2.0, 0.2


def list_serial_robot(settings: RunSettings, manifest: Manifest) -> Iterator[Check]:
    """The robot of a wiring file."""
    robot = manifest.robot
    try:
        bus = open_serial_bus(settings, robot)
    except BridgeError as error:
        yield refused_line(error)
        return
    found = f"{len(bus.lines)} ports, {sum(len(line.drives) for line in bus.lines)} drives"
    yield Check("ports and drives", True, found, "as the wiring file says", "")
    try:
        yield _check_gains(settings, manifest)
        watch = watch_ports(bus)
        yield Check("robot state", watch.received > 0, f"{watch.received} states in {WATCH_S:.0f} s", "some",
                    "check the supply of the drives, and the IMU")
        if not watch.received:
            return
        yield from _check_ports(bus)
        yield from check_imu(watch, robot)
        yield from check_pose(watch.sample, manifest)
        yield from check_motors(watch, robot, unchecked=False)
    finally:
        bus.close()


def _check_gains(settings: RunSettings, manifest: Manifest) -> Check:
    robot = manifest.robot
    gains = np.zeros((2, robot.motors), np.float32)
    gains[:, robot.motor_index(manifest.order)] = manifest.kp, manifest.kd
    try:
        refuse_clipped_gains(read_wiring(wiring_path(settings.wiring or "")), robot, gains[0], gains[1])
    except BridgeError as error:
        return refused_line(error)
    return Check("gains", True, "all within what the drives take", "the controller's and the robot's damping", "")


def watch_ports(bus: SerialBus) -> Watch:
    """Ask every drive for a second, at the gate's rate."""
    watch = Watch(bus.sample)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(hurried(PRIORITY))
        end = time.monotonic() + FIRST_STATE_S
        while _cycle(bus) is not Reading.NEW and time.monotonic() < end:
            pass
        _cycles(bus, SETTLE_S)
        before = [drive["missed"] for drive in _drives(bus)]
        sums, received, moving = np.zeros(6), 0, 0.0
        for _ in range(round(WATCH_S * GATE_HZ)):
            if _cycle(bus) is Reading.NEW:
                received += 1
                sums += bus.sample.imu[4:]
                moving = max(moving, float(np.abs(bus.sample.dq).max()))
        missed = sum(drive["missed"] for drive in _drives(bus)) - sum(before)
    watch.received, watch.windows, watch.moving_rad_s = received, 1, moving
    watch.lost_ratio = missed / (WATCH_S * GATE_HZ * len(before))
    if received:
        watch.gyro, watch.accel = sums[:3] / received, sums[3:] / received
    return watch


def _cycles(bus: SerialBus, seconds: float) -> None:
    for _ in range(round(seconds * GATE_HZ)):
        _cycle(bus)


def _cycle(bus: SerialBus) -> Reading:
    due_ns = time.monotonic_ns() + 1_000_000_000 // GATE_HZ
    bus.watch()
    bus.pump(due_ns)
    time.sleep(max(due_ns - time.monotonic_ns(), 0) * 1e-9)
    return bus.read()


def _drives(bus: SerialBus) -> list[dict[str, Any]]:
    return [drive for port in bus.statistics() for drive in port["drives"]]


def _check_ports(bus: SerialBus) -> Iterator[Check]:
    """Of each port, who answers how well; nobody may have torque yet."""
    for port in bus.statistics():
        asked = [drive["answers"] + drive["missed"] for drive in port["drives"]]
        lost = [drive["missed"] / max(all_, 1) for drive, all_ in zip(port["drives"], asked, strict=True)]
        worst = int(np.argmax(lost))
        found = f"{100 * lost[worst]:.1f} % of {port['drives'][worst]['joint']}, {port['bad']} damaged pieces"
        yield Check(f"answers on {port['port']}", lost[worst] <= LOST_RATIO, found, f"<= {100 * LOST_RATIO:.0f} %",
                    "look at cables, baud rate, FTDI latency (docs/serial.md) and this computer's load", False)
    driving = [drive["joint"] for drive in _drives(bus) if drive["is_driving"]]
    yield Check("torque", not driving, ", ".join(driving) or "none", "none", "`exoactor damp` takes it")
