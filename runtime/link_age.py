"""How old a message is when it arrives, though its sender's clock is another.

The difference between our clock at arrival and the sender's at departure is offset plus way; its least over a while is
offset plus the shortest way (min filter, as NTP's clock filter takes the sample of least delay, RFC 5905 section 10).
The shortest way is taken as half of the shortest round trip, which the sender tells by returning our stamp: without it
a link that is slow but steady would look like a fast one.
"""

from __future__ import annotations

from collections import deque

WINDOW_NS = 15_000_000_000
"""Two of these are looked back on: clocks that drift apart by 100 ppm are 3 ms wrong after 30 s."""
KEPT = 100
"""Ages for the percentiles: 5 s of 20 Hz beats."""


class Least:
    """The least number of the last one to two windows."""

    def __init__(self) -> None:
        self._before: int | None = None
        self._now: int | None = None
        self._started_ns = 0

    def add(self, value: int, now_ns: int) -> None:
        """Take in one number."""
        if self._now is None:
            self._now, self._started_ns = value, now_ns
        elif now_ns - self._started_ns > WINDOW_NS:
            self._before, self._now, self._started_ns = self._now, value, now_ns
        elif value < self._now:
            self._now = value

    @property
    def value(self) -> int | None:
        """None before the first number."""
        if self._now is None or self._before is None:
            return self._now
        return min(self._now, self._before)


class LinkAge:
    """Ages of one sender's messages; make a new one for a new sender."""

    def __init__(self) -> None:
        self._difference, self._round_trip = Least(), Least()
        self._ages_ns: deque[int] = deque(maxlen=KEPT)

    def round_trip(self, echo_ns: int, held_ns: int, now_ns: int) -> None:
        """Our own stamp came back, after the sender kept it for `held_ns`; impossible figures are left out."""
        trip = now_ns - echo_ns - held_ns
        if echo_ns > 0 and held_ns >= 0 and trip >= 0:
            self._round_trip.add(trip, now_ns)

    def add(self, sent_ns: int, now_ns: int) -> int:
        """The age (ns) of a message that was sent at the sender's `sent_ns` and arrived now."""
        difference = now_ns - sent_ns
        self._difference.add(difference, now_ns)
        age = difference - (self._difference.value or 0) + (self._round_trip.value or 0) // 2
        self._ages_ns.append(age)
        return age

    @property
    def is_known(self) -> bool:
        """A round trip was seen: before, ages count from the shortest way instead of from departure."""
        return self._round_trip.value is not None

    @property
    def newest_s(self) -> float:
        """Age of the newest message (s), 0 before the first."""
        return self._ages_ns[-1] * 1e-9 if self._ages_ns else 0.0

    def percentiles_s(self) -> tuple[float, float]:
        """(p50, p99) of the last ages, s; zeros before the first."""
        if not self._ages_ns:
            return 0.0, 0.0
        ages = sorted(self._ages_ns)
        last = len(ages) - 1
        return ages[last // 2] * 1e-9, ages[round(0.99 * last)] * 1e-9
