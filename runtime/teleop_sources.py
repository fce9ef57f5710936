"""Sources of commands: what the keyboard, a gamepad and whoever holds the network lease say, in one form.

Each checks its own: keys and sticks cannot give a number outside their table, messages were checked by the decoder.
What a controller may be asked for (`command_ranges`) is the policy's to hold.
"""

from __future__ import annotations

from typing import Protocol

from runtime.gamepad import Gamepad
from runtime.keyboard import ENGAGE_KEY, RESUME_KEY, Keyboard
from runtime.lease import Lease
from runtime.mux import Source
from runtime.operator_message import Beat
from runtime.operator_state import TeleopInput

STREAM_NS = 100_000_000
"""A commander counts as streaming while its newest frame is no older: five frames of a 50 Hz stream."""
GESTURES = {
    "keyboard": (chr(ENGAGE_KEY), chr(RESUME_KEY)),
    "gamepad": ("right shoulder button", "START"),
    "network": ("its g or right shoulder button", "its c or START"),
}
"""Of each kind, what takes over and what hands back to the run's own motion."""
KINDS = tuple(GESTURES)


class TeleopSource(Protocol):
    """Something that can command."""

    def look(self, now_ns: int) -> TeleopInput:
        """What it says now; never waits, never raises."""

    def stop_pressed(self) -> bool:
        """Its stop was pressed since the last look, or is held down."""


class KeyboardTeleop:
    """The run's terminal; heard as long as it is open, because a terminal tells nothing while no key repeats."""

    def __init__(self, keyboard: Keyboard) -> None:
        self._keyboard, self._stops, self._heard_ns = keyboard, 0, 0

    def look(self, now_ns: int) -> TeleopInput:
        """As the keys say."""
        keys = self._keyboard.keys
        if self._keyboard.is_open:
            self._heard_ns = now_ns
        return TeleopInput(Source.KEYBOARD, self._heard_ns, 0, keys.held(now_ns), keys.gestures, keys.command(now_ns),
                           resumes=keys.resumes)

    def stop_pressed(self) -> bool:
        """A stop key."""
        before, self._stops = self._stops, self._keyboard.keys.stops
        return self._stops != before


class GamepadTeleop:
    """A gamepad; heard as long as its file is open. Plugged in again it is another session."""

    def __init__(self, gamepad: Gamepad) -> None:
        self._gamepad, self._stops, self._heard_ns = gamepad, 0, 0

    def look(self, now_ns: int) -> TeleopInput:
        """As buttons and sticks say."""
        pad = self._gamepad.pad
        if self._gamepad.is_open:
            self._heard_ns = now_ns
        return TeleopInput(Source.GAMEPAD, self._heard_ns, self._gamepad.plugs, pad.held, pad.gestures, pad.command,
                           resumes=pad.resumes)

    def stop_pressed(self) -> bool:
        """The stop button."""
        pad = self._gamepad.pad
        before, self._stops = self._stops, pad.stops
        return pad.is_stop_down or self._stops != before


class NetworkTeleop:
    """Whoever holds the lease; its messages are handed in after the lease has judged them.

    Only beats keep it alive: a stream that goes on without them has no hand on the dead-man.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._beat: Beat | None = None
        self._epoch = self._pose_ns = 0
        self._stop = False

    def beat(self, body: Beat) -> None:
        """An accepted beat."""
        self._beat, self._epoch = body, self._lease.epoch

    def pose(self, now_ns: int) -> None:
        """An accepted frame."""
        self._pose_ns = now_ns

    def stop(self) -> None:
        """An accepted stop."""
        self._stop = True

    def look(self, now_ns: int) -> TeleopInput:
        """As the newest beat of the present lease says; nothing is held before its first, and once it is released."""
        lease, beat = self._lease, self._beat
        if beat is None or self._epoch != lease.epoch or not lease.lease:
            return TeleopInput(Source.NETWORK, 0, lease.epoch)
        is_stream = self._pose_ns != 0 and now_ns - self._pose_ns <= STREAM_NS
        return TeleopInput(
            Source.STREAM if is_stream else Source.NETWORK, lease.beat_ns, lease.epoch, bool(beat.held), beat.engages,
            (beat.vx, beat.vy, beat.yaw_rate), lease.age.newest_s,
            lease.age.percentiles_s()[1] if lease.age.is_known else None, beat.resumes,
        )

    def stop_pressed(self) -> bool:
        """A STOP of the lease's holder since the last look."""
        pressed, self._stop = self._stop, False
        return pressed
