"""Messages of SONIC's protocol into frames of the run's own stream. Pure: bytes and times in, records out.

What the reference program does by resetting its playback (`streamed_motion_merger.hpp` of NVlabs/GR00T-WholeBodyControl
@ 1983e88), here only ever moves frames in time: a frame seen before is dropped, one that was overtaken takes its place,
a hole is left to the jitter buffer, numbers that begin anew go on at the time they arrive. A pose that jumps with them
is refused or blended over to further on (`stream_buffer.py`); nothing snaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.channels import HAND_JOINTS, HUGE, ChannelTable
from runtime.operator_message import pose_form, stream_form
from runtime.packed_message import HAND, JOINTS, ORDER, Command, Decoder, Planner, Pose, Reject
from runtime.records import stream_dtype
from runtime.robot import JointOrder, Robot
from runtime.smpl_wrists import wrists
from runtime.stream_clock import SourceClock
from runtime.stream_human import StreamHuman
from runtime.stream_root import StreamRoot, turned, turned_step

WRISTS = slice(23, JOINTS)
MOST_MISSING = 205
"""Frames: numbers further ahead or behind begin anew (200 and 5 of history, in the same merger)."""
OLD_IN_A_ROW = 10
"""Messages without a new frame, one after the other, that rise: a sender that began anew with small numbers."""
LATE_FRAMES = 50
SEEN = 256
JOINTS_ALONE = (1,)
OTHER_FORM = 0
"""Of records that say no more than that the protocol changed."""


def versions_for(channels: ChannelTable) -> tuple[int, ...]:
    """The protocol versions that bring what a controller reads."""
    if "token" in channels.names:
        return (4,)
    return (2, 3) if "smpl_joints" in channels.names else (1,)


def hands_row(hands: Any) -> Any:
    """(16,) of channel `hand_joints` from (2, 7) rad: a hand with a number that is none is not given."""
    is_given = np.isfinite(hands).all(axis=1, keepdims=True)
    return np.concatenate([is_given, np.where(is_given, hands, 0.0)], axis=1).reshape(-1)


class StreamIntake:
    """One stream on its way in.

    Args:
        robot: whose table the records' joints follow; it has the protocol's 29.
        channels: what records carry besides.
        default_q: (n,) rad in the order of the robot's table, for joints that a version does not bring.
        height_m: the root's, where feet cannot tell.
        push: takes each record, which is valid until the next.
        human: makes what turns SMPL frames into joints, where the controller follows joints; at the first such frame.

    Attributes:
        counts: messages and frames by what became of them.
        newest_ns: when the newest frame arrived, 0 before the first.
        starts, stops: gestures of topic `command`.
        planner, planner_ns: the newest message of topic `planner`, None before, and when it arrived.
        hands: (2, 7) rad, left first, NaN where none came.
        version: of the newest pose, 0 before.
    """

    def __init__(
        self, robot: Robot, channels: ChannelTable, default_q: Any, height_m: float, push: Callable[[Any], None],
        topic: str = "pose", human: Callable[[], StreamHuman] | None = None,
    ) -> None:
        self._decoder, self._channels, self._push = Decoder(topic), channels, push
        self._versions = versions_for(channels)
        self._make_human = human if self._versions == JOINTS_ALONE else None
        if self._make_human is not None:
            self._versions = (*self._versions, 2, 3)
        self.human: StreamHuman | None = None
        self._own_refusal = ""
        self._index, self._default_q = JointOrder(ORDER).index_of(robot.order), np.array(default_q, np.float64)
        self._wrists = np.flatnonzero(self._index >= WRISTS.start)
        self._form = stream_form(pose_form(robot.order.names).names)
        self.record = np.zeros(1, stream_dtype(len(robot.joints), channels.size))
        self._idle = channels.idle()
        self._root, self._height_m = StreamRoot(robot, height_m), height_m
        self._place = np.zeros(2)
        self._clock = SourceClock()
        self._last, self._was_batch, self._retargeted = -1, False, -1
        self._seen, self._located = np.full(SEEN, -1, np.int64), np.full(SEEN, -1, np.int64)
        self._places = np.zeros((SEEN, 3))
        self._old, self._old_number = 0, -1
        self._heading_rad = 0.0
        self._sequence = 0
        self.counts: Counter[str] = Counter()
        self.starts = self.stops = self.planner_ns = self.newest_ns = self.version = 0
        self.planner: Planner | None = None
        self.hands = np.full((2, HAND), np.nan)

    def take(self, data: bytes, received_ns: int) -> Reject | None:
        """One message; why it was not taken, None when it was."""
        message = self._decoder.decode(data)
        if isinstance(message, Reject):
            self.counts["malformed"] += 1
            self.counts[f"malformed: {message.words}"] += 1
            return message
        self.counts["messages"] += 1
        if isinstance(message, Command):
            self.starts += message.start and not message.stop
            self.stops += message.stop
        elif isinstance(message, Planner):
            self.planner, self.planner_ns = message, received_ns
            self.counts["planner"] += 1
        else:
            self._take_pose(message, received_ns)
        return None

    def _take_pose(self, pose: Pose, received_ns: int) -> None:
        before, self.version = self.version, pose.version
        if pose.version in (2, 3) and self._make_human is not None and self.human is None:
            self._open_human(self._make_human)
        if pose.version not in self._versions or before not in (0, pose.version):
            self.counts["other version"] += 1
            self._say_other_form(received_ns)
            self._last, self._clock = -1, SourceClock()
            if pose.version not in self._versions:
                return
        self.hands[:] = pose.hands
        numbers, newest = pose.frame_index, int(pose.frame_index[-1])
        if pose.version == 4 and newest <= self._last:
            numbers[0] = newest = self._last + 1  # "for logging only": some senders leave it at zero
        if self._last < 0:
            self._begin(pose, received_ns)
        elif self._has_begun_anew(newest, pose.frames):
            self.counts["restarts"] += 1
            self._begin(pose, received_ns)
        self._take_frames(pose, received_ns)

    def _open_human(self, make: Callable[[], StreamHuman]) -> None:
        """At the first SMPL frame: its kinematics are not everybody's."""
        try:
            self.human = make()
        except BridgeError as error:
            self._make_human, self._versions, self._own_refusal = None, JOINTS_ALONE, str(error)

    @property
    def refusal(self) -> str:
        """Why SMPL frames are not followed by a controller of joints; "" where they are, or none came."""
        return self.human.refusal if self.human is not None else self._own_refusal

    def _has_begun_anew(self, newest: int, frames: int) -> bool:
        """Whether these numbers go on from the last ones, or are another run of them."""
        last = self._last
        if not -MOST_MISSING <= newest - last <= MOST_MISSING + frames:
            return True
        if newest > last:
            self._old = 0
        else:
            self._old = self._old + 1 if newest > self._old_number else 0
            self._old_number = newest
        return self._old >= OLD_IN_A_ROW

    def _begin(self, pose: Pose, received_ns: int) -> None:
        """Of a run of numbers the newest is the first; what it brings besides is before its time."""
        self._last, self._old, self._old_number = int(pose.frame_index[-1]) - 1, 0, -1
        self._retargeted = -1
        self._seen[:] = self._located[:] = -1
        for number in pose.frame_index[:-1].tolist():
            self._seen[number % SEEN] = number
        self._was_batch = False
        self._root.forget()
        if self.human is not None:
            self.human.forget()
        if self._clock.is_known:
            self._clock.restart(received_ns)

    def _take_frames(self, pose: Pose, received_ns: int) -> None:
        first, newest, last = int(pose.frame_index[0]), int(pose.frame_index[-1]), self._last
        is_batch = pose.frames > 1 and first > last and (first == last + 1 or self._was_batch)
        if newest > last:
            self._was_batch, self._last = is_batch, newest
            if "timestamp_monotonic" not in pose.has:
                self._clock.advance(newest - last, newest - first if is_batch else 0, received_ns)
            self._heading_rad += pose.heading_increment_rad
            self.counts["missing"] += max(0, first - last - 1)
        sent_ns = self._time_of(pose, 0 if is_batch else pose.frames - 1)
        for i in range(pose.frames):
            number = int(pose.frame_index[i])
            slot = number % SEEN
            if self._seen[slot] == number or number < self._last - LATE_FRAMES:
                self.counts["repeated"] += 1
                continue
            self._seen[slot] = number
            source_ns = self._time_of(pose, i)
            if source_ns is None or sent_ns is None:
                continue
            self.counts["overtaken"] += number <= last
            self._fill(pose, i, source_ns, received_ns + max(0, source_ns - sent_ns), is_new=number > last)
            self.newest_ns = received_ns if number > last else self.newest_ns

    def _time_of(self, pose: Pose, i: int) -> int | None:
        """When frame i was meant, ns; None while the clock is being found."""
        behind = int(pose.frame_index[-1]) - int(pose.frame_index[i])
        if "timestamp_monotonic" in pose.has:
            own_s, newest_s = float(pose.time_s[i]), float(pose.time_s[-1])
            return round((own_s if own_s == own_s else newest_s - behind * self._clock.period_ns * 1e-9) * 1e9)
        if not self._clock.is_known:
            return None
        return self._clock.time_ns - round((self._last - int(pose.frame_index[i])) * self._clock.period_ns)

    def _say_other_form(self, received_ns: int) -> None:
        record = self.record
        for name in ("joint_pos", "joint_vel", "root_pos", "root_quat_wxyz"):
            record[name] = np.nan
        record["form"], record["source_ns"], record["received_ns"] = OTHER_FORM, received_ns, received_ns
        self._send()

    def _send(self) -> None:
        self._sequence += 1
        self.record["sequence"] = self._sequence
        self._push(self.record)

    def _fill(self, pose: Pose, i: int, source_ns: int, received_ns: int, *, is_new: bool) -> None:
        record, version = self.record[0], pose.version
        record["form"], record["source_ns"], record["received_ns"] = self._form, source_ns, received_ns
        q, dq = record["joint_pos"], record["joint_vel"]
        q[:], dq[:] = self._default_q, 0
        if version == 1:
            q[:], dq[:] = pose.joint_pos[i, self._index], pose.joint_vel[i, self._index]
        elif version in (2, 3) and self._make_human is None:
            row = pose.joint_pos[i, WRISTS] if "joint_pos" in pose.has else wrists(pose.smpl_pose[i])
            q[self._wrists] = np.asarray(row)[self._index[self._wrists] - WRISTS.start]
        quat = pose.body_quat_wxyz[i] if "body_quat" in pose.has else np.array([1.0, 0, 0, 0])
        norm = float(np.sqrt(quat @ quat))
        is_sound = abs(norm - 1) < 0.01 and bool(np.isfinite(q).all())
        heading = turned(quat / norm if is_sound else quat, self._heading_rad)
        record["root_quat_wxyz"] = heading
        record["root_pos"] = (*self._place, self._height_m)
        if version in (2, 3) and self._make_human is not None:
            if not is_new:
                return  # a causal solver cannot go back; the gap is bridged
            self._retarget(record, pose, i, heading if is_sound else None)
        if version == 1 and is_sound:
            self._locate(record, q, quat / norm, int(pose.frame_index[i]), is_new=is_new)
        if self._channels.size:
            self._fill_channels(record["channels"], pose, i, heading)
        self.counts["frames"] += 1
        self._send()

    def _retarget(self, record: Any, pose: Pose, i: int, quat: Any) -> None:
        """A human's frame as the robot's; what cannot be read is not finite."""
        assert self.human is not None
        number = int(pose.frame_index[i])
        steps, self._retargeted = number - self._retargeted if self._retargeted >= 0 else 1, number
        joints, body = pose.smpl_joints[i], pose.smpl_pose[i]
        is_sane = quat is not None and float(np.abs(joints).max()) < HUGE and float(np.abs(body).max()) < HUGE
        if not is_sane or not self.human.advance(joints, body, quat, steps):
            record["joint_pos"] = np.nan
            self.counts["not retargeted"] += 1
            return
        frame = self.human.frame
        record["joint_pos"], record["joint_vel"] = frame.joint_pos, frame.joint_vel
        record["root_pos"], record["root_quat_wxyz"] = frame.root_pos, frame.root_quat_wxyz

    def _locate(self, record: Any, q: Any, quat: Any, number: int, *, is_new: bool) -> None:
        """The root from the feet; of an overtaken frame it is between those of the frames around it."""
        if is_new:
            before = self._root.place[:2].copy()
            self._root.advance(q.astype(np.float64), quat)
            self._place += turned_step(self._root.place[:2] - before, self._heading_rad)
            place = (*self._place, float(self._root.place[2]))
        else:
            place = self._between(number)
        record["root_pos"] = self._places[number % SEEN] = place
        self._located[number % SEEN] = number

    def _between(self, number: int) -> Any:
        """(3,) where the root was in a frame that comes late, from its neighbours."""
        low, high = (next((other for other in range(number + step, number + step * LATE_FRAMES, step)
                           if other <= self._last and self._located[other % SEEN] == other), None) for step in (-1, 1))
        if low is None or high is None:
            known = low if high is None else high
            return (*self._place, float(self._root.place[2])) if known is None else self._places[known % SEEN]
        s = (number - low) / (high - low)
        return (1 - s) * self._places[low % SEEN] + s * self._places[high % SEEN]

    def _fill_channels(self, out: Any, pose: Pose, i: int, quat: Any) -> None:
        out[:] = self._idle
        for name, place in self._channels.places.items():
            if name == "smpl_joints":
                out[place] = pose.smpl_joints[i]
            elif name == "smpl_pose":
                out[place] = pose.smpl_pose[i]
            elif name == "smpl_quat_wxyz":
                out[place] = quat
            elif name == "token":
                out[place] = pose.token
            elif name == HAND_JOINTS:
                out[place] = hands_row(pose.hands)
            elif name in pose.has and name in ("vr_position", "vr_orientation", "vr_compliance"):
                out[place] = getattr(pose, name)
