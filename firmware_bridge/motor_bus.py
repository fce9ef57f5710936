"""The seam between the runtime and any wire: samples in, safe commands out, both in MOTOR order.

Arrays are allocated once and keep their identity, so a bus may hand out views of its receive buffer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

Q, DQ, TAU, KP, KD = range(5)
"""Columns of a command block."""


class Reading(IntEnum):
    """What one `MotorBus.read` brought."""

    NONE = 0
    """Nothing has arrived since the last read; the sample keeps its old content."""
    NEW = 1
    """The sample holds a new reading."""
    REJECTED = 2
    """Something arrived that failed the wire's own check (CRC); it must not be used."""


@dataclass(frozen=True)
class MotorSample:
    """One reading of every motor and of the IMU.

    Attributes:
        q, dq, tau: (n,) float32, motor order, rad, rad/s, N m (estimated).
        temperature_c: (n,) int16, hottest sensor of each motor.
        motor_error: (n,) uint32, 0 is healthy.
        imu: (10,) float32, the next three as one array.
        quat_wxyz: (4,) float32, base orientation in world.
        gyro, accel: (3,) float32, base frame, rad/s and m/s^2 (specific force: +g upright).
        tick: (1,) uint32, the robot's own counter.
        mode_machine: (1,) uint8, the variant the robot says it is.
        remote: (40,) uint8, raw bytes of the wireless remote.
        motor_lost: (n,) uint32, words lost between the drives and each motor, counted since power-up.
        battery_percent: (1,) float32, charge; NaN where the robot does not say.
        torso_quat_wxyz: (4,) float32, orientation of the torso's own IMU; NaN where there is none.
    """

    q: F32
    dq: F32
    tau: F32
    temperature_c: npt.NDArray[np.int16]
    motor_error: npt.NDArray[np.uint32]
    imu: F32
    tick: npt.NDArray[np.uint32]
    mode_machine: npt.NDArray[np.uint8]
    remote: npt.NDArray[np.uint8]
    motor_lost: npt.NDArray[np.uint32]
    battery_percent: F32 = field(default_factory=lambda: np.full(1, np.nan, np.float32))
    torso_quat_wxyz: F32 = field(default_factory=lambda: np.full(4, np.nan, np.float32))
    quat_wxyz: F32 = field(init=False)
    gyro: F32 = field(init=False)
    accel: F32 = field(init=False)

    def __post_init__(self) -> None:
        for name, part in (("quat_wxyz", slice(0, 4)), ("gyro", slice(4, 7)), ("accel", slice(7, 10))):
            object.__setattr__(self, name, self.imu[part])

    @staticmethod
    def zeros(motors: int) -> MotorSample:
        """An upright, motionless sample of `motors` motors."""
        sample = MotorSample(
            q=np.zeros(motors, np.float32),
            dq=np.zeros(motors, np.float32),
            tau=np.zeros(motors, np.float32),
            temperature_c=np.zeros(motors, np.int16),
            motor_error=np.zeros(motors, np.uint32),
            imu=np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81], np.float32),
            tick=np.zeros(1, np.uint32),
            mode_machine=np.zeros(1, np.uint8),
            remote=np.zeros(40, np.uint8),
            motor_lost=np.zeros(motors, np.uint32),
        )
        return sample


class MotorCommand:
    """Position, velocity and torque targets with gains for every motor.

    Attributes:
        block: (n, 5) float32 C-contiguous, motor order, columns q, dq, tau, kp, kd
            (rad, rad/s, N m, N m/rad, N m s/rad).
        enabled: False asks the drives for no torque at all (mode 0).
    """

    __slots__ = ("block", "enabled")

    def __init__(self, motors: int) -> None:
        self.block: F32 = np.zeros((motors, 5), np.float32)
        self.enabled = True


class SafeCommand(MotorCommand):
    """The only thing a bus writes. Made by `runtime.enforce` and nowhere else (a test holds that)."""

    __slots__ = ()


class MotorBus(Protocol):
    """What the gate needs of a wire; nothing here blocks."""

    sample: MotorSample

    def read(self) -> Reading:
        """Bring the newest sample into `sample`."""
        ...

    def write(self, command: SafeCommand) -> bool:
        """Send one command; False when the wire did not take it."""
        ...

    def other_writers(self) -> list[str]:
        """Who else commands these motors, as far as the wire can tell."""
        ...

    def link_is_up(self) -> bool:
        """Whether the cable, or what stands for it, still connects."""
        ...

    def close(self) -> None: ...
