"""What the gate sees: every tick's readings turned into flags, with the value that was measured.

Pure but for its counters: the caller brings the time. Non-finite is decided before anything is compared, because a
comparison with NaN is false. What is dropped (out of order, not finite, impossible) never reaches the state.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample, Q, Reading
from firmware_bridge.remote import button_mask, buttons_in
from runtime.findings import Findings
from runtime.imu_checks import ImuChecks
from runtime.loop_checks import Losses, Pauses
from runtime.motor_checks import MotorChecks
from runtime.robot import Robot
from runtime.state import Calibration, Intake, RobotState

F32 = npt.NDArray[np.float32]
TARGET_LIMIT_FOR_HZ = 50.0
"""The policy rate `Limits.target_s` is meant for: two periods."""
_REMOTE_OFF = bytes(40)
RESTART_TICKS = 1000
"""A counter that falls back by more is a robot that began anew; by less, a state that overtook another."""


class Review:
    """Turns readings, targets and outside events into flags.

    Args:
        robot: table and limits.
        state: filled from accepted samples.
        policy_hz: of the targets; below 50 Hz their age limit grows in proportion.
        checks_tick: whether the robot's counter must advance (some simulators leave it zero).
        needs_remote: a wireless remote must be on before anything is armed.
        real_time: the loop has the rights it needs, so that its own pauses are faults and not the machine's load.

    Attributes:
        findings: the value behind each flag.
        tracks: the policy drives the robot; set by the gate.
        targets: (motors, 5) float32, what is being commanded; set by the gate.
        motors: the checks of the motors.
    """

    def __init__(
        self,
        robot: Robot,
        state: RobotState,
        calibration: Calibration,
        *,
        policy_hz: float,
        checks_tick: bool,
        needs_remote: bool,
        real_time: bool,
    ) -> None:
        self.state, self.findings = state, Findings()
        self._limits, self._checks_tick = robot.limits, checks_tick
        self._intake = Intake(state, calibration)
        limits = robot.limits
        self.tracks = False
        self.targets: F32 = np.zeros((robot.motors, 5), np.float32)
        self._imu = ImuChecks(robot, self.findings)
        self.motors = MotorChecks(robot, state, self.findings)
        self._losses = Losses(limits, self.findings)
        self._pauses = Pauses(limits, self.findings, real_time=real_time)
        self._zeros_of_target = np.zeros(robot.motors * 5, np.float32)
        self._modes = robot.mode_machine
        self._stops = [button_mask(names) for names in robot.estop_buttons]
        self._cos_tilt = math.cos(limits.tilt_rad)
        self._hold_ns = round(limits.state_hold_s * 1e9)
        self._warn_ns = round(limits.state_warn_s * 1e9)
        self._damp_ns = round(limits.state_damp_s * 1e9)
        self._target_ns = round(limits.target_s * max(1.0, TARGET_LIMIT_FOR_HZ / policy_hz) * 1e9)
        self._frozen_ns = round(limits.frozen_s * 1e9)
        self._remote_ns = round(limits.remote_off_s * 1e9)
        self._remote_on_ns, self._knows_remote = -1, needs_remote
        self._last_tick = -1
        self._standing = 0
        self._tick_changed_ns = 0
        self._bad_joints = self._bad_imu = self._bad_targets = self._reordered = self._bad_crcs = 0
        self._far_since_ns, self._far = -1, 0

    def look_at_time(self, now_ns: int) -> int:
        """Flags of the gate's own loop, once a tick."""
        return self._pauses.look(now_ns)

    def look_at_state(self, reading: Reading, sample: MotorSample, now_ns: int) -> int:
        """Flags of the robot's state; a good new sample is taken into `state`."""
        flags = 0
        if reading is Reading.REJECTED:
            self._bad_crcs += 1
            flags |= self.note("STATE_CRC", self._bad_crcs)
        elif reading is Reading.NEW:
            self._standing = self._take(sample, now_ns)
        flags |= self._standing | self._losses.look(now_ns)
        age = now_ns - self.state.received_ns  # before the first state: lost, so that nothing can be armed
        if age > self._warn_ns:
            flags |= self.note("STATE_LATE", age * 1e-9)
            if age > self._hold_ns:
                flags |= self.note("STATE_STALE", age * 1e-9)
            if age > self._damp_ns:
                flags |= self.note("STATE_LOST", age * 1e-9)
        return flags

    def _take(self, sample: MotorSample, now_ns: int) -> int:
        """Flags of a new sample: what is out of order or impossible is dropped, the rest is taken and looked at."""
        flags = 0
        if self._checks_tick:
            flags, is_next = self._follow_counter(int(sample.tick[0]), now_ns)
            if not is_next:
                return flags
        imu = sample.imu.tolist()
        bad = self._drop_unreadable(sample, imu)
        if bad is not None:
            return flags | bad
        imu = self._intake.imu_of_base() or imu
        before_ns = self.state.received_ns
        dt_s = min((now_ns - before_ns) * 1e-9, 1.0) if before_ns else 0.0
        in_range, jumps = self._imu.is_in_range(imu), self.motors.jumps(self._intake.q, now_ns)
        flags |= self._imu.saturation() | self.motors.discontinuity()
        if not in_range or jumps:
            return flags
        self._intake.take(sample, now_ns)
        flags |= self._imu.look(sample, self._intake.q, imu, dt_s, tracks=self.tracks)
        flags |= self.motors.look(sample, self.targets[:, Q], dt_s, tracks=self.tracks)
        return flags | self._look_upright(imu) | self._look_at_peer(sample, now_ns)

    def _follow_counter(self, tick: int, now_ns: int) -> tuple[int, bool]:
        """Flags of the robot's counter, and whether this sample is newer than the last."""
        before, self_changed = self._last_tick, self._tick_changed_ns
        if tick == before:
            frozen_ns = now_ns - self_changed
            return (self.note("STATE_FROZEN", frozen_ns * 1e-9) if frozen_ns > self._frozen_ns else 0), False
        back = (before - tick) % (1 << 32)
        if before >= 0 and back <= RESTART_TICKS:
            self._reordered += 1
            return self.note("STATE_REORDERED", self._reordered), False
        self._losses.count(tick, before)
        self._last_tick, self._tick_changed_ns = tick, now_ns
        if before >= 0 and back < (1 << 31):
            return self.note("ROBOT_RESTARTED", back), True
        return 0, True

    def _drop_unreadable(self, sample: MotorSample, imu: list[float]) -> int | None:
        """Flags of a sample that is no state (NaN, infinity, no unit quaternion); None when it may be looked at."""
        is_finite = self._intake.read(sample)
        w, x, y, z = imu[:4]
        is_unit = 0.9 < w * w + x * x + y * y + z * z < 1.1
        if is_finite and is_unit:
            self._bad_imu = self._bad_joints = 0
            return None
        has_imu = is_unit and self._intake.imu_is_finite()
        self._bad_imu = 0 if has_imu else self._bad_imu + 1
        self._bad_joints = 0 if self._intake.motors_are_finite() else self._bad_joints + 1
        flags, most = 0, self._limits.non_finite_samples
        if self._bad_imu >= most:
            flags |= self.note("IMU_NON_FINITE", self._bad_imu)
        if self._bad_joints >= most:
            flags |= self.note("STATE_NON_FINITE", self._bad_joints)
        return flags

    def _look_upright(self, imu: list[float]) -> int:
        w, x, y, z = imu[:4]
        upright = 1 - 2 * (x * x + y * y) / (w * w + x * x + y * y + z * z)
        return self.note("TILT", math.acos(max(upright, -1.0))) if upright < self._cos_tilt else 0

    def _look_at_peer(self, sample: MotorSample, now_ns: int) -> int:
        flags = 0
        mode = int(sample.mode_machine[0])
        if self._modes and mode not in self._modes:
            flags |= self.note("MODE_MACHINE", mode)
        remote = sample.remote.tobytes()
        pressed = buttons_in(remote[2], remote[3])
        if pressed:
            for stop in self._stops:
                if pressed & stop == stop:
                    flags |= self.note("REMOTE_STOP", pressed)
        if remote != _REMOTE_OFF:
            self._remote_on_ns, self._knows_remote = now_ns, True
        elif self._knows_remote:
            if self._remote_on_ns < 0:
                self._remote_on_ns = now_ns
            if now_ns - self._remote_on_ns > self._remote_ns:
                flags |= self.note("REMOTE_OFF", (now_ns - self._remote_on_ns) * 1e-9)
        return flags

    def look_at_target(self, made_ns: int, now_ns: int) -> int:
        """Flags of the policy's target, made at `made_ns`: its age, and what limiting the last ones has shown."""
        age = now_ns - made_ns
        return self._far | self.note("TARGET_STALE", age * 1e-9) if age > self._target_ns else self._far

    def target_is_finite(self, block: F32) -> bool:
        """Whether every number of a new target may be looked at further."""
        return bool(self._zeros_of_target.dot(block.reshape(-1)) == 0)

    def bad_target(self) -> int:
        """Count a non-finite target; a flag once there were too many in a row."""
        self._bad_targets += 1
        if self._bad_targets >= self._limits.bad_targets:
            return self.note("TARGET_NON_FINITE", self._bad_targets)
        return 0

    def good_target(self) -> None:
        """A finite target ends the row of bad ones."""
        self._bad_targets = 0

    def limited_target(self, limited_rad: float, now_ns: int) -> int:
        """The flag of a target that was held to its limits by `limited_rad`; one held for long is judged next tick."""
        if limited_rad <= self._limits.target_far_rad:
            self.free_target()
            return self.note("TARGET_LIMITED", limited_rad)
        if self._far_since_ns < 0:
            self._far_since_ns = now_ns
        far_s = (now_ns - self._far_since_ns) * 1e-9
        self._far = self.note("TARGET_FAR", far_s) if far_s > self._limits.target_far_s else 0
        return self.note("TARGET_LIMITED", limited_rad)

    def free_target(self) -> None:
        """A target near enough to its limits, or within them."""
        self._far_since_ns, self._far = -1, 0

    def note(self, flag: str, measured: float = 0.0) -> int:
        """An event from outside this table's own checks."""
        return self.findings.note(flag, measured)
