"""What holds the base of a simulated robot until its legs are stiff and at rest, as a gantry does a real one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import KP, Q

F64 = npt.NDArray[np.float64]
LEAST_S, MOST_S = 1.0, 4.0
"""How long it holds legs that are stiff: at least, and at most where they do not come to rest."""
REST_S, REST_RAD = 0.3, 0.02
"""Legs are at rest when no target has left so small a range for so long."""


class Gantry:
    """The gantry of one robot.

    Args:
        height_m: of the base that it holds.
        legs: slots of the motors that must be stiff.
        is_on: whether it holds at all.

    Attributes:
        is_on: it holds the base. waits: for `let_go` from outside; it does not let go by itself.
        pose: (7,) of the base in world: position, m, and w, x, y, z.
    """

    def __init__(self, height_m: float, legs: npt.NDArray[np.intp], *, is_on: bool) -> None:
        self.is_on, self.waits = is_on, False
        self.pose: F64 = np.array([0, 0, height_m, 1, 0, 0, 0], np.float64)
        self._legs = legs
        self._stiff_since: float | None = None
        self._rest_since = 0.0
        self._rest_target = np.full(len(legs), np.inf)

    def hold(self, data: Any) -> None:
        """Put the base back, at rest."""
        data.qpos[:7] = self.pose
        data.qvel[:6] = 0

    def let_go(self) -> None:
        """Now, and for good."""
        self.is_on = False

    def watch(self, block: npt.NDArray[np.float32], now_s: float) -> None:
        """Let go once the legs of a command (motors, 5) are stiff and its targets at rest."""
        if not self.is_on or self.waits:
            return
        if not (block[self._legs, KP] > 0).all():
            self._stiff_since = None
            return
        target = block[self._legs, Q]
        if self._stiff_since is None:
            self._stiff_since, self._rest_since, self._rest_target = now_s, now_s, target.copy()
        if np.abs(target - self._rest_target).max() > REST_RAD:
            self._rest_since, self._rest_target = now_s, target.copy()
        stiff, rest = now_s - self._stiff_since, now_s - self._rest_since
        if stiff > MOST_S or (stiff > LEAST_S and rest > REST_S):
            self.let_go()
