"""The supervisor's side of the policy: when a robot tracks, stands, and follows a stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.chain_notes import read_chain_notes
from runtime.child import Child
from runtime.driver import Seen
from runtime.faults import Mode, Request
from runtime.hand import load_hand
from runtime.hand_slots import hand_ring, order_slot
from runtime.manifest import Manifest
from runtime.mux import Source
from runtime.operator_view import confirmation_text, relays_gesture, start_pose_text
from runtime.pilot import READY_S, Phase
from runtime.settings import RunSettings
from runtime.stream_asks import StreamView


class PolicyDriver:
    """A controller drives; see `driver.Driver`.

    Args:
        manifest: of the controller.
    """

    name, module = "policy", "runtime.policy_process"
    robot_module: Sequence[str] = ("exoactor", "sim")
    told: Collection[str] = ()

    def __init__(self, settings: RunSettings, manifest: Manifest) -> None:
        self.robot = manifest.robot
        self._settings, self._manifest = settings, manifest
        self._stream: StreamView | None = None
        self._ready_since: float | None = None
        self._play_started: float | None = None

    def share(self, settings: RunSettings, children: Mapping[str, Child]) -> None:
        """A stream's ring and slot, the hands' slot and ring."""
        if settings.is_streamed:
            self._stream = StreamView(settings, self._manifest)
        if settings.hands is not None:
            shared, hands = Path(settings.shared), load_hand(settings.hands)
            order_slot(shared, settings.run, hands, create=True)
            hand_ring(shared, settings.run, hands, create=True)

    def awaited(self) -> str:
        """Nothing: it is told to move later, by whoever steers."""
        return ""

    def started(self, settings: RunSettings, ready: dict[str, Any], notes: dict[str, Any]) -> RunSettings:
        """With the sizes of its records, and what its networks run on."""
        if settings.backend == "auto":
            print(f"backend: {ready['backend_note']}", file=sys.stderr)
        notes["backend"] = ready["backend"]
        settings = replace(settings, joints=ready["joints"], observation=ready["observation"],
                           estimate=ready["estimate"], backend=ready["backend"])
        if settings.hands is not None:
            notes["hand_events"] = ready["hand_events"]
            moves_hands = bool(ready["hand_events"]) or settings.is_streamed
            settings = replace(settings, hands_required=settings.hands_required and moves_hands)
        self._settings = settings
        return settings

    def confirmation(self, settings: RunSettings) -> str:
        """As a run asks it."""
        return confirmation_text(settings, self.robot)

    def hear(self, event: dict[str, Any]) -> None:
        """A policy has nothing else to say."""

    def look(self, seen: Seen) -> Request:
        """A gesture first, then a stream, then what was typed."""
        mode, is_ready, moves = seen.mode, seen.phase is Phase.READY, self._settings.moves_a_robot
        has_gesture = seen.gesture and seen.asked is not Request.DAMP
        if has_gesture and relays_gesture(mode, at_start_pose=is_ready, moves_a_robot=moves):
            return Request.TRACK
        if self._stream is not None and mode in (Mode.TRACK, Mode.HOLD, Mode.STAND):
            request = self._relay_stream(self._stream, seen)
            if request is not Request.NONE:
                return request
        if mode is Mode.READY and is_ready and seen.asked is Request.ARM:
            return Request.TRACK if self._may_track(seen) else Request.NONE
        if mode is Mode.TRACK and moves and self._stream is None and seen.console.line() is not None:
            return Request.STAND
        return Request.NONE

    def _relay_stream(self, stream: StreamView, seen: Seen) -> Request:
        """Enter asks for the stream where the robot stands, and for standing where it follows."""
        if seen.asked is Request.DAMP:
            return Request.NONE
        mode, source = seen.mode, seen.source
        is_typed = seen.console.line() is not None
        request = stream.look(mode, source, typed=is_typed and (mode is not Mode.TRACK or source is Source.STAND))
        if request is Request.NONE and is_typed and mode is Mode.TRACK:
            request = Request.STAND
        return request

    def _may_track(self, seen: Seen) -> bool:
        """The start pose is held: a simulated robot tracks at once, a real one when its operator says so."""
        if self._ready_since is None:
            self._ready_since = time.monotonic()
            if self._settings.moves_a_robot:
                seen.console.say(start_pose_text(self._settings))
        if self._settings.moves_a_robot:
            return seen.console.line() is not None
        return time.monotonic() - self._ready_since > READY_S

    def silence_ms(self) -> int:
        """A robot that balances is never left alone."""
        return 0

    def line(self, mode: Mode, phase: Phase) -> str:
        """Mode, phase, and for how long it plays."""
        now = time.monotonic()
        if phase is Phase.PLAY and self._play_started is None:
            self._play_started = now
        played = f" {now - self._play_started:5.1f} s" if self._play_started is not None else ""
        return f"{mode.name:<9}{phase.name:<11}{played}"

    def end(self, notes: dict[str, Any]) -> None:
        """What became of a stream's messages, or of a chain."""
        if self._stream is not None and not self._settings.follow:
            notes["stream"] = self._stream.counts()
        if self._settings.follow:
            notes["chain"] = read_chain_notes(Path(self._settings.out))
