"""A sender of reference frames on simulated time: the run's own clip, streamed on from where it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from runtime.clip import load_clip
from runtime.operator_message import pose_form, stream_form
from runtime.records import stream_dtype
from runtime.reference import ClipReference, ReferenceFrame
from runtime.robot import Robot

PERIOD_NS, DELAY_NS = 20_000_000, 5_000_000
CLOCK_NS = -123_456_789_000
"""The sender's clock minus ours."""


class Streamer:
    """Frames of a clip, 50 a second, 5 ms under way.

    Args:
        clip: whose motion.
        play_s: where in it the first frame stands.

    Attributes:
        change: of each record before it is sent, with the seconds since it was set; false drops it.
        is_sending: nothing is sent otherwise, though time goes on.
        harmed: records that `change` has seen.
    """

    def __init__(self, robot: Robot, clip: str, play_s: float, now_ns: int) -> None:
        self._source = ClipReference(load_clip(clip, robot), robot.order)
        self._frame = ReferenceFrame(len(robot.joints))
        self._record = np.zeros(1, stream_dtype(len(robot.joints)))
        self._form = stream_form(pose_form(robot.order.names).names)
        self._began_ns, self._play_s, self._sent = now_ns, play_s, 0
        self.is_sending = True
        self.change: Callable[[Any], bool] | None = None
        self.harmed = 0

    def frames(self, now_ns: int) -> Iterator[bytes]:
        """Those that arrive by now and have not before."""
        while self._began_ns + self._sent * PERIOD_NS + DELAY_NS <= now_ns:
            made_ns = self._began_ns + self._sent * PERIOD_NS
            if self.is_sending:
                self._fill(made_ns)
                if self._is_sent():
                    yield self._record.tobytes()
            self._sent += 1

    def _is_sent(self) -> bool:
        if self.change is None:
            return True
        self.harmed += 1
        return self.change(self._record[0])

    def _fill(self, made_ns: int) -> None:
        record, frame = self._record, self._frame
        self._source.sample(self._play_s + (made_ns - self._began_ns) * 1e-9, frame)
        record["source_ns"], record["received_ns"] = made_ns + CLOCK_NS, made_ns + DELAY_NS
        record["sequence"], record["form"] = self._sent, self._form
        record["joint_pos"][0], record["joint_vel"][0] = frame.joint_pos, frame.joint_vel
        record["root_pos"][0], record["root_quat_wxyz"][0] = frame.root_pos, frame.root_quat_wxyz
