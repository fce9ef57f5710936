"""Whether the motors do what motors can: errors, heat, torque, jumps, speed, range, silence, charge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample
from runtime.findings import Findings, Level
from runtime.robot import Robot
from runtime.state import RobotState

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
SLOW_EVERY = 10
"""Every so many samples the slow things are looked at: 20 ms of a 500 Hz state."""
FILTER_S = 1.0
"""Time constant of temperatures and charge."""
JUMP_SLACK_RAD = 0.05
"""Noise of an encoder and of a simulated one: below it nothing is a jump."""
CARRYING = ("hip", "knee", "ankle", "waist", "torso", "leg")
MOVED_RAD, ANSWER_S = 0.01, 0.06
"""A motor that repeats itself to the bit while its target moves this far, and for so long after that, is silent: one
that stood still needs a word and an answer until it can tell that it moves, the more so where states are coarse."""


def carrying_motors(robot: Robot) -> Mask:
    """(motors,) the motors that carry the robot: those of its feet's chains, else by name, else all."""
    names = {name for foot in robot.feet for name in foot.joints}
    mask = np.zeros(robot.motors, np.bool_)
    for joint in robot.joints:
        mask[joint.motor] = joint.name in names or any(part in joint.name for part in CARRYING)
    return mask if mask.any() else robot.used.copy()


class MotorChecks:
    """Flags of the motors of one robot.

    Attributes:
        too_strong: (motors,) where the measured torque was beyond its limit in the last sample.
    """

    def __init__(self, robot: Robot, state: RobotState, findings: Findings) -> None:
        n, limits = robot.motors, robot.limits
        self._state, self._limits, self._findings = state, limits, findings
        self._carrying = carrying_motors(robot)
        velocity, effort = robot.column("velocity_rad_s"), robot.column("effort_n_m")
        self._inverse_velocity = np.divide(1, velocity, out=np.zeros_like(velocity), where=velocity > 0)
        self._inverse_effort = np.divide(1, effort, out=np.zeros_like(effort), where=effort > 0)
        # So large is the norm of speeds over their limits at least, when as many joints flail.
        self._flail_bound = limits.flail_rad_s * limits.flail_joints**0.5 / max(float(velocity.max()), 1e-6)
        self._jump_per_s = velocity * np.float32(limits.encoder_jump_ratio)
        lower, upper = robot.column("lower_rad"), robot.column("upper_rad")
        self._middle, self._reach = (lower + upper) / 2, (upper - lower) / 2
        self._ratio, self._last_q, self._scratch = (np.zeros(n, np.float32) for _ in range(3))
        self.too_strong: Mask = np.zeros(n, np.bool_)
        self._jumps = self._fast = self._errors = self._looks = 0
        self._has_last, self._last_ns = False, 0
        self._flail_s = self._strong_s = 0.0
        self._strong_samples = 0
        self._heat = self._charge = float("nan")
        self._slow_s = 0.0
        self._slow = 0
        self._frozen_s, self._ignored_s = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._still = np.zeros((3, n), np.float32)
        self._still_target, self._still_moved = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self._lost = np.zeros(n, np.uint32)
        self._lost_s = 0.0
        self._levels = (
            Level("TEMPERATURE_WARN", limits.temperature_warn_c),
            Level("TEMPERATURE_HIGH", limits.temperature_high_c, limits.temperature_clear_c),
            Level("TEMPERATURE_CRITICAL", limits.temperature_max_c),
        )
        self._charges = (
            Level("BATTERY_LOW", limits.battery_warn, sign=-1),
            Level("BATTERY_NO_MOTION", limits.battery_no_motion, sign=-1),
            Level("BATTERY_CRITICAL", limits.battery_critical, sign=-1),
        )

    def jumps(self, q: F32, now_ns: int) -> bool:
        """Whether a joint has moved farther than it can since the sample before; counts those in a row.

        Args:
            q: (motors,) calibrated, rad; compared with the last that had not jumped.
        """
        dt_s, self._last_ns = min((now_ns - self._last_ns) * 1e-9, 1.0), now_ns
        if not self._has_last:
            self._last_q[:], self._has_last = q, True
            return False
        moved = self._scratch
        np.subtract(q, self._last_q, out=moved)
        far = False
        if float(moved.dot(moved)) > JUMP_SLACK_RAD**2:  # else no single joint has moved even that far
            np.abs(moved, out=moved)
            far = bool((moved > self._jump_per_s * np.float32(dt_s) + np.float32(JUMP_SLACK_RAD)).any())
        self._jumps = self._jumps + 1 if far else 0
        if not far or self._jumps >= self._limits.encoder_jumps:
            self._last_q[:] = q
        return far

    def discontinuity(self) -> int:
        """The flag of too many jumps in a row."""
        if self._jumps < self._limits.encoder_jumps:
            return 0
        return self._findings.note("ENCODER_JUMP", self._jumps)

    def look(self, sample: MotorSample, target_q: F32, dt_s: float, *, tracks: bool) -> int:
        """Flags of one accepted sample, `dt_s` after the one before.

        Args:
            target_q: (motors,) what is being commanded, rad.
            tracks: the policy drives: a motor that is silent then matters.
        """
        flags = self._speed(dt_s) | self._torque(dt_s) | self._reported_errors(sample)
        self._looks += 1
        self._slow_s += dt_s
        if self._looks % SLOW_EVERY == 0:
            self._slow = self._look_slowly(sample, target_q, self._slow_s, tracks)
            self._slow_s = 0.0
        return flags | self._slow

    def _speed(self, dt_s: float) -> int:
        dq, limits = self._state.dq, self._limits
        np.multiply(dq, self._inverse_velocity, out=self._ratio)
        # The norm bounds the largest entry: the two passes that find it run only when it may matter.
        bound = float(self._ratio.dot(self._ratio)) ** 0.5
        fastest = bound if bound <= limits.overspeed_ratio else float(np.abs(self._ratio).max())
        self._fast = self._fast + 1 if fastest > limits.overspeed_ratio else 0
        flags = self._findings.note("OVERSPEED", fastest) if self._fast >= limits.overspeed_samples else 0
        fast = 0
        if bound >= self._flail_bound:
            fast = int(np.count_nonzero(np.abs(dq) > limits.flail_rad_s))
        self._flail_s = self._flail_s + dt_s if fast >= limits.flail_joints else 0.0
        return flags | self._findings.note("FLAIL", fast) if self._flail_s > limits.flail_s else flags

    def _torque(self, dt_s: float) -> int:
        limits = self._limits
        np.multiply(self._state.tau, self._inverse_effort, out=self._ratio)
        bound = float(self._ratio.dot(self._ratio)) ** 0.5
        if bound <= limits.torque_ratio:
            self._strong_samples, self._strong_s = 0, 0.0
            return 0
        np.abs(self._ratio, out=self._ratio)
        np.greater(self._ratio, limits.torque_ratio, out=self.too_strong)
        if not self.too_strong.any():
            self._strong_samples, self._strong_s = 0, 0.0
            return 0
        self._strong_samples += 1
        self._strong_s += dt_s
        if self._strong_samples < 2:
            return 0
        flags = self._findings.note("TORQUE_HIGH", float(self._ratio.max()))
        if self._strong_s > limits.torque_s:
            flags |= self._findings.note("TORQUE_SUSTAINED", self._strong_s)
        return flags

    def _reported_errors(self, sample: MotorSample) -> int:
        if not np.count_nonzero(sample.motor_error):
            self._errors = 0
            return 0
        self._errors += 1
        if self._errors < self._limits.motor_error_samples:
            return 0
        has_error = sample.motor_error != 0
        carries = bool((has_error & self._carrying).any())
        flags = self._findings.note("LEG_MOTOR_ERROR", self._errors) if carries else 0
        return flags | (self._findings.note("MOTOR_ERROR", self._errors) if (has_error & ~self._carrying).any() else 0)

    def _look_slowly(self, sample: MotorSample, target_q: F32, dt_s: float, tracks: bool) -> int:
        flags = self._range() | self._silence(sample, target_q, dt_s, tracks)
        self._heat = _filtered(self._heat, float(sample.temperature_c.max()), dt_s)
        for level in self._levels:
            flags |= level.look(self._heat, self._findings)
        charge = float(sample.battery_percent[0])
        if charge == charge:
            self._charge = _filtered(self._charge, charge, dt_s)
            for level in self._charges:
                flags |= level.look(self._charge, self._findings)
        return flags

    def _range(self) -> int:
        np.subtract(self._state.q, self._middle, out=self._scratch)
        np.abs(self._scratch, out=self._scratch)
        np.subtract(self._scratch, self._reach, out=self._scratch)
        beyond = float(self._scratch.max())
        return self._findings.note("JOINT_RANGE", beyond) if beyond > self._limits.range_slack_rad else 0

    def _silence(self, sample: MotorSample, target_q: F32, dt_s: float, tracks: bool) -> int:
        """Words lost on the way to a motor, or one that repeats itself to the bit while its target moves."""
        rises = bool((sample.motor_lost != self._lost).any())
        self._lost[:] = sample.motor_lost
        self._lost_s = self._lost_s + dt_s if rises else 0.0
        state, still = self._state, self._still
        same = (still[0] == state.q) & (still[1] == state.dq) & (still[2] == state.tau)
        still[0], still[1], still[2] = state.q, state.dq, state.tau
        np.add(self._frozen_s, np.float32(dt_s), out=self._frozen_s)
        self._frozen_s[~same] = 0
        self._still_target[~same], self._still_moved[~same] = target_q[~same], 0
        # How far it has been, not how far it is: a target that comes back has moved all the same.
        np.maximum(self._still_moved, np.abs(target_q - self._still_target), out=self._still_moved)
        np.add(self._ignored_s, np.float32(dt_s), out=self._ignored_s)
        self._ignored_s[~same | (self._still_moved <= MOVED_RAD)] = 0
        longest = self._lost_s
        if tracks and same.any():
            longest = max(longest, float(self._frozen_s[self._ignored_s >= ANSWER_S - 1e-6].max(initial=0)))
        return self._findings.note("MOTOR_SILENT", longest) if longest >= self._limits.motor_silent_s - 1e-6 else 0


def _filtered(before: float, value: float, dt_s: float) -> float:
    """A first-order filter of `FILTER_S`, which starts at the first value."""
    return value if before != before else before + (value - before) * min(1.0, dt_s / FILTER_S)
