"""Clips one after the other as one motion that grows at its end, at a cost that does not grow with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from runtime import hand_track
from runtime.clip import Clip, make_clip
from runtime.errors import Refused
from runtime.resample import at_rate
from runtime.robot import Robot
from runtime.stitch import BLEND_S, RATE_HZ, TAIL_S, Seam, part, stitch

F64 = npt.NDArray[np.float64]


class Tape:
    """Clips joined by `stitch`, at 50 Hz.

    Only the last seconds, which a seam looks at and may cut, are joined anew with each clip; what lies before is put
    aside for good.

    Args:
        longest_s: more is refused.

    Attributes:
        seams: where clips meet; `time_s` counts from the tape's start.
        tail: the end that a next clip is joined to; it begins at frame `settled`. None while nothing is there.
        settled: frames put aside.
    """

    def __init__(self, robot: Robot, longest_s: float) -> None:
        self._robot, self._longest_s = robot, longest_s
        self._parts: list[Clip] = []
        self._starts: list[int] = []
        self.seams: list[Seam] = []
        self.tail: Clip | None = None
        self.settled = 0

    def copy(self) -> Tape:
        """Another one with the same motion, to grow by itself."""
        other = Tape(self._robot, self._longest_s)
        other._parts, other._starts, other.seams = list(self._parts), list(self._starts), list(self.seams)
        other.tail, other.settled = self.tail, self.settled
        return other

    @property
    def frames(self) -> int:
        """How many."""
        return self.settled + (0 if self.tail is None else len(self.tail.joint_pos))

    def append(self, clip: Clip, blends_s: Sequence[float] = BLEND_S, earliest: int = 0) -> int:
        """Goes on with a clip: the first frame that is another than before.

        Args:
            earliest: frame of the tape before which nothing may change.

        Raises:
            Refused: as `stitch`; longer than the longest.
        """
        seam: Seam | None = None
        if self.tail is None:
            joined = at_rate(clip, RATE_HZ)
        else:
            joined, seam = stitch(self.tail, clip, self._robot, blends_s, earliest - self.settled)
        if self.settled + len(joined.joint_pos) > self._longest_s * RATE_HZ + 1:
            raise Refused("chain", expected=f"at most {self._longest_s:g} s", found="more", what_to_do="repeat less")
        changed = self.settled
        if seam is not None:
            changed += round(seam.time_s * RATE_HZ)
            self.seams.append(replace(seam, time_s=changed / RATE_HZ))
        keep = len(joined.joint_pos) - round(TAIL_S * RATE_HZ)
        if keep > round(TAIL_S * RATE_HZ):
            self._parts.append(part(joined, 0, keep))
            self._starts.append(self.settled)
            self.settled += keep
            joined = part(joined, keep, None)
        self.tail = joined
        return changed

    def at(self, frame: int) -> tuple[Clip, int]:
        """Where a frame is: a clip, and its number there; clamped to the tape."""
        assert self.tail is not None
        if frame >= self.settled:
            return self.tail, min(frame - self.settled, len(self.tail.joint_pos) - 1)
        place = max(bisect_right(self._starts, frame) - 1, 0)
        return self._parts[place], max(frame, 0) - self._starts[place]

    def clip(self, name: str) -> Clip:
        """All of it."""
        assert self.tail is not None
        parts = [*self._parts, self.tail]
        parts = [hand_track.beside(one, self.tail) for one in parts]
        channels = {key: np.concatenate([one.channels[key] for one in parts]) for key in self.tail.channels}
        return make_clip(
            name, RATE_HZ, self.tail.order, np.concatenate([one.joint_pos for one in parts]),
            np.concatenate([one.root_pos for one in parts]), np.concatenate([one.root_quat_wxyz for one in parts]),
            channels, joints=self.tail.joints)
