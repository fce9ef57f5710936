"""What a controller is to follow: one frame of it, a window of frames, and the sources frames come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import CHANNELS, ChannelTable, mix_rotations
from runtime.clip import Clip
from runtime.robot import JointOrder

F64 = npt.NDArray[np.float64]
ON_FRAME = 1e-6
"""Frames; closer than this is that frame."""


class ReferenceFrame:
    """The reference at one instant, joints in POLICY order.

    Args:
        joints: n.
        channels: what else the reference carries (`channels.py`).

    Attributes:
        values: (2n + 16 + channels,) everything below, in this order, as one array; the others are views of it.
        joint_pos, joint_vel: (n,) rad, rad/s.
        root_pos: (3,) in world, m; [2] is the height.
        root_rpy: (3,) roll, pitch, yaw, rad (the blend runs in these: both ends are near upright).
        root_quat_wxyz: (4,) the same rotation.
        root_lin_vel, root_ang_vel: (3,) in the reference's own base frame, m/s, rad/s.
        channels: name -> view of the values of each channel.
    """

    def __init__(self, joints: int, channels: ChannelTable | None = None) -> None:
        self._table = channels or ChannelTable()
        self.values: F64 = np.zeros(2 * joints + 16 + self._table.size)
        self.joint_pos: F64 = self.values[:joints]
        self.joint_vel: F64 = self.values[joints : 2 * joints]
        root = self.values[2 * joints :]
        self.root_pos: F64 = root[0:3]
        self.root_rpy: F64 = root[3:6]
        self.root_quat_wxyz: F64 = root[6:10]
        self.root_lin_vel: F64 = root[10:13]
        self.root_ang_vel: F64 = root[13:16]
        self.root_quat_wxyz[0] = 1
        self.extra: F64 = root[16:]
        self.extra[:] = self._table.idle()
        self.channels: dict[str, F64] = {name: self.extra[place] for name, place in self._table.places.items()}

    def copy(self) -> ReferenceFrame:
        """Another frame of the same make with the same values."""
        frame = ReferenceFrame(len(self.joint_pos), self._table)
        frame.copy_from(self)
        return frame

    def copy_from(self, other: ReferenceFrame) -> None:
        """Take every value of another frame."""
        self.values[:] = other.values

    def blend(self, a: ReferenceFrame, b: ReferenceFrame, s: float) -> None:
        """(1 - s) a + s b of every quantity; the yaw turns the short way."""
        turn = rotation.wrapped(b.root_rpy - a.root_rpy)
        rpy = a.root_rpy + s * turn
        extra = self._table.mix(a.extra, b.extra, s) if self.channels else None
        self.values[:] = (1 - s) * a.values + s * b.values
        if extra is not None:
            self.extra[:] = extra
        self.root_rpy[:] = rpy
        self.root_quat_wxyz[:] = rotation.quat_from_rpy(*rpy)

    def stop(self) -> None:
        """Freeze: all velocities to zero."""
        self.joint_vel[:] = 0
        self.root_lin_vel[:] = 0
        self.root_ang_vel[:] = 0
        for place in self._table.rates:
            self.extra[place] = 0


class ReferenceSource(Protocol):
    """Anything that knows the reference at a time since its own start."""

    def sample(self, time_s: float, out: ReferenceFrame) -> None:
        """The reference at `time_s` into `out`."""
        ...


class ClipReference:
    """A clip in a controller's joint order.

    Args:
        clip: the motion.
        order: of the frames to fill.
        rest_at_end: velocities are zero at and after the last frame, else those of the last frame.
    """

    def __init__(self, clip: Clip, order: JointOrder, *, rest_at_end: bool = True) -> None:
        self.clip, self._rest_at_end = clip, rest_at_end
        self._index = clip.order.index_of(order)
        self._joint_pos = np.ascontiguousarray(clip.joint_pos[:, self._index])
        self._joint_vel = np.ascontiguousarray(clip.joint_vel[:, self._index])

    def sample(self, time_s: float, out: ReferenceFrame) -> None:
        """Clamped to the clip; channels that the clip lacks are left as they are."""
        clip, last = self.clip, len(self._joint_pos) - 1
        place = min(max(time_s * clip.fps, 0.0), float(last))
        if abs(place - round(place)) < ON_FRAME:  # 0.58 s at 50 Hz is 28.999999999999996: the velocity is frame 29's
            place = float(round(place))
        low = min(int(place), last)
        high, s = min(low + 1, last), place - low
        out.joint_pos[:] = (1 - s) * self._joint_pos[low] + s * self._joint_pos[high]
        out.joint_vel[:] = self._joint_vel[low]
        out.root_pos[:] = (1 - s) * clip.root_pos[low] + s * clip.root_pos[high]
        out.root_quat_wxyz[:] = rotation.slerp(clip.root_quat_wxyz[low], clip.root_quat_wxyz[high], s)
        out.root_rpy[:] = rotation.roll_pitch_yaw(out.root_quat_wxyz)
        out.root_lin_vel[:] = rotation.rotate_inverse(out.root_quat_wxyz, clip.root_vel[low])
        out.root_ang_vel[:] = rotation.rotate_inverse(out.root_quat_wxyz, clip.root_ang_vel[low])
        for name, values in out.channels.items():
            rows = clip.channels.get(name)
            if rows is not None:
                values[:] = _between(name, rows[low], rows[high], s)
        if place >= last and self._rest_at_end:
            out.stop()


def _between(name: str, a: F64, b: F64, s: float) -> F64:
    """Of two frames of a channel, as what it is."""
    channel = CHANNELS[name]
    if channel.stepped:
        return a if s < 1 else b
    return mix_rotations(a, b, s) if channel.rotations else np.asarray((1 - s) * a + s * b)


class ReferenceWindow:
    """The frames a controller looks at, `offsets` control periods ahead (negative: behind).

    Attributes:
        offsets: sorted, each once.
        frames: one frame an offset, rewritten every tick.
    """

    def __init__(self, joints: int, offsets: Sequence[int], channels: Sequence[str] = ()) -> None:
        self.offsets = tuple(sorted(set(offsets) | {0}))
        self._joints, self._channels = joints, ChannelTable(channels)
        self.frames = tuple(self.new_frame() for _ in self.offsets)

    def new_frame(self) -> ReferenceFrame:
        """Another frame with the channels of this window."""
        return ReferenceFrame(self._joints, self._channels)

    def at(self, offset: int) -> ReferenceFrame:
        """The frame `offset` control periods ahead."""
        return self.frames[self.offsets.index(offset)]

    @property
    def now(self) -> ReferenceFrame:
        """The frame of this instant."""
        return self.at(0)
