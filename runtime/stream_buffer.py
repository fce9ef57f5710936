"""Streamed frames on their way in: judged, put in their order, and kept for as long as the jitter buffer is deep.

What is not finite is decided before anything is limited. Times of frames are the sender's own; how far its clock is
from ours is the smallest difference between arrival and sending of the last seconds (a minimum filter: the frame that
waited least tells best).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.limits import Limits
from runtime.operator_message import pose_form, stream_form
from runtime.records import stream_dtype
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]
FRAMES = 256
"""Frames kept: 4 s of a 60 Hz stream, more than a second of any."""
WINDOW_NS = 1_000_000_000
OFFSET_NS = 5_000_000_000
"""Half of what the minimum filter looks back on; clocks of computers drift by less than 1 ms in it."""
RESTART_NS = 500_000_000
"""A clock that moved by more is another sender's."""
GAP_NS = 100_000_000
NEVER_NS = -(1 << 62)
FADE_NS = 500_000_000
"""How long it takes to get from the last frame before a jump to the stream behind it."""
JUMP_M = 0.3
"""A root that moves by more between two frames jumps; a run of 3 m/s bridges a gap of 100 ms with as much."""
NORM_TOLERANCE = 1e-2
LEAST_FRAMES = 10
"""Frames of a second before a ratio says anything."""


class StreamBuffer:
    """The frames of one stream, oldest first, in the order and units of a controller.

    Args:
        robot: whose table the frames' joints follow.
        order: of the controller.

    Attributes:
        count: frames kept; the newest stands last.
        times_ns: (FRAMES,) int64, the sender's clock.
        rows: (FRAMES, 2n + 7): joint_pos, joint_vel (POLICY order), root_pos, root_quat_wxyz.
        newest_ns: when the newest was received.
        offset_ns: our clock minus the sender's, by the minimum filter.
        bad: unreadable frames in a row.
        refused, late, limited: frames that jumped, came too late or out of order, had to be limited; counted.
        has_other_form: the newest frame was of another protocol or joint list, or one was while somebody followed.
        jump_ns: sender's time of the first frame behind a jump, NEVER_NS without; `jump_from`: the last row before it.
        played_ns: sender's time that has been played; kept up to date by whoever plays.
        is_followed: somebody follows, so that nothing may begin anew; likewise.
    """

    def __init__(self, robot: Robot, order: JointOrder, limits: Limits) -> None:
        n = len(order)
        self.joints = n
        self._form = stream_form(pose_form(robot.order.names).names)
        self._record = np.zeros(1, stream_dtype(len(robot.joints)))
        self._bytes = self._record.view(np.uint8)
        self._index = robot.order.index_of(order)
        motors = robot.motor_index(order)
        velocity = robot.column("velocity_rad_s")[motors].astype(np.float64)
        self._low = np.concatenate([robot.column("lower_rad")[motors].astype(np.float64), -velocity])
        self._high = np.concatenate([robot.column("upper_rad")[motors].astype(np.float64), velocity])
        self._jump_rad, self._ratio = limits.reference_jump_rad, limits.reference_limited_ratio
        self.times_ns = np.zeros(FRAMES, np.int64)
        self._received_ns = np.zeros(FRAMES, np.int64)
        self._was_limited = np.zeros(FRAMES, np.bool_)
        self.rows: F64 = np.zeros((FRAMES, 2 * n + 7))
        self._row: F64 = np.zeros(2 * n + 7)
        self._candidate: F64 = np.zeros(2 * n + 7)
        self.jump_from: F64 = np.zeros(2 * n + 7)
        self._has_candidate = False
        self.bad = self.refused = self.late = self.limited = 0
        self.has_other_form = False
        self.played_ns, self.is_followed = 0, False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.count = self.newest_ns = self.offset_ns = 0
        self.jump_ns = NEVER_NS
        self._offsets = [-NEVER_NS, -NEVER_NS]
        self._half_ns = 0
        self._has_candidate = False

    def take(self, data: bytes) -> None:
        """One record of the ring."""
        self._bytes[:] = np.frombuffer(data, np.uint8)
        record = self._record[0]
        sent_ns, received_ns = int(record["source_ns"]), int(record["received_ns"])
        is_other = int(record["form"]) != self._form
        self.has_other_form = is_other or (self.has_other_form and self.is_followed)
        if is_other:
            return
        if not self._read(record):
            self.bad += 1
            return
        self.bad = 0
        offset_ns = received_ns - sent_ns
        if not self.is_followed and self.count and (
            abs(offset_ns - self.offset_ns) > RESTART_NS
            or sent_ns - int(self.times_ns[-1]) > GAP_NS or self._is_far(self.rows[-1])
        ):
            self._begin_anew()
        self._follow_clock(offset_ns, received_ns)
        if self.count and (sent_ns <= int(self.times_ns[-1]) or (self.is_followed and sent_ns < self.played_ns)):
            self.late += 1
            return
        if self.count and self._is_far(self.rows[-1]) and not self._goes_on_from_a_jump(sent_ns):
            self.refused += 1
            return
        self._has_candidate = False
        self._append(sent_ns, received_ns)

    def _read(self, record: Any) -> bool:
        """The record into `_row`; false when it is no frame: not finite, or no unit quaternion."""
        n, row = self.joints, self._row
        row[:n], row[n : 2 * n] = record["joint_pos"][self._index], record["joint_vel"][self._index]
        row[2 * n : 2 * n + 3], row[2 * n + 3 :] = record["root_pos"], record["root_quat_wxyz"]
        if not math.isfinite(float(row.sum())):
            return False
        norm = math.sqrt(float(np.dot(row[-4:], row[-4:])))
        if abs(norm - 1) > NORM_TOLERANCE:
            return False
        row[-4:] /= norm
        return True

    def _is_far(self, other: F64) -> bool:
        """Whether the row just read is further from another than a motion gets in a frame."""
        n, row = self.joints, self._row
        turn = 2 * math.acos(min(1.0, abs(float(np.dot(row[-4:], other[-4:])))))
        return bool(
            np.abs(row[:n] - other[:n]).max() > self._jump_rad or turn > self._jump_rad
            or np.abs(row[2 * n : 2 * n + 3] - other[2 * n : 2 * n + 3]).max() > JUMP_M
        )

    def _goes_on_from_a_jump(self, sent_ns: int) -> bool:
        """A jump is believed when a second frame confirms it, and one at a time; then the stream is faded over to."""
        is_fading = self.played_ns < self.jump_ns + FADE_NS
        if not self._has_candidate or self._is_far(self._candidate) or is_fading:
            self._candidate[:] = self._row
            self._has_candidate = True
            return False
        self.jump_from[:] = self.rows[-1]
        self.jump_from[self.joints : 2 * self.joints] = 0
        self.jump_ns = sent_ns
        return True

    def _append(self, sent_ns: int, received_ns: int) -> None:
        """The row within the joints' limits to the end; the oldest falls out."""
        joints = self._row[: 2 * self.joints]
        is_limited = bool((joints < self._low).any() or (joints > self._high).any())
        np.maximum(joints, self._low, out=joints)
        np.minimum(joints, self._high, out=joints)
        self.limited += is_limited
        for values, newest in (
            (self.times_ns, sent_ns), (self._received_ns, received_ns), (self._was_limited, is_limited),
            (self.rows, self._row),
        ):
            values[:-1] = values[1:]
            values[-1] = newest
        self.count = min(self.count + 1, FRAMES)
        self.newest_ns = received_ns

    def _follow_clock(self, offset_ns: int, received_ns: int) -> None:
        if received_ns - self._half_ns > OFFSET_NS:
            self._offsets = [self._offsets[1], offset_ns]
            self._half_ns = received_ns
        self._offsets[1] = min(self._offsets[1], offset_ns)
        self.offset_ns = min(self._offsets)

    def limited_ratio(self, now_ns: int) -> float:
        """Share of the frames of the last second that had to be limited."""
        first = FRAMES - self.count
        recent = self._received_ns[first:] > now_ns - WINDOW_NS
        frames = int(np.count_nonzero(recent))
        return float(np.count_nonzero(recent & self._was_limited[first:])) / frames if frames >= LEAST_FRAMES else 0.0

    def row_at(self, sent_ns: int, out: F64) -> tuple[int, int]:
        """The stream at a time of the sender into `out` (2n + 7,), clamped to what is there.

        Returns:
            The places of the frames before and after: the same one where there is nothing to interpolate.
        """
        first = FRAMES - self.count
        high = first + int(np.searchsorted(self.times_ns[first:], sent_ns))
        low = max(high - 1, first)
        if high < FRAMES and self.times_ns[high] == sent_ns:
            low = high
        high = min(high, FRAMES - 1)
        if high != low and low >= first and self.jump_ns == self.times_ns[high]:
            high = low  # nothing lies between the two sides of a jump
        span = int(self.times_ns[high] - self.times_ns[low])
        s = (sent_ns - int(self.times_ns[low])) / span if span > 0 else 0.0
        a, b = self.rows[low], self.rows[high]
        out[:] = (1 - s) * a + s * b
        out[-4:] = rotation.slerp(a[-4:], b[-4:], s)
        return low, high
