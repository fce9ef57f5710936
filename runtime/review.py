"""What the gate sees: every tick's readings turned into flags, with the value that was measured.

Pure but for its counters: the caller brings the time. Non-finite is decided before anything is compared, because a
comparison with NaN is false.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.remote import button_mask, buttons_in
from runtime.faults import BIT, FAULTS, PLACE
from runtime.robot import Robot
from runtime.state import Calibration, Intake, RobotState

F32 = npt.NDArray[np.float32]
TARGET_LIMIT_FOR_HZ = 50.0
"""The policy rate `Limits.target_s` is meant for: two periods."""


class Review:
    """Turns readings, targets and outside events into flags.

    Args:
        robot: table and limits.
        state: filled from accepted samples.
        policy_hz: of the targets; below 50 Hz their age limit grows in proportion.
        checks_tick: whether the robot's counter must advance (some simulators leave it zero).

    Attributes:
        measured: (faults,) float32, the value behind each flag, kept from when it was last set.
    """

    def __init__(
        self,
        robot: Robot,
        state: RobotState,
        calibration: Calibration,
        *,
        policy_hz: float = 50.0,
        checks_tick: bool = True,
    ) -> None:
        self.state = state
        self.measured = np.zeros(len(FAULTS), np.float32)
        self._limits, self._checks_tick = robot.limits, checks_tick
        self._intake = Intake(state, calibration)
        limits = robot.limits
        velocity = robot.column("velocity_rad_s")
        self._inverse_velocity = np.divide(1, velocity, out=np.zeros_like(velocity), where=velocity > 0)
        self._ratio = np.zeros(robot.motors, np.float32)
        self._zeros_of_target = np.zeros(robot.motors * 5, np.float32)
        self._modes = robot.mode_machine
        self._stops = [button_mask(names) for names in robot.estop_buttons]
        self._cos_tilt = math.cos(limits.tilt_rad)
        self._hold_ns = round(limits.state_hold_s * 1e9)
        self._warn_ns = round(limits.state_warn_s * 1e9)
        self._damp_ns = round(limits.state_damp_s * 1e9)
        self._target_ns = round(limits.target_s * max(1.0, TARGET_LIMIT_FOR_HZ / policy_hz) * 1e9)
        self._frozen_ns = round(limits.frozen_s * 1e9)
        self._last_tick = -1
        self._standing = 0
        self._tick_changed_ns = 0
        self._bad_states = self._fast_states = self._bad_targets = self._rejected = 0

    def _raise(self, flag: str, measured: float) -> int:
        self.measured[PLACE[flag]] = measured
        return BIT[flag]

    def look_at_state(self, reading: Reading, sample: MotorSample, now_ns: int) -> int:
        """Flags of the robot's state; a good new sample is taken into `state`."""
        flags = 0
        if reading is Reading.REJECTED:
            self._rejected += 1
            flags |= self._raise("STATE_REJECTED", self._rejected)
        elif reading is Reading.NEW:
            self._standing = self._take(sample, now_ns)
        flags |= self._standing
        age = now_ns - self.state.received_ns  # before the first state: lost, so that nothing can be armed
        if age > self._warn_ns:
            flags |= self._raise("STATE_LATE", age * 1e-9)
            if age > self._hold_ns:
                flags |= self._raise("STATE_STALE", age * 1e-9)
            if age > self._damp_ns:
                flags |= self._raise("STATE_LOST", age * 1e-9)
        return flags

    def _take(self, sample: MotorSample, now_ns: int) -> int:
        flags = 0
        tick = int(sample.tick[0])
        if self._checks_tick:
            if tick == self._last_tick:
                if now_ns - self._tick_changed_ns > self._frozen_ns:
                    flags |= self._raise("STATE_FROZEN", (now_ns - self._tick_changed_ns) * 1e-9)
                return flags
            if 0 <= (self._last_tick - tick) % (1 << 32) < (1 << 31) and self._last_tick >= 0:
                self._rejected += 1
                return flags | self._raise("STATE_REJECTED", self._rejected)
            self._last_tick, self._tick_changed_ns = tick, now_ns
        w, x, y, z = sample.quat_wxyz.tolist()
        norm = w * w + x * x + y * y + z * z
        if not 0.9 < norm < 1.1 or not self._intake.take(sample, now_ns):
            self._bad_states += 1
            if self._bad_states >= self._limits.non_finite_samples:
                flags |= self._raise("STATE_NON_FINITE", self._bad_states)
            return flags
        self._bad_states = 0
        upright = 1 - 2 * (x * x + y * y) / norm
        if upright < self._cos_tilt:
            flags |= self._raise("TILT", math.acos(max(upright, -1.0)))
        np.multiply(self.state.dq, self._inverse_velocity, out=self._ratio)
        # The norm bounds the largest entry: the two passes that find it run only when it may matter.
        bound = float(self._ratio.dot(self._ratio)) ** 0.5
        fastest = bound if bound <= self._limits.overspeed_ratio else float(np.abs(self._ratio).max())
        self._fast_states = self._fast_states + 1 if fastest > self._limits.overspeed_ratio else 0
        if self._fast_states >= self._limits.overspeed_samples:
            flags |= self._raise("OVERSPEED", fastest)
        mode = int(sample.mode_machine[0])
        if self._modes and mode not in self._modes:
            flags |= self._raise("MODE_MACHINE", mode)
        pressed = buttons_in(int(sample.remote[2]), int(sample.remote[3]))
        if pressed:
            for stop in self._stops:
                if pressed & stop == stop:
                    flags |= self._raise("REMOTE_STOP", pressed)
        return flags

    def look_at_target(self, made_ns: int, now_ns: int) -> int:
        """Flags of the age of the policy's target, made at `made_ns`."""
        age = now_ns - made_ns
        return self._raise("TARGET_STALE", age * 1e-9) if age > self._target_ns else 0

    def target_is_finite(self, block: F32) -> bool:
        """Whether every number of a new target may be looked at further."""
        return bool(self._zeros_of_target.dot(block.reshape(-1)) == 0)

    def bad_target(self) -> int:
        """Count a non-finite target; a flag once there were too many in a row."""
        self._bad_targets += 1
        if self._bad_targets >= self._limits.bad_targets:
            return self._raise("TARGET_NON_FINITE", self._bad_targets)
        return 0

    def good_target(self) -> None:
        """A finite target ends the row of bad ones."""
        self._bad_targets = 0

    def note(self, flag: str, measured: float = 0.0) -> int:
        """An event from outside this table's own checks."""
        return self._raise(flag, measured)
