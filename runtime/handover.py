"""From one controller to another without a jolt: both run all the time, and what is sent goes over within a blend.

The one that does not drive runs in its shadow: it sees the robot's real state, and its last action is the one that
would have made what was really sent. So its histories are full and true when its turn comes. Then joint targets and
gains go over by min-jerk within `BLEND_S`, from what is being sent at that moment; a change of mind runs the same blend
backwards.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from runtime.controller import Controller
from runtime.needs import memory_ticks
from runtime.pilot import min_jerk
from runtime.state import RobotState

F32 = npt.NDArray[np.float32]
BLEND_S = 0.5


class Driver(IntEnum):
    """Whose targets are sent."""

    TRACKER = 0
    STEERED = 1


class Handover:
    """Two controllers of one robot and one rate, and how much of each is sent.

    Args:
        tracker: drives first.
        steered: the velocity controller.

    Attributes:
        share: of `steered` in what is sent, 0 to 1.
        goal: who drives in the end.
    """

    def __init__(self, tracker: Controller, steered: Controller) -> None:
        self._controllers = tracker, steered
        self._memory = tuple(memory_ticks(controller.manifest) for controller in self._controllers)
        self._blend_ticks = max(1, round(BLEND_S * tracker.manifest.rate_hz))
        self._block = np.zeros_like(tracker.target)
        self.reset()

    def reset(self) -> None:
        """The tracker drives; nothing is known to the other one yet."""
        self.goal, self.share = Driver.TRACKER, 0.0
        self._place = self._wait = self._ticks = 0
        self._controllers[Driver.STEERED].reset()

    @property
    def driver(self) -> Driver | None:
        """Who alone is sent; None within a blend."""
        return {0: Driver.TRACKER, self._blend_ticks: Driver.STEERED}.get(self._place)

    @property
    def is_ready(self) -> bool:
        """Whether the shadow has seen enough to take over."""
        return self._ticks >= max(self._memory)

    def go(self, goal: Driver) -> None:
        """Hand over to this one; a tracker in the shadow first sees for its memory what it is to follow next."""
        if goal is not self.goal:
            self.goal = goal
            waits = goal is Driver.TRACKER and self.driver is Driver.STEERED
            self._wait = self._memory[goal] if waits else 0

    def tick(self, state: RobotState) -> F32:
        """One control period of both, on inputs filled before: the (motors, 5) block to send."""
        tracker, steered = self._controllers
        for controller in self._controllers:
            controller.tick(state)
        self._ticks += 1
        if self._wait:
            self._wait -= 1
        elif self.goal is Driver.STEERED:
            self._place = min(self._place + 1, self._blend_ticks)
        else:
            self._place = max(self._place - 1, 0)
        self.share = s = min_jerk(self._place / self._blend_ticks)
        if self.driver is not None:
            self._block[:] = self._controllers[self.driver].target
        else:
            self._block[:] = tracker.target + np.float32(s) * (steered.target - tracker.target)
        if self.driver is not Driver.TRACKER:
            tracker.remember(self._block)
        if self.driver is not Driver.STEERED:
            steered.remember(self._block)
        return self._block
