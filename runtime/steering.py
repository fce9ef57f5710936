"""A velocity command that never jumps: what is asked for, within the controller's ranges and a bounded acceleration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
ACCELERATION = (1.0, 1.0, 2.0)
"""m/s^2, m/s^2, rad/s^2, away from zero: full speed after a second (unitreerobotics/xr_teleoperate takes 5)."""
BRAKING = (2.0, 2.0, 4.0)
"""Towards zero: a released dead-man stops a walk of 1 m/s in half a second, a hard stop topples."""


class Steering:
    """Ramps a command.

    Args:
        ranges: [-, +] of vx, vy (m/s), yaw rate (rad/s).
        period_s: of a control tick.

    Attributes:
        command: (3,) float32, what is commanded now.
    """

    def __init__(self, ranges: tuple[tuple[float, float], ...], period_s: float) -> None:
        self._low, self._high = (np.array(bound, np.float32) for bound in zip(*ranges, strict=True))
        self._up, self._down = (np.array(rate, np.float32) * np.float32(period_s) for rate in (ACCELERATION, BRAKING))
        self._zero, self._wanted = np.zeros(3, np.float32), np.zeros(3, np.float32)
        self.command: F32 = np.zeros(3, np.float32)

    def tick(self, asked: F32 | None) -> F32:
        """One control period; None, and anything that is not finite, asks for standing still."""
        wanted, now = self._wanted, self.command
        is_good = asked is not None and bool(np.isfinite(asked).all())
        np.clip(self._zero if asked is None or not is_good else asked, self._low, self._high, out=wanted)
        turns_back = (wanted * now < 0) | (np.abs(wanted) < np.abs(now))
        wanted[wanted * now < 0] = 0  # through zero first: braking and starting have their own limits
        step = np.where(turns_back, self._down, self._up)
        now += np.clip(wanted - now, -step, step)
        return now
