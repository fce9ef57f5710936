"""The policy's part for hands: what the motion that plays now says of them. It has no bus and no gains."""

from __future__ import annotations

import numpy as np

from runtime.hand import HandModel
from runtime.hand_gate import NOTHING, STREAMED
from runtime.hand_track import HandEvent, HandTrack
from runtime.helm import Helm
from runtime.mux import Source
from runtime.packed_message import HAND
from runtime.pilot import Phase, Pilot
from runtime.records import hand_order_dtype
from runtime.stream_reference import StreamReference


class HandOrders:
    """What the hands are told at each policy tick; what was told last stands where the motion says nothing.

    Args:
        track: of the run's own motion, None where it has none.
        stream: what may be followed, None where nothing can.

    Attributes:
        record: (1,) `hand_order_dtype`.
    """

    def __init__(
        self, model: HandModel, pilot: Pilot, helm: Helm, track: HandTrack | None, stream: StreamReference | None
    ) -> None:
        self._pilot, self._helm, self._track, self._stream = pilot, helm, track, stream
        self._has_joints = len(model.joints) == HAND
        self.record = np.zeros(1, hand_order_dtype(len(model.joints)))
        self.record["state"] = NOTHING

    @property
    def events(self) -> tuple[HandEvent, ...]:
        """What the run's own motion will tell the hands."""
        return () if self._track is None else self._track.events

    def tick(self, now_ns: int) -> None:
        """After the pilot's tick: the record of `now_ns`."""
        record = self.record
        record["made_ns"] = now_ns
        record["sequence"] += 1
        state = record["state"][0]
        if self._helm.source is Source.STREAM:
            if self._stream is not None and self._has_joints:
                for side, (is_given, *q) in enumerate(self._stream.hands().tolist()):
                    if is_given:
                        state[side], record["q"][0, side] = STREAMED, q
        elif self._track is not None and self._pilot.phase in (Phase.PLAY, Phase.RESUME):
            told = self._track.at(self._pilot.play_time_s)
            np.copyto(state, told, where=told >= 0)
