"""The last word: from a policy's target to the only thing a bus writes.

Position: within the joint's range (and `target_margin_rad`, 0 unless a robot's file loosens it). Trackers do ask for
more (an ankle target 0.9 rad past its stop is ordinary, a quarter of all ticks), but four recorded walks are followed
equally well with the clamp as without it. Rate: from one written target to the next, so the first starts at the
measured pose. Gains, velocity and torque: from the robot's table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q, SafeCommand
from runtime.faults import Mode
from runtime.robot import Robot

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
LIMITED_RAD = 1e-4
"""Corrections below this are rounding, not a limit at work."""


class Enforcer:
    """Makes `SafeCommand`s for one robot.

    Args:
        robot: its limits.
        period_s: time between two writes.

    Attributes:
        command: the one command object, rewritten at each call.
        limited_rad: largest position correction of the last call, rad.
        has_arrived: the command is the last target itself, which no limit holds back: the same target would give the
            same command.
    """

    def __init__(self, robot: Robot, period_s: float) -> None:
        n = robot.motors
        self.command = SafeCommand(n)
        self.limited_rad = 0.0
        self.has_arrived = False
        used = robot.used.astype(np.float32)
        margin = np.float32(robot.limits.target_margin_rad) * used
        self._range_lower = robot.column("lower_rad") - margin
        self._range_upper = robot.column("upper_rad") + margin
        effort, velocity = robot.column("effort_n_m"), robot.column("velocity_rad_s")
        self._lower = np.zeros((n, 5), np.float32)
        self._upper = np.zeros((n, 5), np.float32)
        for column, limit in ((DQ, velocity), (TAU, effort)):
            self._lower[:, column], self._upper[:, column] = -limit, limit
        self._upper[:, KP], self._upper[:, KD] = robot.kp_max * used, robot.kd_max * used
        ratio = robot.limits.spring_ratio
        self._effort = effort * np.float32(ratio if np.isfinite(ratio) else 1)
        self._step = velocity * np.float32(robot.limits.target_rate_ratio * period_s)
        self._ready_step = np.full(n, READY_RATE_RAD_S * period_s, np.float32)
        self._damping = robot.column("damping_kd")
        self._far_rad = robot.limits.target_far_rad
        self._last_q, self._believed = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._low, self._high, self._q, self._change = (np.zeros(n, np.float32) for _ in range(4))

    def start_from(self, q: F32) -> None:
        """The next target is rate-limited from this measured pose, (motors,) rad."""
        np.clip(q, self._range_lower, self._range_upper, out=self._last_q)
        self._believed[:] = self._last_q
        self.has_arrived = False

    def hold_back(self, joints: Mask, q: F32, target: F32) -> None:
        """Bring the position targets of some joints so near to where they stand that their effort is not exceeded.

        Args:
            joints: (motors,) which.
            q: (motors,) where they stand, rad.
            target: (motors, 5), changed in place.
        """
        reach = np.divide(self._effort, target[:, KP], out=np.zeros_like(self._effort), where=target[:, KP] > 0)
        held = np.maximum(np.minimum(target[:, Q], q + reach), q - reach)
        np.copyto(target[:, Q], held, where=joints & (target[:, KP] > 0))
        self.has_arrived = False

    def follow(self, target: F32, mode: Mode, *, doubts: bool = False) -> SafeCommand:
        """A finite target block (motors, 5) within every limit.

        Args:
            doubts: targets have been far outside for long. A joint whose target lies `target_far_rad` beyond its range
                then goes back, slowly, to what was written before any was: an arm that is pressed against its stop for
                as long as a broken policy asks for it may throw a robot over that is to stand.
        """
        block, q = self.command.block, self._q
        np.maximum(target, self._lower, out=block)
        np.minimum(block, self._upper, out=block)
        step = self._ready_step if mode is Mode.READY else self._step
        np.subtract(self._last_q, step, out=self._low)
        np.maximum(self._low, self._range_lower, out=self._low)
        np.add(self._last_q, step, out=self._high)
        np.minimum(self._high, self._range_upper, out=self._high)
        np.maximum(target[:, Q], self._low, out=q)
        np.minimum(q, self._high, out=q)
        np.subtract(q, target[:, Q], out=self._change)
        np.abs(self._change, out=self._change)
        self.limited_rad = float(self._change.max())
        self.has_arrived = self.limited_rad == 0
        if doubts:
            self._disbelieve(target[:, Q])
        elif self.limited_rad <= self._far_rad:
            self._believed[:] = q
        block[:, Q] = q
        self._last_q[:] = q
        self.command.enabled = True
        return self.command

    def _disbelieve(self, target_q: F32) -> None:
        """The joints whose target is absurd go towards what was last believed instead."""
        back = np.clip(self._believed, self._last_q - self._ready_step, self._last_q + self._ready_step)
        is_absurd = (target_q > self._range_upper + self._far_rad) | (target_q < self._range_lower - self._far_rad)
        np.copyto(self._q, back, where=is_absurd)

    def repeat(self) -> SafeCommand:
        """The last command once more."""
        return self.command

    def damp(self) -> SafeCommand:
        """No stiffness, the table's damping."""
        block = self.command.block
        block[:] = 0
        block[:, KD] = self._damping
        self.command.enabled = True
        self.has_arrived = False
        return self.command

    def off(self) -> SafeCommand:
        """Drives off."""
        self.command.block[:] = 0
        self.command.enabled = self.has_arrived = False
        return self.command


READY_RATE_RAD_S = 3.0
"""Fastest joint target on the way to the start pose."""
