"""What an ailment works with: the state on its way, its own memory, and the choices of its seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from firmware_bridge.motor_bus import MotorSample, Reading

if TYPE_CHECKING:
    from firmware_bridge.simulated_robot import SimulatedRobot

NAMES = tuple(part.name for part in fields(MotorSample) if part.init)


def copy_sample(source: MotorSample, into: MotorSample | None = None) -> MotorSample:
    """A sample with arrays of its own, or the content into one that exists."""
    target = MotorSample.zeros(len(source.q)) if into is None else into
    for name in NAMES:
        getattr(target, name)[:] = getattr(source, name)
    return target


class Illness:
    """One ailment at work.

    Args:
        robot: whose state it is; only a push looks at it.
        sample: the state on its way; changed in place.
        options: as given; what is missing, the ailment knows.
        random: its own.

    Attributes:
        reading: what arrives, for the ailment to change.
        elapsed_s: since it began.
        count: states it has seen before this one.
        motor, choice: drawn once, for ailments of one motor and for signs, axes and the like.
        start_tick: the robot's counter when it began.
        queue: states under way, each with the time it is due.
    """

    def __init__(
        self, robot: SimulatedRobot, sample: MotorSample, options: Mapping[str, float], random: np.random.Generator
    ) -> None:
        self.robot, self.sample, self.random, self._options = robot, sample, random, options
        self.reading = Reading.NEW
        self.elapsed_s = 0.0
        self.count = 0
        drawn = int(random.integers(len(sample.q)))
        self.motor = int(options.get("motor", drawn)) % len(sample.q)
        self.choice = int(random.integers(1 << 20))
        self.start_tick = 0
        self.queue: deque[tuple[float, MotorSample]] = deque()
        self._kept = MotorSample.zeros(len(sample.q))

    def option(self, name: str, default: float) -> float:
        """An option's value."""
        return self._options.get(name, default)

    @property
    def kept(self) -> MotorSample:
        """What `keep` kept."""
        return self._kept

    def keep(self) -> None:
        """Remember the state as it is now."""
        copy_sample(self.sample, self._kept)

    def give(self, sample: MotorSample) -> None:
        """Let another state arrive instead."""
        copy_sample(sample, self.sample)
        self.reading = Reading.NEW

    def give_kept(self) -> None:
        """Let the kept state arrive instead."""
        self.give(self._kept)

    def harm(self, how: Callable[[Illness], None], reading: Reading, elapsed_s: float) -> Reading:
        """One state."""
        self.reading, self.elapsed_s = reading, elapsed_s
        if not self.count:
            self.start_tick = int(self.sample.tick[0])
        how(self)
        self.count += 1
        return self.reading
