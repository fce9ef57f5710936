"""The gate's tick: review, decide, enforce. No I/O, no clock, no model; small enough to read in one go."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample, Reading, SafeCommand
from runtime.enforce import LIMITED_RAD, Enforcer
from runtime.faults import BIT, Machine, Mode, Request, step
from runtime.review import Review
from runtime.robot import Robot
from runtime.state import Calibration, RobotState

F32 = npt.NDArray[np.float32]
_TORQUE_HIGH, _TARGET_FAR = BIT["TORQUE_HIGH"], BIT["TARGET_FAR"]


class Gate:
    """The part with the last word.

    Args:
        robot: table and limits.
        period_s: time between ticks.
        policy_hz: how often targets are made; a slower policy than 50 Hz may be late in proportion.
        calibration: applied to states coming in and targets going out.
        checks_tick, needs_remote, real_time: see `Review`.

    Attributes:
        state: the newest accepted robot state.
        machine: mode and cause.
        flags: of the last tick.
        seen_flags: of the whole run.
    """

    def __init__(
        self,
        robot: Robot,
        period_s: float,
        *,
        policy_hz: float = 50.0,
        calibration: Calibration | None = None,
        checks_tick: bool = True,
        needs_remote: bool = False,
        real_time: bool = False,
    ) -> None:
        self.state = RobotState(robot.motors)
        self.machine = Machine()
        self.flags = self.seen_flags = 0
        self.target_sequence = 0
        calibration = calibration or Calibration(robot.motors)
        self.review = Review(robot, self.state, calibration, policy_hz=policy_hz, checks_tick=checks_tick,
                             needs_remote=needs_remote, real_time=real_time)
        self._enforcer = Enforcer(robot, period_s)
        self.review.targets = self._enforcer.command.block
        self._command_offset = calibration.command_offset_rad
        self._target = np.zeros((robot.motors, 5), np.float32)
        self._armed_target_ns = 0
        self._has_target = False
        self._caps_springs, self._used = math.isfinite(robot.limits.spring_ratio), robot.used

    def tick(
        self,
        reading: Reading,
        sample: MotorSample,
        target: F32,
        target_sequence: int,
        target_ns: int,
        request: Request,
        events: int,
        now_ns: int,
    ) -> SafeCommand | None:
        """One tick.

        Args:
            reading, sample: what the bus brought.
            target: (motors, 5) float32, the policy's newest target; `target_sequence` tells new from old, 0 none yet;
                made at `target_ns`.
            request: of the operator.
            events: flags raised outside (stop signal, second writer, policy fault).
            now_ns: monotonic.

        Returns:
            The command to write, or None while disarmed.
        """
        review = self.review
        review.tracks = Mode.TRACK <= self.machine.mode < Mode.DAMP
        flags = events | review.look_at_time(now_ns) | review.look_at_state(reading, sample, now_ns)
        fresh = target_sequence != self.target_sequence
        if self.machine.mode is Mode.DISARMED:
            self.target_sequence = target_sequence
        elif Mode.READY <= self.machine.mode < Mode.DAMP:
            flags |= self._look_at_target(target, fresh, target_sequence, target_ns, now_ns)
        before = self.machine.mode
        self.machine = step(self.machine, flags, request, now_ns)
        mode = self.machine.mode
        if before is Mode.DISARMED and mode is Mode.READY:
            self._arm(now_ns)
        self.flags = flags
        self.seen_flags |= flags
        return self._enforce(mode, fresh, now_ns)

    def _arm(self, now_ns: int) -> None:
        self._enforcer.start_from(self.state.q)
        self._armed_target_ns = now_ns
        self._has_target = False

    def _look_at_target(self, target: F32, fresh: bool, sequence: int, target_ns: int, now_ns: int) -> int:
        flags = 0
        if fresh:
            self.target_sequence = sequence
            if self.review.target_is_finite(target):
                self.review.good_target()
                self._target[:] = target
                self._target[:, 0] += self._command_offset
                self._has_target = True
            else:
                flags = self.review.bad_target()
        # Until the policy has seen that it is armed, its grace runs from the moment of arming.
        made_ns = max(target_ns if self._has_target else 0, self._armed_target_ns)
        return flags | self.review.look_at_target(made_ns, now_ns)

    def _enforce(self, mode: Mode, fresh: bool, now_ns: int) -> SafeCommand | None:
        if mode is Mode.DISARMED:
            return None
        if mode is Mode.DAMP:
            return self._enforcer.damp()
        if mode is Mode.ZERO:
            return self._enforcer.off()
        if not self._has_target:
            return self._enforcer.damp()
        if self._caps_springs:
            self._enforcer.hold_back(self._used, self.state.q, self._target)
        elif self.flags & _TORQUE_HIGH:
            self._enforcer.hold_back(self.review.motors.too_strong, self.state.q, self._target)
        if self._enforcer.has_arrived and not fresh:
            return self._enforcer.repeat()
        command = self._enforcer.follow(self._target, mode, doubts=bool(self.flags & _TARGET_FAR))
        if self._enforcer.limited_rad > LIMITED_RAD:
            self.flags |= self.review.limited_target(self._enforcer.limited_rad, now_ns)
            self.seen_flags |= self.flags
        else:
            self.review.free_target()
        return command

    def damp_now(self) -> SafeCommand:
        """Damping whatever the state of everything else: the way out of an exception."""
        return self._enforcer.damp()
