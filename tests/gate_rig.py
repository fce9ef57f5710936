"""A gate on fake time between a healthy robot and a healthy policy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from firmware_bridge.motor_bus import KD, KP, MotorSample, Q, Reading, SafeCommand
from runtime.fault_table import FLAGS as TABLE
from runtime.faults import BIT, PLACE, Mode, Request
from runtime.gate import Gate
from runtime.robot import Robot, load_robot
from runtime.state import Calibration

MS = 1_000_000
PERIOD = 2 * MS
G1 = load_robot("g1_29dof")
G1_23 = load_robot("g1_23dof")
FLOATS = ("q", "dq", "tau", "quat_wxyz", "gyro", "accel")


class Rig:
    """A gate on fake time between a healthy robot and a healthy policy; tests make them ill."""

    def __init__(self, robot: Robot = G1, *, calibration: Calibration | None = None, checks_tick: bool = True) -> None:
        self.robot = robot
        self.gate = Gate(robot, PERIOD * 1e-9, calibration=calibration, checks_tick=checks_tick, real_time=True)
        self.sample = MotorSample.zeros(robot.motors)
        self.sample.mode_machine[0] = robot.mode_machine[0]
        self.pose = np.zeros(robot.motors, np.float32)
        for joint in robot.joints:
            self.pose[joint.motor] = 0.5 * (joint.lower_rad + joint.upper_rad)
        self.sample.q[:] = self.pose
        self.target = np.zeros((robot.motors, 5), np.float32)
        self.target[:, Q] = self.pose
        self.target[:, KP], self.target[:, KD] = 50, 2
        self.target[~robot.used] = 0
        self.now, self.count, self.sequence, self.made = 10**9, 100, 0, 0
        self.sends, self.counts, self.thinks, self.trembles = True, True, True, True
        self.events, self.tremor = 0, 0.0
        self.command: SafeCommand | None = None

    def tick(self, request: Request = Request.NONE, *, reading: Reading | None = None) -> Mode:
        """One gate period."""
        self.now += PERIOD
        if self.counts:
            self.count += 2
        self.sample.tick[0] = self.count % (1 << 32)
        if self.trembles:  # a living sensor never repeats itself to the bit
            tremor = 1e-3 * (self.now // PERIOD % 7)
            self.sample.accel[0] = tremor
            self.sample.tau[:] += tremor - self.tremor
            self.tremor = tremor
        if self.thinks:
            self.sequence, self.made = self.sequence + 1, self.now
        if reading is None:
            reading = Reading.NEW if self.sends else Reading.NONE
        with np.errstate(all="ignore"):  # as in the gate's process: a non-finite number is judged, not warned of
            self.command = self.gate.tick(
                reading, self.sample, self.target, self.sequence, self.made, request, self.events, self.now
            )
        return self.gate.machine.mode

    def ticks(self, count: int) -> Mode:
        for _ in range(count):
            self.tick()
        return self.gate.machine.mode

    def skip(self, ticks: int) -> None:
        """Time in which nobody called the gate."""
        self.now += ticks * PERIOD

    def track(self) -> Rig:
        """Armed and tracking."""
        self.tick()
        assert self.tick(Request.ARM) is Mode.READY
        assert self.tick(Request.TRACK) is Mode.TRACK
        self.ticks(3)
        assert self.gate.flags == 0
        return self

    def has(self, flag: str) -> bool:
        return bool(self.gate.flags & BIT[flag])

    def measured(self, flag: str) -> float:
        return float(self.gate.review.findings.measured[PLACE[flag]])

    @property
    def cause(self) -> str:
        return TABLE[self.gate.machine.cause].flag


def with_limits(**limits: float) -> Robot:
    return replace(G1, limits=replace(G1.limits, **limits))  # type: ignore[arg-type]


def tilted(angle: float, axis: int = 1) -> list[float]:
    quat = [math.cos(angle / 2), 0.0, 0.0, 0.0]
    quat[axis] = math.sin(angle / 2)
    return quat


def press(sample: MotorSample, mask: int) -> None:
    sample.remote[2], sample.remote[3] = mask & 0xFF, mask >> 8
