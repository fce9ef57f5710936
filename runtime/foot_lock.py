"""Keeps a standing foot's target where it stood: contact by the human's foot, told with hysteresis, let go smoothly.

A foot stands when its joint is slow, and low beside the other foot or nearly still: a level of its own is no hindrance,
so steps and stools stay what they are. Only where it is on the floor plan is held; its height follows the human's.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime.retarget_table import Contact

F64 = npt.NDArray[np.float64]
STILL_SHARE = 0.3
"""Of the speed at which contact begins: a foot as slow as that stands at any height."""

SMOOTHING_S = 0.05
"""Of the foot's speed: differences of motion capture at 120 Hz jump by 0.3 m/s from frame to frame."""


class FootLock:
    """One foot.

    Args:
        contact: thresholds, in the human's metres.
        frame_s: between frames.

    Attributes:
        stands: whether it is in contact.
        share: how far it has settled there: from 0 to 1 and back within the time of release.
    """

    def __init__(self, contact: Contact, frame_s: float) -> None:
        self._contact, self._frame_s = contact, frame_s
        self._omega = 4.7 / contact.release_s  # 5 % is left after the time of release
        self._decay = math.exp(-self._omega * frame_s)
        self._smoothing = min(1.0, frame_s / SMOOTHING_S)
        self.reset()

    def reset(self) -> None:
        """As before the first frame."""
        self.stands, self._settled, self.share, self._speed = False, 0.0, 0.0, 0.0
        self._gap, self._rate = [0.0, 0.0], [0.0, 0.0]
        self._raw: tuple[float, float] | None = None
        self._anchor: tuple[float, float] | None = None

    def feel(self, speed_m_s: float, above_lower_m: float) -> None:
        """Whether it stands now.

        Args:
            speed_m_s: of the human's foot joint.
            above_lower_m: how far it is above the lower of the human's feet.
        """
        contact = self._contact
        self._speed += self._smoothing * (speed_m_s - self._speed)
        speed_m_s = self._speed
        if self.stands:
            self.stands = speed_m_s < contact.end_m_s
        else:
            low = above_lower_m < contact.height_m or speed_m_s < STILL_SHARE * contact.begin_m_s
            self.stands = speed_m_s < contact.begin_m_s and low
        step = self._frame_s / contact.release_s
        self._settled = min(1.0, self._settled + step) if self.stands else max(0.0, self._settled - step)
        self.share = self._settled * self._settled * (3 - 2 * self._settled)

    def hold(self, target: F64) -> None:
        """Moves a foot's target (3,), in place, to where it stood, or, let go, on its way back from there."""
        x, y = float(target[0]), float(target[1])
        before, self._raw = self._raw or (x, y), (x, y)
        if self._anchor is not None:
            gap_x, gap_y = self._anchor[0] - x, self._anchor[1] - y
            if self.stands and math.hypot(gap_x, gap_y) <= self._contact.most_drift_m:
                target[0], target[1] = self._anchor
                return
            self._anchor = None
            self._gap = [gap_x, gap_y]
            self._rate = [(before[0] - x) / self._frame_s, (before[1] - y) / self._frame_s]  # it begins to move at rest
        elif self.stands and math.hypot(*self._gap) < self._contact.most_drift_m / 2:
            self._anchor = x + self._gap[0], y + self._gap[1]
        for axis, raw in enumerate((x, y)):
            self._relax(axis)
            target[axis] = raw + self._gap[axis]

    def _relax(self, axis: int) -> None:
        """One frame of a critically damped way back, exactly integrated."""
        pull = self._rate[axis] + self._omega * self._gap[axis]
        self._gap[axis] = self._decay * (self._gap[axis] + pull * self._frame_s)
        self._rate[axis] = self._decay * (self._rate[axis] - self._omega * pull * self._frame_s)
