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
        self._decay = math.exp(-3.0 * frame_s / contact.release_s)  # 5 % is left after the time of release
        self.reset()

    def reset(self) -> None:
        """As before the first frame."""
        self.stands, self.share = False, 0.0
        self._offset_x = self._offset_y = 0.0
        self._anchor: tuple[float, float] | None = None

    def feel(self, speed_m_s: float, above_lower_m: float) -> None:
        """Whether it stands now.

        Args:
            speed_m_s: of the human's foot joint.
            above_lower_m: how far it is above the lower of the human's feet.
        """
        contact = self._contact
        if self.stands:
            self.stands = speed_m_s < contact.end_m_s
        else:
            low = above_lower_m < contact.height_m or speed_m_s < STILL_SHARE * contact.begin_m_s
            self.stands = speed_m_s < contact.begin_m_s and low
        step = self._frame_s / contact.release_s
        self.share = min(1.0, self.share + step) if self.stands else max(0.0, self.share - step)

    def hold(self, target: F64) -> None:
        """Moves a foot's target (3,), in place, to where it stood."""
        x, y = float(target[0]), float(target[1])
        if self._anchor is not None:
            anchor_x, anchor_y = self._anchor
            drift = math.hypot(anchor_x - x, anchor_y - y)
            if not self.stands or drift > self._contact.most_drift_m:
                self._offset_x, self._offset_y = anchor_x - x, anchor_y - y
                self._anchor = None
        elif self.stands and math.hypot(self._offset_x, self._offset_y) < self._contact.most_drift_m / 2:
            self._anchor = x + self._offset_x, y + self._offset_y
        if self._anchor is not None:
            target[0], target[1] = self._anchor
            return
        self._offset_x *= self._decay
        self._offset_y *= self._decay
        target[0], target[1] = x + self._offset_x, y + self._offset_y
