"""What the hands of a motion do and when: states that stand until the next one, never anything in between.

A clip carries them as channel `hand_states` (N, 2), left first: an index of `human_motion.HAND_STATES`, or -1, which
says nothing: the hand stays as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.hand_bus import SIDES
from runtime.clip import Clip
from runtime.human_motion import HAND_STATES
from runtime.reference import ON_FRAME

F64 = npt.NDArray[np.float64]
CHANNEL = "hand_states"
AS_BEFORE = -1


class HandEvent(NamedTuple):
    """A hand is told a state.

    Attributes:
        time_s: of the motion.
        side: LEFT or RIGHT.
        state: index of `human_motion.HAND_STATES`.
    """

    time_s: float
    side: int
    state: int

    def as_dict(self) -> dict[str, object]:
        """In words, for reports."""
        return {"at_s": round(self.time_s, 4), "hand": SIDES[self.side], "state": HAND_STATES[self.state]}


def filled(states: F64) -> F64:
    """(N, 2) states with each -1 replaced by the last state before it; those before the first stay."""
    out: F64 = states.copy()
    for column in out.T:
        known = np.where(column >= 0, np.arange(len(column)), -1)
        last = np.maximum.accumulate(known)
        column[last >= 0] = column[last[last >= 0]]
    return out


def beside(clip: Clip, other: Clip) -> Clip:
    """The clip with states where it or another has any: each stands until the next, and is lost with no frame."""
    if CHANNEL not in clip.channels and CHANNEL not in other.channels:
        return clip
    rows = clip.channels.get(CHANNEL)
    states = np.full((len(clip.joint_pos), 2), float(AS_BEFORE)) if rows is None else filled(rows)
    return replace(clip, channels={**clip.channels, CHANNEL: states})


def joined(first: F64, at: int, second: F64) -> F64:
    """The first motion's filled states up to a frame, then the second's; what these leave open is as the first ended.

    Not as it was at that frame: what the first was to do in the frames that are cut away is done where they are joined.
    """
    out: F64 = np.concatenate([first[:at], np.where(second == AS_BEFORE, first[-1], second)])
    return out


def with_events(clip: Clip, events: Sequence[HandEvent]) -> Clip:
    """The clip with events instead of what it has for those hands. Each stands from the first frame at its time on."""
    if not events:
        return clip
    states = clip.channels.get(CHANNEL)
    states = np.full((len(clip.joint_pos), 2), float(AS_BEFORE)) if states is None else states.copy()
    for side in {event.side for event in events}:
        states[:, side] = AS_BEFORE
    for event in sorted(events):
        states[math.ceil(event.time_s * clip.fps - ON_FRAME) :, event.side] = event.state
    return replace(clip, channels={**clip.channels, CHANNEL: states})


class HandTrack:
    """The hands of one motion.

    Attributes:
        events: each change, in the order of time; at time 0 what it begins with.
    """

    def __init__(self, clip: Clip) -> None:
        rows = clip.channels.get(CHANNEL)
        self._fps = clip.fps
        self._states = np.full((1, 2), AS_BEFORE, np.int32) if rows is None else filled(rows).astype(np.int32)
        before = np.concatenate([np.full((1, 2), AS_BEFORE, np.int32), self._states[:-1]])
        frames, sides = np.nonzero(self._states != before)
        self.events = tuple(HandEvent(frame / clip.fps, side, int(self._states[frame, side]))
                            for frame, side in zip(frames.tolist(), sides.tolist(), strict=True))

    def at(self, time_s: float) -> npt.NDArray[np.int32]:
        """(2,) the states at a time, clamped to the motion."""
        frame = math.floor(time_s * self._fps + ON_FRAME)
        row: npt.NDArray[np.int32] = self._states[min(max(frame, 0), len(self._states) - 1)]
        return row
