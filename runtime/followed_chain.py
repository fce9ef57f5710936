"""A followed chain as a stream: its rows at their time, its file's news joined on. It has no clock of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime import hand_track
from runtime.chain import Action, Chain, read_chain
from runtime.chain_watch import ChainWatch
from runtime.channels import HAND_JOINTS, ChannelTable
from runtime.clip import Clip
from runtime.errors import Refused
from runtime.hand import HandModel
from runtime.manifest import Manifest
from runtime.open_chain import STAND, ChainBuilder, OpenChain
from runtime.operator_message import pose_form, stream_form
from runtime.records import stream_dtype
from runtime.stitch import RATE_HZ, Seam

PERIOD_NS = round(1e9 / RATE_HZ)
LEAD_FRAMES = 10
"""What is sent while news are joined on, 0.2 s; twice as much each time that was too short."""
END_NS = 1_000_000_000
"""How long it has stood when a run ends: as the pilot settles after a motion."""
STALL_NS = 500_000_000
"""Rows that are later than this are not sent any more: the robot stands by then."""
MOST_NOTES = 50


class FollowedChain:
    """One chain's file, followed.

    Args:
        path: of the file.
        channels: of the records (`stream_needs`).
        push: takes each record, which is valid until the next.
        now_ns: when its first row is due.
        timeout_s: how long it stands and waits for more; None for ever.
        hands: what states of hands are sent as, where `channels` has hands.

    Attributes:
        frame: sent last.
        newest_ns: when a row was pushed last, 0 before.
        is_over: it has come to its end and stands there.
        notes: for the report.
        refusals: that somebody should hear of, oldest first; emptied by the caller.

    Raises:
        Refused: the file, or a clip of it, as a run would refuse them.
    """

    def __init__(
        self, path: Path, manifest: Manifest, mode: str, channels: ChannelTable, push: Callable[[Any], None],
        now_ns: int, timeout_s: float | None = None, hands: HandModel | None = None,
    ) -> None:
        self._path, self._channels, self._push, self._hands = path, channels, push, hands
        self._builder = ChainBuilder(manifest, mode, channels)
        chain = read_chain(path)
        self._watch = ChainWatch(path, chain)
        parts = self._parts(chain, 0)
        self._chain = self._builder.begin(parts)
        self._is_done, self._timeout_ns = chain.is_done, None if timeout_s is None else round(timeout_s * 1e9)
        self._waiting: tuple[Chain, Sequence[tuple[Action, Clip]]] | None = None
        self._offered: OpenChain | None = None
        self._lead = LEAD_FRAMES
        self._form = stream_form(pose_form(manifest.robot.order.names).names)
        self.record = np.zeros(1, stream_dtype(len(manifest.robot.joints), channels.size))
        self.frame, self._began_ns = 0, now_ns
        self._due_ns, self._moved_ns, self._was_followed = now_ns, now_ns, False
        self.newest_ns, self.is_over = 0, False
        self.refusals: deque[str] = deque(maxlen=MOST_NOTES)
        self.notes: dict[str, Any] = {"file": str(path), "actions": [], "refused": [], "ended": ""}
        self._note_taken(parts)

    @property
    def ending(self) -> int:
        """The frame at which the last action gives way to standing."""
        return self._chain.ending

    @property
    def seams(self) -> list[Seam]:
        """Of all that is to be played, the way to standing last."""
        return self._chain.closed.seams

    def _parts(self, chain: Chain, start: int) -> list[tuple[Action, Clip]]:
        return [(action, self._builder.clip_of(action, f"chain {self._path.name}, actions[{start + i}]"))
                for i, action in enumerate(chain.actions[start:])]

    # --- What may take its time: a thread of its own in a run ---------------------------------------------------------

    def consider(self, now_ns: int) -> None:
        """Looks at the file; news are loaded, joined on and offered to `look`. May be called from another thread."""
        try:
            if self._waiting is None:
                chain = self._watch.look(now_ns)
                if chain is None:
                    return
                self._waiting = chain, self._parts(chain, len(self._watch.entries))
            if self._offered is None:
                self._offered = self._builder.grow(self._chain, self._waiting[1], self.frame + self._lead)
        except Refused as error:
            self._waiting = None
            self.refusals.append(f"not appended: {error}")
            if len(self.notes["refused"]) < MOST_NOTES:
                self.notes["refused"].append({"time_s": round((now_ns - self._began_ns) * 1e-9, 2),
                                              "message": str(error)})

    # --- What must be in time -----------------------------------------------------------------------------------------

    def look(self, now_ns: int, *, followed: bool) -> None:
        """Pushes the rows that are due.

        Args:
            followed: the robot is being led by this stream: only then it goes on.
        """
        self._take_offer(now_ns)
        if now_ns - self._due_ns > STALL_NS:
            self._due_ns = now_ns
        last = self._chain.closed.frames - 1
        while self._due_ns <= now_ns:
            moves = followed and self.frame < last
            if moves:
                self.frame, self._moved_ns = self.frame + 1, now_ns
            self._fill(moves)
            self.record["source_ns"], self.record["received_ns"] = self._due_ns, now_ns
            self.record["sequence"] += 1
            self._push(self.record)
            self.newest_ns = now_ns
            self._due_ns += PERIOD_NS
        if followed and not self._was_followed:
            self._was_followed, self._moved_ns = True, now_ns
        self._look_for_the_end(now_ns, last)

    def _take_offer(self, now_ns: int) -> None:
        grown = self._offered
        if grown is None or self._waiting is None:
            return
        chain, parts = self._waiting
        if parts and self.frame > grown.changed:
            self._lead *= 2
            self._offered = None
            return
        self._chain, self._is_done, self._lead = grown, chain.is_done, LEAD_FRAMES
        self._watch.entries = chain.entries
        self._moved_ns = now_ns
        self._note_taken(parts)
        self._waiting = None
        self._offered = None

    def _note_taken(self, parts: Sequence[tuple[Action, Clip]]) -> None:
        """What was taken when, and the seam before it: at what time of the motion, and from what."""
        time_s = round((self._due_ns - self._began_ns) * 1e-9, 2)
        seams = self._chain.tape.seams[len(self._chain.tape.seams) - sum(action.repeats for action, _ in parts) :]
        for action, clip in parts:
            seam, seams = seams[0], seams[action.repeats :]
            self.notes["actions"].append({
                "clip": clip.name, "repeats": action.repeats, "taken_s": time_s, "frame": self.frame,
                "seam_s": seam.time_s, "blend_s": seam.blend_s, "from_standing": seam.first == STAND})

    def _fill(self, moves: bool) -> None:
        """The row of `frame`, with velocities by central differences; at rest where it does not move."""
        record, tape, frame = self.record[0], self._chain.closed, self.frame
        clip, at = tape.at(frame)
        record["form"] = self._form
        record["joint_pos"], record["root_pos"] = clip.joint_pos[at], clip.root_pos[at]
        record["root_quat_wxyz"] = clip.root_quat_wxyz[at]
        record["joint_vel"] = 0
        if moves:
            (before, i), (after, j) = tape.at(frame - 1), tape.at(frame + 1)
            record["joint_vel"] = (after.joint_pos[j] - before.joint_pos[i]) * (RATE_HZ / 2)
        for name, place in self._channels.places.items():
            record["channels"][place] = clip.channels[name][at]
        if self._hands is not None and hand_track.CHANNEL in clip.channels:
            self._fill_hands(self._hands, record["channels"][self._channels.places[HAND_JOINTS]],
                             clip.channels[hand_track.CHANNEL][at])

    def _fill_hands(self, model: HandModel, out: Any, states: Any) -> None:
        """States as joints, where the motion says any; the hands' own gate brings them there at their pace."""
        for side, row in enumerate(out.reshape(2, -1)):
            state = int(states[side])
            row[0] = state >= 0 and len(model.joints) == len(row) - 1
            if row[0]:
                row[1:] = model.states_rad[state, side]

    def _look_for_the_end(self, now_ns: int, last: int) -> None:
        still_ns = now_ns - self._moved_ns
        if self.is_over or not self._was_followed or self._waiting is not None:
            return
        if self._is_done and self.frame == last and still_ns > END_NS:
            self.is_over, self.notes["ended"] = True, "done"
        elif self._timeout_ns is not None and still_ns > END_NS + self._timeout_ns:
            self.is_over, self.notes["ended"] = True, "no more came in time"
