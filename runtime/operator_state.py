"""What the operator's process makes of its sources: who commands, is the dead-man held, which stops are up. Pure.

The rules: a fresh engage gesture counts after half a second of healthy link, with the dead-man held, no stop up and the
link fast enough. Letting go, a gap in the link, another commander or a stop ends it, and nothing but another gesture
begins again: until then the dead-man is published as released, whatever the operator's hand does.

A second gesture hands back to the run's own motion, by the same rules. Nobody is engaged from then on: neither hand nor
link is asked for, as before anybody was, and only another gesture takes over again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from runtime.mux import Source

GAP_NS = 250_000_000
HEALTHY_NS = 500_000_000
WARN_S, REFUSE_S = 0.150, 0.300
"""Ages that are shown as a warning, and above which nobody engages."""
PRESS_NS = 500_000_000
"""A press is published at least so long: readers look at the newest record, not at every one."""


class Refusal(IntEnum):
    """Why the newest gesture did not count."""

    NONE = 0
    STOPPED = 1
    NOT_HELD = 2
    LINK_YOUNG = 3
    LATENCY_UNKNOWN = 4
    LATENCY = 5


REFUSAL_WORDS = {
    Refusal.NONE: "",
    Refusal.STOPPED: "an emergency stop is pressed or silent",
    Refusal.NOT_HELD: "hold the dead-man first",
    Refusal.LINK_YOUNG: f"the link has to be healthy for {HEALTHY_NS / 1e9} s",
    Refusal.LATENCY_UNKNOWN: "the link's latency is not measured yet",
    Refusal.LATENCY: f"the link is slower than {REFUSE_S * 1e3:.0f} ms",
}


@dataclass(frozen=True)
class TeleopInput:
    """What a source of commands says now.

    Attributes:
        source: KEYBOARD, GAMEPAD, NETWORK, or STREAM while it sends reference frames.
        heard_ns: when it was last heard, 0 never.
        session: another number for another commander.
        held: the dead-man.
        gestures: counts engage gestures (released, then pressed).
        resumes: counts gestures that hand back to the run's own motion.
        command: vx, vy (m/s), yaw rate (rad/s).
        age_s: of its newest message at arrival.
        p99_s: 99th percentile of those ages, None while unknown.
    """

    source: Source
    heard_ns: int
    session: int = 0
    held: bool = False
    gestures: int = 0
    command: tuple[float, float, float] = (0.0, 0.0, 0.0)
    age_s: float = 0.0
    p99_s: float | None = 0.0
    resumes: int = 0


class OperatorState:
    """Decides, from one look at all sources to the next.

    Args:
        stops: number of emergency-stop sources.

    Attributes:
        engaged: somebody commands: since a gesture that counted, with nothing in between that ends it.
        engages: counts those gestures, and those that handed back.
        source: of the newest one, CLIP where it handed back.
        held, command: as published: released and zero unless engaged. While a commander who was engaged is not heard,
            `held` stays as it was, so that the gate sees a lost link and not a hand that let go; when the link comes
            back it is released.
        heard_ns: when any commander was last heard; it outlives a lease, so that a released one ages like a lost one.
        stop, silent: bits in the order of the sources.
        refusal: why the newest gesture did not count, NONE when it did.
    """

    def __init__(self, stops: int) -> None:
        self.engaged, self.engages, self.source = False, 0, Source.NONE
        self.held, self.command = False, (0.0, 0.0, 0.0)
        self.stop = self.silent = self.heard_ns = 0
        self.refusal = Refusal.NONE
        self._pressed_ns: list[int | None] = [None] * stops
        self._healthy_ns: int | None = None
        self._session: int | None = None
        self._gestures = self._resumes = self._heard_ns = 0

    def update(
        self, now_ns: int, teleop: TeleopInput | None, stops: Sequence[tuple[bool, bool]], gestures: int = 0
    ) -> None:
        """One look.

        Args:
            teleop: the source of commands, if the run has one.
            stops: (pressed, silent) of every emergency-stop source.
            gestures: without a source of commands, of a keyboard that only stops: both of its keys ask to track.
        """
        self._look_at_stops(now_ns, stops)
        if teleop is None:
            self.engages += gestures != self._gestures and not (self.stop or self.silent)
            self._gestures = gestures
            return
        asked = self._look_at_link(now_ns, teleop)
        if self._healthy_ns is None or not teleop.held or self.stop or self.silent:
            self.engaged = False
        if asked is not Source.NONE:
            self.refusal = self._refusal(now_ns, teleop)
            if self.refusal is Refusal.NONE:
                self.engaged, self.source = asked is not Source.CLIP, asked
                self.engages += 1
        self.heard_ns = teleop.heard_ns or self.heard_ns
        is_lost = teleop.heard_ns != 0 and now_ns - teleop.heard_ns > GAP_NS
        self.held = self.engaged or (self.held and is_lost)
        self.command = teleop.command if self.engaged else (0.0, 0.0, 0.0)

    def _look_at_stops(self, now_ns: int, stops: Sequence[tuple[bool, bool]]) -> None:
        self.stop = self.silent = 0
        for place, (pressed, silent) in enumerate(stops):
            if pressed:
                self._pressed_ns[place] = now_ns
            since = self._pressed_ns[place]
            self.stop |= (since is not None and now_ns - since <= PRESS_NS) << place
            self.silent |= silent << place

    def _look_at_link(self, now_ns: int, teleop: TeleopInput) -> Source:
        """Follow the link's health; what a fresh gesture asks for, NONE without one. Of two at once, the one that has
        a hand on the dead-man."""
        is_new = teleop.session != self._session
        gap_ns = max(now_ns - teleop.heard_ns, teleop.heard_ns - self._heard_ns if self._heard_ns else 0)
        if teleop.heard_ns == 0 or now_ns - teleop.heard_ns > GAP_NS:
            self._healthy_ns = None
        elif is_new or self._healthy_ns is None or gap_ns > GAP_NS:
            self._healthy_ns = now_ns
            self.engaged = False
        asked = Source.NONE
        if teleop.gestures != self._gestures and not is_new:
            asked = teleop.source
        elif teleop.resumes != self._resumes and not is_new:
            asked = Source.CLIP
        self._session, self._heard_ns = teleop.session, teleop.heard_ns
        self._gestures, self._resumes = teleop.gestures, teleop.resumes
        return asked

    def _refusal(self, now_ns: int, teleop: TeleopInput) -> Refusal:
        if self.stop or self.silent:
            return Refusal.STOPPED
        if self._healthy_ns is None or now_ns - self._healthy_ns < HEALTHY_NS:
            return Refusal.LINK_YOUNG
        if not teleop.held:
            return Refusal.NOT_HELD
        if teleop.p99_s is None:
            return Refusal.LATENCY_UNKNOWN
        return Refusal.LATENCY if teleop.p99_s > REFUSE_S else Refusal.NONE
