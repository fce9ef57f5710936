"""Simulated hands with a hidden truth: encoders that are off, ends elsewhere than the table's, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.hand_bus import SIDES, HandSample
from firmware_bridge.motor_bus import Q
from firmware_bridge.simulated_hands import F32, HandTable, SimulatedHands
from firmware_bridge.truth import HandJointTruth, Truth


class ImperfectHands(SimulatedHands):
    """`SimulatedHands` whose drives read and obey in shifted frames.

    Args:
        table, period_s: as there.
        joints: names, without the side, in the table's order.
        truth: its `hands` and `noise` count.

    Raises:
        BridgeError: the truth names a hand or a joint that there is none of.
    """

    def __init__(self, table: HandTable, joints: Sequence[str], truth: Truth, period_s: float = 0.002) -> None:
        super().__init__(table, period_s)
        unknown = [f"{side} {name}" for side, rows in truth.hands.items() for name in rows
                   if side not in SIDES or name not in joints]
        if unknown:
            raise BridgeError("truth", expected=f"left and right, joints among {', '.join(joints)}",
                              found=", ".join(unknown), what_to_do="correct `hands` of the truth's file")
        rows = [[truth.hands.get(side, {}).get(name, HandJointTruth()) for name in joints] for side in SIDES]
        self._offset = np.array([[row.encoder_offset_rad for row in line] for line in rows], np.float32)
        for room, key in ((self.room_lower_rad, "lower_rad"), (self.room_upper_rad, "upper_rad")):
            for side, line in enumerate(rows):
                for joint, row in enumerate(line):
                    end = getattr(row, key)
                    room[side, joint] = room[side, joint] if end is None else end
        self._noise, self._random = truth.noise, np.random.default_rng((truth.seed, 11))
        self._true = np.clip(self.sample.q, self.room_lower_rad, self.room_upper_rad)

    def command(self, side: int, block: F32) -> None:
        """A hand's new order, in the drives' own frame."""
        shifted = block.copy()
        shifted[:, Q] -= self._offset[side]
        super().command(side, shifted)

    def step(self) -> HandSample:
        """Advance by a period; returns `sample`, as the drives say it."""
        sample, noise, random = self.sample, self._noise, self._random
        sample.q[:] = self._true
        super().step()
        self._true[:] = sample.q
        sample.q[:] += self._offset + noise.q_rad * random.standard_normal(sample.q.shape).astype(np.float32)
        sample.dq[:] += noise.dq_rad_s * random.standard_normal(sample.q.shape).astype(np.float32)
        return sample
