"""The robot on the network before a run: watched for a second, nothing is written but one question to its services."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_bridge.ailment_kit import copy_sample
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.motion_service import MotionServiceClient
from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.unitree_bus import PROFILES, Profile, UnitreeBus
from runtime.bodies import Chain
from runtime.calibration_file import calibration_of
from runtime.errors import Refused
from runtime.imu_checks import TORSO_BODY
from runtime.preflight import Check
from runtime.preflight_pose import gravity_angle
from runtime.realtime import hurried
from runtime.robot import Robot
from runtime.rotation import multiply
from runtime.settings import GATE_HZ, RunSettings
from runtime.state import Calibration, Intake, RobotState

F64 = npt.NDArray[np.float64]
FIRST_STATE_S, WATCH_S, MOTION_SERVICE_S = 5.0, 1.0, 1.0
WINDOWS = 3
"""Seconds that are tried until one is without losses: a hiccup of this computer's is no loss on the way."""
PRIORITY = 70
LOST_RATIO = 0.01
SIMULATOR_HZ = 200
"""What unitree_mujoco publishes."""
CLOCK_DRIFT_S = 0.01
"""The wall clock may be slewed by 500 ppm; more within a second is a step."""


@dataclass
class Watch:
    """What was seen of a robot.

    Attributes:
        received, lost_ratio, windows: states of the best window, and how many were watched.
        rejected: states with a wrong CRC, of all windows.
        sample: the newest, calibrated as the gate would.
        gyro, accel: (3,) means over the best window, rad/s and m/s^2.
        moving_rad_s: fastest joint of the newest window.
        torso_rad: mean angle between gravity of the torso's IMU and the pelvis' through the waist; NaN unheard.
        wall_drift_s: of the wall clock against the monotonic one, in the newest window.
        others: writers of commands; participants: everybody on the domain.
        motion_mode, motion_error: what the motion switcher says, as `MotionServiceClient`.
    """

    sample: MotorSample
    received: int = 0
    lost_ratio: float = 1.0
    windows: int = 0
    rejected: int = 0
    gyro: F64 = field(default_factory=lambda: np.zeros(3))
    accel: F64 = field(default_factory=lambda: np.zeros(3))
    moving_rad_s: float = 0.0
    torso_rad: float = float("nan")
    wall_drift_s: float = 0.0
    others: list[str] = field(default_factory=list)
    participants: list[str] = field(default_factory=list)
    motion_mode: str | None = None
    motion_error: str = ""


def open_bus(settings: RunSettings, robot: Robot) -> UnitreeBus:
    """The robot's bus, to look at only.

    Raises:
        BridgeError: no such interface, no DDS.
    """
    return UnitreeBus(_dds(settings), robot.wire, robot.motors, profile_of(settings), "exoactor-check")


def profile_of(settings: RunSettings) -> Profile:
    """How strictly this target is looked at."""
    return PROFILES["unitree-mujoco" if settings.target == "unitree-mujoco" else "unitree"]


def _dds(settings: RunSettings) -> DdsSettings:
    return DdsSettings(settings.domain, settings.interface, settings.peers)


def watch_robot(settings: RunSettings, robot: Robot, bus: UnitreeBus) -> Watch:
    """Watch until a second without losses has passed, at most `WINDOWS`, and ask the motion switcher meanwhile."""
    seen = Calibrated(bus.sample, robot, _calibration(settings, robot))
    watch = Watch(seen.sample)
    if not _await_state(bus):
        return watch
    rate_hz = SIMULATOR_HZ if profile_of(settings).simulator_only else GATE_HZ
    with Participant(_dds(settings), "exoactor-check-services") as participant:
        client = MotionServiceClient(participant)
        asked_s = time.monotonic()
        while watch.windows < WINDOWS and (watch.windows == 0 or watch.lost_ratio > LOST_RATIO):
            _watch_window(watch, robot, bus, seen, rate_hz, client.pump)
        client.ask(max(0.0, MOTION_SERVICE_S - (time.monotonic() - asked_s)))
        watch.motion_mode, watch.motion_error = client.mode, client.error
        own = f"pid {os.getpid()},"
        watch.participants = [text for text in participant.foreign_participants() if own not in text]
    watch.others = bus.other_writers()
    return watch


def _calibration(settings: RunSettings, robot: Robot) -> Calibration:
    """Of the run; none where its file is refused, which is a red line of its own."""
    try:
        return calibration_of(settings.calibration, robot, settings.serial)
    except Refused:
        return Calibration(robot.motors)


class Calibrated:
    """A bus's sample as the gate sees it: joints less their offsets, the IMU's readings turned into the base's.

    Attributes:
        sample: to be looked at, after `look`.
    """

    def __init__(self, raw: MotorSample, robot: Robot, calibration: Calibration) -> None:
        self._raw, self._state = raw, RobotState(robot.motors)
        self._intake = Intake(self._state, calibration)
        self.sample = copy_sample(raw)

    def look(self) -> None:
        """The newest sample."""
        sample, state = copy_sample(self._raw, self.sample), self._state
        self._intake.read(sample)
        self._intake.imu_of_base()
        self._intake.take(sample, 0)
        sample.q[:], sample.quat_wxyz[:], sample.gyro[:] = state.q, state.quat_wxyz, state.gyro
        sample.accel[:] = state.accel


def _await_state(bus: UnitreeBus) -> bool:
    deadline = time.monotonic() + FIRST_STATE_S
    while time.monotonic() < deadline:
        if bus.wait(0.1) and bus.read() is Reading.NEW:
            return True
    return False


def _watch_window(
    watch: Watch, robot: Robot, bus: UnitreeBus, seen: Calibrated, rate_hz: int, pump: Callable[[float], bool]
) -> None:
    received, sums, torso = 0, np.zeros(6), _Torso(robot)
    watch.windows, watch.moving_rad_s = watch.windows + 1, 0.0
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(hurried(PRIORITY))
        wall_s, start_s = time.time(), time.monotonic()
        while (now_s := time.monotonic()) < start_s + WATCH_S:
            bus.wait(0.01)
            reading = bus.read()
            watch.rejected += reading is Reading.REJECTED
            if reading is not Reading.NEW:
                continue
            received += 1
            seen.look()
            sums += seen.sample.imu[4:]
            fastest = float(np.abs(bus.sample.dq).max())
            watch.moving_rad_s = max(watch.moving_rad_s, fastest if fastest == fastest else float("inf"))
            torso.look(seen.sample)
            pump(now_s)
        watch.wall_drift_s = (time.time() - wall_s) - (time.monotonic() - start_s)
    lost = max(0.0, 1 - received / (rate_hz * WATCH_S))
    if received and lost < watch.lost_ratio:
        watch.received, watch.lost_ratio = received, lost
        watch.gyro, watch.accel, watch.torso_rad = sums[:3] / received, sums[3:] / received, torso.angle_rad


class _Torso:
    """Mean angle between the torso's gravity and the one expected through the waist."""

    def __init__(self, robot: Robot) -> None:
        names = [""] * robot.motors
        for joint in robot.joints:
            names[joint.motor] = joint.name
        self._chain = Chain(robot.bodies, TORSO_BODY, names) if TORSO_BODY in robot.bodies else None
        self._sum, self._count = 0.0, 0

    def look(self, sample: MotorSample) -> None:
        torso = sample.torso_quat_wxyz
        if self._chain is None or not 0.9 < float(torso.dot(torso)) < 1.1:  # NaN is not within
            return
        expected = multiply(sample.quat_wxyz.tolist(), self._chain.orientation(sample.q))
        self._sum += gravity_angle(torso.tolist(), expected)
        self._count += 1

    @property
    def angle_rad(self) -> float:
        return self._sum / self._count if self._count else float("nan")


def check_link(watch: Watch, where: str, *, strict: bool) -> Iterator[Check]:
    """Whether states come, all of them and whole. `strict` for a real robot."""
    found = f"{watch.received} states in {WATCH_S:.0f} s" if watch.received else f"none in {FIRST_STATE_S:.0f} s"
    yield Check("robot state", watch.received > 0, f"{found} on {where}", "some",
                f"check power, cable, interface and domain ({where})")
    if not watch.received:
        return
    yield Check("states lost", watch.lost_ratio <= LOST_RATIO,
                f"{100 * watch.lost_ratio:.1f} % in the best of {watch.windows} s", f"<= {100 * LOST_RATIO:.0f} %",
                "use a cable, look at the load of this computer", strict)
    yield Check("state CRC", watch.rejected == 0, f"{watch.rejected} wrong", "0",
                "is this the robot's own message type?")
    yield Check("clocks in step", abs(watch.wall_drift_s) <= CLOCK_DRIFT_S,
                f"wall clock {1e3 * watch.wall_drift_s:+.1f} ms in a second", f"within {1e3 * CLOCK_DRIFT_S:.0f} ms",
                "let the clock be set before a run, not during it; control does not use it", False)


def check_peers(watch: Watch, target: str) -> Iterator[Check]:
    """Who else could command the robot."""
    yield Check("other commander", not watch.others, "; ".join(watch.others) or "none", "none",
                "stop the other controller and the robot's own motion service")
    yield Check("participants", True, f"{len(watch.participants)}: {'; '.join(watch.participants)}",
                "those you know", "", False)
    yield _check_motion_service(watch, target)


def _check_motion_service(watch: Watch, target: str) -> Check:
    name, limit = "motion service", "released"
    if watch.motion_mode is not None:
        return Check(name, watch.motion_mode == "", f"{watch.motion_mode!r} is active" if watch.motion_mode
                     else "released", limit,
                     "hang the robot, then put it into debug mode with the remote (on a G1 L2+R2), or release it by "
                     "Unitree's own tools; wait until it is limp")
    return Check(name, False, watch.motion_error or f"no answer in {MOTION_SERVICE_S:.0f} s", limit,
                 "it could not be asked: see yourself that the robot is in debug mode and does not balance by itself",
                 target == "sim")
