"""A routine on simulated time: the gate's own code between the routine and a simulated robot with a hidden truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calibration.assistant import Assistant
from calibration.bench import recording_dtype
from calibration.conductor import RATE_HZ, Conductor
from calibration.raw import TOPIC
from calibration.routine import Routine
from firmware_bridge.ailments import Ailments
from firmware_bridge.motor_bus import MotorCommand, Reading
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.errors import Refused
from runtime.faults import Mode, Request, flag_names
from runtime.gate import Gate
from runtime.gate_log import GateLog
from runtime.log_file import LogWriter
from runtime.pilot import Phase
from runtime.robot import Robot

PERIOD_NS = round(1e9 / RATE_HZ)
ARM_AFTER_TICKS, ARM_WITHIN_TICKS = 50, 5000
"""Limp limbs may swing for a while before the robot is armed."""


class CalibrationRun:
    """One routine, its gate and its simulated robot.

    Args:
        routine: prepared for `robot`.
        robot: within the routine's envelope.
        simulated: hangs, with its truth.
        raw: where the recording goes, or None.
        is_held: the dead-man.

    Attributes:
        conductor, gate: to look at.
        ailments: what happens to states on their way.
        command: the gate's newest, None while nothing is armed.
    """

    def __init__(
        self, routine: Routine, robot: Robot, simulated: SimulatedRobot, raw: Path | None = None,
        about: dict[str, Any] | None = None, is_held: Callable[[], bool] = lambda: True,
        finished: Iterable[str] = (),
    ) -> None:
        self.conductor = Conductor(routine, robot, is_held, finished)
        self.gate = Gate(robot, 1 / RATE_HZ, policy_hz=RATE_HZ)
        self.robot, self._simulated = robot, simulated
        self.ailments: Ailments | None = None
        self.command: MotorCommand | None = None
        self.now_ns, self.ticks = 1_000_000_000, 0
        self._silent_until_ns = 0
        self.assistant = Assistant(simulated, 1 / RATE_HZ)
        self._gate_log = GateLog(self.gate, robot.motors)
        self._log: LogWriter | None = None
        self._damped = 0
        if raw is not None:
            self._log = LogWriter(raw, about or {})
            self._log.add_channel("gate", self._gate_log.dtype)
            self._log.add_channel(TOPIC, recording_dtype(robot.motors))
            self.conductor.bench.sink = partial(self._log.write, TOPIC)

    def tick(self) -> None:
        """One gate period."""
        sample = self._simulated.step()
        self._simulated.sense_accelerometer()
        self.now_ns += PERIOD_NS
        self.ticks += 1
        reading = Reading.NEW
        if self.ailments is not None:
            reading, sample = self.ailments.carry(reading, sample)
        conductor, target = self.conductor, self.conductor.target
        command = self.gate.tick(reading, sample, target["block"][0], int(target["sequence"][0]),
                                 int(target["made_ns"][0]), self._request(), int(target["flags"][0]), self.now_ns)
        self.command = command
        conductor.bench.is_silent = self._is_silent()
        if command is not None and not conductor.bench.is_silent:
            self._simulated.command(command)
        if self._log is not None:
            self._gate_log.fill(self.now_ns, command, command is not None, int(target["state_ns"][0]), 0, 0,
                                sample.temperature_c)
            self._log.write("gate", self._gate_log.record.tobytes())
        conductor.bench.temperature_c[:] = sample.temperature_c
        steps = len(conductor.bench.finished)
        machine = self.gate.machine
        conductor.tick(machine.mode, self.gate.state, self.now_ns, machine.cause)
        if self._log is not None and len(conductor.bench.finished) > steps:
            self._log.flush()  # a finished step outlives a kill
        if self.assistant.look(conductor.bench.question):
            conductor.bench.question, conductor.bench.answer = None, self.assistant.answer

    def _is_silent(self) -> bool:
        """Whether nothing is written, as a routine wanted it; damping ends that."""
        bench = self.conductor.bench
        if bench.silence_s > 0:
            self._silent_until_ns, bench.silence_s = self.now_ns + round(bench.silence_s * 1e9), 0.0
        return self.now_ns < self._silent_until_ns and self.gate.machine.mode < Mode.DAMP

    def _request(self) -> Request:
        mode, phase = self.gate.machine.mode, self.conductor.phase
        if mode is Mode.DISARMED and self.ticks >= ARM_AFTER_TICKS and not self.gate.flags:
            return Request.ARM
        if mode is Mode.DISARMED and self.ticks > ARM_WITHIN_TICKS:
            raise Refused("arming", expected="a healthy robot state", found=", ".join(flag_names(self.gate.flags)),
                          what_to_do="see docs/safety.md for what each flag means")
        if mode is Mode.READY and phase is Phase.READY:
            return Request.TRACK
        if phase is Phase.FINISHED and mode < Mode.DAMP:
            return Request.DAMP
        return Request.NONE

    def run(self, longest_s: float = 7200.0, look: Callable[[], None] = lambda: None) -> None:
        """Until the routine has ended, or was stopped, and the robot is damped; `look` is called at every tick."""
        damp_ticks = self.robot.limits.damp_min_s * RATE_HZ
        try:
            with np.errstate(all="ignore"):
                while self._damped <= damp_ticks and self.ticks < longest_s * RATE_HZ:
                    self.tick()
                    look()
                    self._damped += self.gate.machine.mode >= Mode.DAMP
        finally:
            if self._log is not None:
                self._log.close()
