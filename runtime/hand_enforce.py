"""The last word on hands: from what a hand is told to the only thing a hand bus writes.

A target moves from one state to another along a quintic that begins with the speed it has and ends at rest (min-jerk
from a standstill). Of a streamed target only the speed is limited. In both cases it stays in range, and no further from
where the joint stands than `reach_rad`, which is the strongest grip: kp times that (so NVlabs/GR00T-WholeBodyControl
@ 1983e88 `dex3_hands.hpp`, at each write).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.hand_bus import SafeHandCommand
from firmware_bridge.motor_bus import KD, KP, Q
from runtime.hand import HandModel

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
PEAK = 1.875
"""Largest speed of a min-jerk move, in mean speeds (Flash and Hogan 1985)."""


class _Move:
    """One hand's way to where it was told to go."""

    def __init__(self, joints: int) -> None:
        self.q: F64 = np.zeros(joints)
        self.dq: F64 = np.zeros(joints)
        self._terms: F64 = np.zeros((4, joints))
        self._left_s = self._length_s = 0.0

    def stand(self, q: F64 | F32) -> None:
        self.q[:], self.dq[:], self._left_s = q, 0, 0.0

    def go(self, goal: F32, length_s: float) -> None:
        """p(s) = q + w s + (10 d - 6 w) s^3 + (8 w - 15 d) s^4 + (6 d - 3 w) s^5: at rest at s = 1, q + d."""
        d, w = goal - self.q, self.dq * length_s
        self._terms[:] = self.q, w, 10 * d - 6 * w, 8 * w - 15 * d
        self._last, self._goal = 6 * d - 3 * w, goal.astype(np.float64)
        self._left_s = self._length_s = length_s

    def tick(self, period_s: float) -> None:
        if self._left_s <= 0:
            return
        self._left_s -= period_s
        if self._left_s <= 1e-9:
            self.stand(self._goal)
            return
        s = 1 - self._left_s / self._length_s
        start, w, c3, c4 = self._terms
        self.q[:] = start + s * (w + s * s * (c3 + s * (c4 + s * self._last)))
        self.dq[:] = (w + s * s * (3 * c3 + s * (4 * c4 + s * 5 * self._last))) / self._length_s


class HandEnforcer:
    """Makes `SafeHandCommand`s for one pair of hands.

    Args:
        model: ranges, speeds, gains.

    Attributes:
        command: the one command object, rewritten at each call.
    """

    def __init__(self, model: HandModel) -> None:
        n = len(model.joints)
        self.command = SafeHandCommand(n)
        self._model = model
        self._moves = [_Move(n) for _ in range(2)]

    def start_from(self, side: int, q: F32) -> None:
        """The hand stays where it was measured, (n,) rad, until it is told something."""
        model = self._model
        held = np.clip(q, model.lower_rad[side], model.upper_rad[side])
        self._moves[side].stand(held)
        self.command.block[side] = 0
        self.command.block[side, :, Q] = held

    def go(self, side: int, goal: F32) -> None:
        """To a pose (n,) rad within the ranges, along a smooth way, from wherever the hand's target is now.

        It takes `move_s`, or longer where a joint would exceed its speed.
        """
        model, move = self._model, self._moves[side]
        fastest = float((np.abs(goal - move.q) / model.velocity_rad_s).max())
        move.go(np.clip(goal, model.lower_rad[side], model.upper_rad[side]), max(model.move_s, PEAK * fastest))

    def follow(self, side: int, q: F32) -> None:
        """A streamed pose, (n,) rad and finite, as fast as the joints may."""
        model = self._model
        self._moves[side].stand(np.clip(q, model.lower_rad[side], model.upper_rad[side]))

    def tick(self, side: int, measured: F32 | None, period_s: float, *, is_kept: bool) -> None:
        """The hand's row of `command`, `period_s` after the last one.

        Args:
            measured: (n,) rad where the joints stand, finite; None: not known, the last target stays.
            is_kept: at the gains that only keep a grip.
        """
        model, block = self._model, self.command.block[side]
        gains = (model.kept_kp, model.kept_kd) if is_kept else (model.kp, model.kd)
        block[:, KP], block[:, KD] = gains
        self.command.enabled[side] = True
        if measured is None:
            return
        move = self._moves[side]
        move.tick(period_s)
        last, step = block[:, Q], model.velocity_rad_s * np.float32(period_s)
        q = np.clip(move.q.astype(np.float32), measured - model.reach_rad, measured + model.reach_rad)
        q = np.clip(q, last - step, last + step)
        block[:, Q] = np.clip(q, model.lower_rad[side], model.upper_rad[side])

    def off(self, side: int) -> None:
        """No torque."""
        self.command.block[side] = 0
        self.command.enabled[side] = False
