"""Keeps a standing robot's centre of mass over its feet: its body weighs otherwise than the human's.

While both feet stand, the body is shifted against what the centre of mass is ahead of the middle of the soles, or
outside of them sideways, slowly enough that steps and swings stay as they are; off the feet the shift fades.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime.retarget_table import Balancing

F64 = npt.NDArray[np.float64]
SETTLED = 0.5
"""Share of settling from which a foot counts as standing."""
FADE = 4.0
"""Times the time of shifting, for the way back."""


class Balance:
    """The shift of one robot's body.

    Args:
        balancing: figures of the table.
        frame_s: between frames.

    Attributes:
        shift: (2,) m in world.
    """

    def __init__(self, balancing: Balancing, frame_s: float) -> None:
        self._balancing, self._frame_s = balancing, frame_s
        self.shift: F64 = np.zeros(2)

    def reset(self) -> None:
        """No shift."""
        self.shift[:] = 0

    def watch(self, centre_of_mass: F64, feet: F64, headings_rad: list[float], shares: list[float],
              frame_s: float | None = None) -> None:
        """One frame.

        Args:
            centre_of_mass: (3,) in world.
            feet: (k, 3) the feet's points.
            headings_rad: of the feet.
            shares: how far each foot has settled.
            frame_s: another time than a frame.
        """
        balancing, frame_s = self._balancing, self._frame_s if frame_s is None else frame_s
        if not shares or min(shares) < SETTLED:
            self.shift *= math.exp(-frame_s / (FADE * balancing.time_s))
            return
        ahead_x = sum(math.cos(angle) for angle in headings_rad)
        ahead_y = sum(math.sin(angle) for angle in headings_rad)
        length = math.hypot(ahead_x, ahead_y)
        if length < 1e-6:
            return
        ahead_x, ahead_y = ahead_x / length, ahead_y / length
        mean = feet.mean(axis=0)
        gap_x, gap_y = float(centre_of_mass[0] - mean[0]), float(centre_of_mass[1] - mean[1])
        aside = feet[:, 1] * ahead_x - feet[:, 0] * ahead_y
        half_width = float(aside.max() - aside.min()) / 2
        ahead = _beyond(gap_x * ahead_x + gap_y * ahead_y - balancing.sole_centre_m, balancing.slack_m)
        beside = _beyond(gap_y * ahead_x - gap_x * ahead_y, half_width)
        rate = frame_s / balancing.time_s
        self.shift[0] -= rate * (ahead * ahead_x - beside * ahead_y)
        self.shift[1] -= rate * (ahead * ahead_y + beside * ahead_x)
        size = math.hypot(float(self.shift[0]), float(self.shift[1]))
        if size > balancing.most_m:
            self.shift *= balancing.most_m / size


def _beyond(value: float, slack: float) -> float:
    return math.copysign(max(abs(value) - slack, 0.0), value)
