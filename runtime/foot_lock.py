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
    """

    def __init__(self, contact: Contact, frame_s: float) -> None:
        self._contact, self._frame_s = contact, frame_s
        self._decay = math.exp(-3.0 * frame_s / contact.release_s)  # 5 % is left after the time of release
        self.reset()

    def reset(self) -> None:
        """As before the first frame."""
        self.stands = False
        self._offset_x = self._offset_y = 0.0
        self._anchor_x = self._anchor_y = 0.0

    def hold(self, target: F64, speed_m_s: float, above_lower_m: float) -> None:
        """Moves a foot's target (3,), in place, to where it stood.

        Args:
            speed_m_s: of the human's foot joint.
            above_lower_m: how far it is above the lower of the human's feet.
        """
        contact = self._contact
        x, y = float(target[0]), float(target[1])
        if self.stands:
            drift = math.hypot(self._anchor_x - x, self._anchor_y - y)
            self.stands = speed_m_s < contact.end_m_s and drift <= contact.most_drift_m
            if not self.stands:
                self._offset_x, self._offset_y = self._anchor_x - x, self._anchor_y - y
        elif self._begins(speed_m_s, above_lower_m):
            self.stands = True
            self._anchor_x, self._anchor_y = x + self._offset_x, y + self._offset_y
        if self.stands:
            target[0], target[1] = self._anchor_x, self._anchor_y
            return
        self._offset_x *= self._decay
        self._offset_y *= self._decay
        target[0], target[1] = x + self._offset_x, y + self._offset_y

    def _begins(self, speed_m_s: float, above_lower_m: float) -> bool:
        contact = self._contact
        if math.hypot(self._offset_x, self._offset_y) > contact.most_drift_m / 2:
            return False  # still on its way back from a lock that had drifted away
        return speed_m_s < contact.begin_m_s and (
            above_lower_m < contact.height_m or speed_m_s < STILL_SHARE * contact.begin_m_s)
