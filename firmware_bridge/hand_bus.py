"""The seam between the runtime and any pair of hands: samples in, safe commands out, both in the hand's MOTOR order.

As `motor_bus` for the body. Rows are sides, LEFT first; either may be missing, and one that is falls silent alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import F32, Reading

LEFT, RIGHT = range(2)
SIDES = ("left", "right")


@dataclass(frozen=True)
class HandSample:
    """The newest reading of each hand.

    Attributes:
        q, dq, tau: (2, n) float32, left first, motor order, rad, rad/s, N m (estimated; NaN where a hand has none).
        temperature_c: (2, n) int16, hottest sensor of each motor.
        motor_error: (2, n) uint32, 0 is healthy.
    """

    q: F32
    dq: F32
    tau: F32
    temperature_c: npt.NDArray[np.int16]
    motor_error: npt.NDArray[np.uint32]

    @staticmethod
    def zeros(motors: int) -> HandSample:
        """Two open, motionless hands of `motors` motors."""
        q, dq, tau = np.zeros((3, 2, motors), np.float32)
        return HandSample(q, dq, tau, np.zeros((2, motors), np.int16), np.zeros((2, motors), np.uint32))


class HandCommand:
    """Position, velocity and torque targets with gains for every motor of both hands.

    Attributes:
        block: (2, n, 5) float32 C-contiguous, left first, motor order, columns q, dq, tau, kp, kd of `motor_bus`
            (rad, rad/s, N m, N m/rad, N m s/rad). A hand that takes no gains reads 0 as no torque.
        enabled: (2,) bool; False asks the drives of a hand for no torque at all.
    """

    __slots__ = ("block", "enabled")

    def __init__(self, motors: int) -> None:
        self.block: F32 = np.zeros((2, motors, 5), np.float32)
        self.enabled: npt.NDArray[np.bool_] = np.ones(2, np.bool_)


class SafeHandCommand(HandCommand):
    """The only thing a hand bus writes. Made by `runtime.hand_enforce` and nowhere else (a test holds that)."""

    __slots__ = ()


class HandBus(Protocol):
    """What the gate needs of the hands; nothing here blocks."""

    sample: HandSample

    def read(self, side: int) -> Reading:
        """Bring the newest reading of a hand into its row of `sample`."""
        ...

    def open_writers(self) -> None:
        """Announce that commands will come; from here on the hands may listen."""
        ...

    def write(self, side: int, command: SafeHandCommand) -> bool:
        """Send a hand its row; False when the wire did not take it, or no writer is open."""
        ...

    def other_writers(self, side: int) -> list[str]:
        """Who else commands a hand, as far as the wire can tell."""
        ...

    def close(self) -> None: ...
