"""What the supervisor asks of the gate for a streamed motion: the sender's gestures, and lines typed at the console."""

from __future__ import annotations

from pathlib import Path

from runtime.faults import Mode, Request
from runtime.manifest import Manifest
from runtime.mux import Source
from runtime.needs import mode_of, stream_needs
from runtime.records import STREAM_DTYPE, STREAM_RING, stream_dtype
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot


class Asks:
    """Gestures into requests. Pure.

    A start follows the stream where the robot stands: from HOLD and STAND at once; where it tracks and stands (the
    stream was refused, say) by way of STAND. It never lets a robot begin to track. A stop damps.
    """

    def __init__(self) -> None:
        self._starts = self._stops = 0
        self._is_wanted = False

    def look(self, mode: Mode, source: Source, starts: int, stops: int, *, typed: bool = False) -> Request:
        """What to ask for now, at what steers and what was counted so far."""
        is_stopped, self._stops = stops > self._stops, stops
        asked, self._starts = starts > self._starts or typed, starts
        if is_stopped:
            return Request.DAMP
        if not Mode.TRACK <= mode < Mode.DAMP or (mode is Mode.TRACK and source is not Source.STAND):
            self._is_wanted = False
            return Request.NONE
        self._is_wanted |= asked
        if not self._is_wanted:
            return Request.NONE
        if mode is Mode.TRACK:
            return Request.STAND
        self._is_wanted = False
        return Request.TRACK


class StreamView:
    """Makes the ring and slot of a streamed run, and reads the slot."""

    def __init__(self, settings: RunSettings, manifest: Manifest) -> None:
        shared, run = Path(settings.shared), settings.run
        has_hands = settings.hands is not None
        channels, _ = stream_needs(manifest, mode_of(manifest, settings.mode), has_hands=has_hands)
        dtype = stream_dtype(len(manifest.robot.joints), channels.size)
        Ring(shared / "own_stream_ring", dtype, run, STREAM_RING, create=True)
        self._slot = Slot(shared / "stream", STREAM_DTYPE, run, create=True)
        self._asks = Asks()

    def look(self, mode: Mode, source: Source, *, typed: bool = False) -> Request:
        """As `Asks.look`, with the newest counts."""
        self._slot.read()
        record = self._slot.record
        return self._asks.look(mode, source, int(record["starts"][0]), int(record["stops"][0]), typed=typed)

    def counts(self) -> dict[str, int]:
        """What became of the messages, for the report."""
        self._slot.read()
        names = ("messages", "frames", "malformed", "dropped", "repeated", "overtaken", "missing", "restarts",
                 "other_version", "planner", "starts", "stops", "version")
        took = ("retarget_p50_us", "retarget_p99_us")
        return {name: int(self._slot.record[name][0]) for name in (*names, *took)}
