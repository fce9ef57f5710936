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
from runtime.channels import CHANNELS, ChannelTable, mix_rotations
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
STEPPED = frozenset({"token", *(name for name, channel in CHANNELS.items() if channel.stepped)})
"""Channels that are one or another thing, with nothing in between; a token of the next frame is not a jump either."""
IN_METRES = ("smpl_joints", "vr_position", "vr5_position")
LEAST_FRAMES = 10
"""Frames of a second before a ratio says anything."""


class StreamBuffer:
    """The frames of one stream, oldest first, in the order and units of a controller.

    Args:
        robot: whose table the frames' joints follow.
        order: of the controller.
        channels: what it reads besides joints and root.

    Attributes:
        count: frames kept; the newest stands last.
        times_ns: (FRAMES,) int64, the sender's clock.
        rows: (FRAMES, 2n + 7 + channels): joint_pos, joint_vel (POLICY order), root_pos, root_quat_wxyz, channels;
            `place`, `quat` and `extra` are the slices of the last three.
        newest_ns: when the newest was received.
        offset_ns: our clock minus the sender's, by the minimum filter.
        bad: unreadable frames in a row.
        refused, late, limited: frames that jumped, came too late or out of order, had to be limited; counted.
        has_other_form: the newest frame was of another protocol or joint list, or one was while somebody followed.
        jump_ns: sender's time of the first frame behind a jump, NEVER_NS without; `jump_from`: the last row before it.
        played_ns: sender's time that has been played; kept up to date by whoever plays.
        is_followed: somebody follows, so that nothing may begin anew; likewise.
    """

    def __init__(
        self, robot: Robot, order: JointOrder, limits: Limits, channels: ChannelTable | None = None
    ) -> None:
        n, self._channels = len(order), channels or ChannelTable()
        self.joints, width = n, 2 * n + 7 + self._channels.size
        self.place, self.quat, self.extra = (
            slice(2 * n, 2 * n + 3), slice(2 * n + 3, 2 * n + 7), slice(2 * n + 7, width)
        )
        places = {name: slice(self.extra.start + place.start, self.extra.start + place.stop)
                  for name, place in self._channels.places.items()}
        self._turning = [places[name] for name in places if CHANNELS[name].rotations]
        self._metres = [places[name] for name in IN_METRES if name in places]
        self._stepped = [places[name] for name in STEPPED if name in places]
        self._form = stream_form(pose_form(robot.order.names).names)
        self._record = np.zeros(1, stream_dtype(len(robot.joints), self._channels.size))
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
        self.rows: F64 = np.zeros((FRAMES, width))
        self._row: F64 = np.zeros(width)
        self._candidate: F64 = np.zeros(width)
        self.jump_from: F64 = np.zeros(width)
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
            self.late += not self._insert(sent_ns, received_ns)
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
        row[self.place], row[self.quat] = record["root_pos"], record["root_quat_wxyz"]
        if self._channels.size:
            row[self.extra] = record["channels"]
        if not math.isfinite(float(row.sum())):
            return False
        quat = row[self.quat]
        norm = math.sqrt(float(np.dot(quat, quat)))
        if abs(norm - 1) > NORM_TOLERANCE:
            return False
        quat /= norm
        for place in self._turning:
            quats = row[place].reshape(-1, 4)
            norms = np.linalg.norm(quats, axis=1, keepdims=True)
            if (np.abs(norms - 1) > NORM_TOLERANCE).any():
                return False
            quats /= norms
        return True

    def _is_far(self, other: F64) -> bool:
        """Whether the row just read is further from another than a motion gets in a frame."""
        n, row = self.joints, self._row
        turn = 2 * math.acos(min(1.0, abs(float(np.dot(row[self.quat], other[self.quat])))))
        return bool(
            np.abs(row[:n] - other[:n]).max() > self._jump_rad or turn > self._jump_rad
            or np.abs(row[self.place] - other[self.place]).max() > JUMP_M
        ) or self._has_far_channel(other)

    def _has_far_channel(self, other: F64) -> bool:
        row = self._row
        if any(np.abs(row[place] - other[place]).max() > JUMP_M for place in self._metres):
            return True
        for place in self._turning:
            cosines = np.abs((row[place] * other[place]).reshape(-1, 4).sum(axis=1))
            if 2 * math.acos(min(1.0, float(cosines.min()))) > self._jump_rad:
                return True
        return False

    def _insert(self, sent_ns: int, received_ns: int) -> bool:
        """A frame that was overtaken to its place; false for one that was there, was played, or does not fit there."""
        first = FRAMES - self.count
        at = first + int(np.searchsorted(self.times_ns[first:], sent_ns))
        if at == first or sent_ns < self.played_ns or self.times_ns[at] == sent_ns or self.jump_ns > self.played_ns:
            return False
        if self._is_far(self.rows[at - 1]) or self._is_far(self.rows[at]):
            return False
        is_limited = self._limit()
        for values, value in (
            (self.times_ns, sent_ns), (self._received_ns, received_ns), (self._was_limited, is_limited),
            (self.rows, self._row),
        ):
            values[: at - 1] = values[1:at]
            values[at - 1] = value
        self.count = min(self.count + 1, FRAMES)
        return True

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
        is_limited = self._limit()
        for values, newest in (
            (self.times_ns, sent_ns), (self._received_ns, received_ns), (self._was_limited, is_limited),
            (self.rows, self._row),
        ):
            values[:-1] = values[1:]
            values[-1] = newest
        self.count = min(self.count + 1, FRAMES)
        self.newest_ns = received_ns

    def _limit(self) -> bool:
        """Bring the row within the joints' limits; whether it was outside."""
        joints = self._row[: 2 * self.joints]
        is_limited = bool((joints < self._low).any() or (joints > self._high).any())
        np.maximum(joints, self._low, out=joints)
        np.minimum(joints, self._high, out=joints)
        self.limited += is_limited
        return is_limited

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
        """The stream at a time of the sender into `out`, a row, clamped to what is there.

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
        self.mix(self.rows[low], self.rows[high], s, out)
        if low != high:
            self._bend(low, high, s, out)
        return low, high

    def _bend(self, low: int, high: int, s: float, out: F64) -> None:
        """Joints and place along a cubic through the frames around: across a gap a line would have corners.

        Slopes are those of parabolas through three frames (times uneven),
        not what senders say velocities are: some send zeros. Within the joints' limits.
        """
        span_ns = float(self.times_ns[high] - self.times_ns[low])
        rise = self.rows[high] - self.rows[low]
        bent = (1 - s) * (1 - s) * s * self._turn(low - 1, low, rise, span_ns)
        bent += s * s * (s - 1) * self._turn(high, high + 1, rise, span_ns)
        n = self.joints
        out[:n] = np.minimum(np.maximum(out[:n] + bent[:n], self._low[:n]), self._high[:n])
        out[self.place] += bent[self.place]

    def _turn(self, first: int, last: int, rise: F64, span_ns: float) -> Any:
        """How much the slope at an end of an interval differs from the line's, times the interval; beside a jump not.

        Args:
            first, last: the frames of the interval on the other side of that end.
            rise, span_ns: of the interval.
        """
        if first < FRAMES - self.count or last >= FRAMES or self.times_ns[first] < self.jump_ns <= self.times_ns[last]:
            return 0.0
        beside_ns = float(self.times_ns[last] - self.times_ns[first])
        beside = (self.rows[last] - self.rows[first]) * (span_ns / beside_ns)
        return (beside - rise) * (span_ns / (span_ns + beside_ns))

    def mix(self, a: F64, b: F64, s: float, out: F64) -> None:
        """(1 - s) a + s b of rows; rotations go the short way, and what has nothing in between is a's until b's."""
        quat = self.quat
        turned = rotation.slerp(a[quat], b[quat], s)
        steps = [(place, (b if s >= 1 else a)[place].copy()) for place in self._stepped]
        turns = [(place, mix_rotations(a[place], b[place], s)) for place in self._turning]
        out[:] = (1 - s) * a + s * b
        out[quat] = turned
        for place, values in (*steps, *turns):
            out[place] = values
