"""A sender's frame numbers as times of our own clock, for senders that say no times.

The protocol means 50 frames a second; senders mean roughly that. The first half second tells the real rate; from then
on a second-order loop follows it: each arrival pulls the time by a twentieth of its error, at most 1.25 ms, so that a
stalled link does not bend the motion.
"""

from __future__ import annotations

NOMINAL_NS = 20_000_000
ACQUIRE_NS, ACQUIRE_FRAMES = 500_000_000, 2
NOMINAL_WITHIN = 0.12
"""A rate this near to the nominal one is taken for it at first: 20 ms of jitter measure half a second to 4 %."""
PULL, DRIFT = 0.05, 0.00125
MOST_ERROR_NS = 25_000_000
RESTART_NS = 500_000_000
"""An arrival further from what was expected begins anew."""
SLOWEST_NS, FASTEST_NS = 200_000_000, 2_000_000


class SourceClock:
    """Times of frames, rising.

    Attributes:
        is_known: the rate has been found; before, `advance` gives no time.
        time_ns: of the newest frame; period_ns: between two frame numbers.
    """

    def __init__(self) -> None:
        self.is_known = False
        self.time_ns, self.period_ns = 0, float(NOMINAL_NS)
        self._first_ns = self._frames = 0

    def advance(self, frames: int, since: int, received_ns: int) -> None:
        """On by `frames` numbers.

        Args:
            frames: at least 1.
            since: how many of them lie behind the one that was sent when the message was (a batch holds later ones).
            received_ns: when the message arrived.
        """
        if not self.is_known:
            self._acquire(frames, received_ns - round(since * self.period_ns))
            return
        expected = self.time_ns + (frames - since) * self.period_ns
        error = received_ns - expected
        if abs(error) > RESTART_NS:
            self.restart(received_ns)
            self.time_ns += round(since * self.period_ns)
            return
        error = min(max(error, -MOST_ERROR_NS), MOST_ERROR_NS)
        self.period_ns = min(max(self.period_ns + DRIFT * error / frames, FASTEST_NS), SLOWEST_NS)
        self.time_ns = max(self.time_ns + 1, round(self.time_ns + frames * self.period_ns + PULL * error))

    def restart(self, received_ns: int) -> None:
        """Another run of numbers: its newest frame is of now, at the rate known."""
        self.time_ns = max(self.time_ns + round(self.period_ns), received_ns)

    def _acquire(self, frames: int, received_ns: int) -> None:
        if not self._first_ns:
            self._first_ns, self._frames = received_ns, 0
            return
        self._frames += frames
        span_ns = received_ns - self._first_ns
        if span_ns < ACQUIRE_NS or self._frames < ACQUIRE_FRAMES:
            return
        period = span_ns / self._frames
        is_nominal = abs(period - NOMINAL_NS) < NOMINAL_WITHIN * NOMINAL_NS
        self.period_ns = float(NOMINAL_NS) if is_nominal else min(max(period, FASTEST_NS), SLOWEST_NS)
        self.time_ns, self.is_known = received_ns, True
