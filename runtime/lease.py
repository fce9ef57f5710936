"""The lease: one commander at a time, and which of its messages are taken. Pure; the caller has clock and socket.

A lease is asked for in two steps, so that a recorded request gets nobody anything: the first brings a cookie that is
good once and for two seconds, the second hands it back. Each grant raises the epoch; what the former commander still
sends is of an old epoch. Sequence numbers only rise (as in Boston Dynamics' leases), and a command older than 200 ms is
not obeyed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import IntEnum

from runtime.link_age import LinkAge
from runtime.operator_message import Answer, Beat, Kind, Message, Reject, Take

LATE_NS = 200_000_000
ALIVE_NS = 2_000_000_000
"""Without a beat for so long a commander is gone, and the lease may be had without taking it over."""
COOKIE_NS = 2_000_000_000
NOT_LATE = frozenset({Kind.STOP, Kind.RELEASE})
"""These only ever make the robot do less: obeyed at any age."""


class Status(IntEnum):
    """The robot's word about the lease."""

    OFFER = 0
    GRANTED = 1
    TAKEN = 2
    YOURS = 3


class Lease:
    """Who commands.

    Args:
        draw: gives a fresh unpredictable 64-bit number.

    Attributes:
        epoch: rises with every grant; 0 before the first.
        holder: what the commander calls itself, empty when nobody holds the lease.
        beat_ns: when its newest beat was accepted, 0 before the first.
        age: of its messages.
        rejected: messages that were not taken, by reason.
    """

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        self.epoch, self.lease, self.holder = 0, 0, ""
        self.beat_ns = self._heard_ns = 0
        self.age = LinkAge()
        self.rejected: Counter[Reject] = Counter()
        self._sequence = 0
        self._granted = (0, 0)
        self._cookie, self._cookie_ns = 0, -COOKIE_NS - 1

    def is_alive(self, now_ns: int) -> bool:
        """Somebody holds the lease and was heard within two seconds."""
        return self.lease != 0 and now_ns - self._heard_ns <= ALIVE_NS

    def take(self, message: Message, now_ns: int) -> Status:
        """A request for the lease; the answer goes back with `answer`."""
        body = message.body
        assert isinstance(body, Take)
        if self.lease and not self.beat_ns and (body.nonce, body.cookie) == self._granted:
            return Status.GRANTED  # our answer was lost: say it again, change nothing
        is_stale = now_ns - self._cookie_ns > COOKIE_NS
        if body.cookie == 0 or is_stale or body.cookie != self._cookie:
            if body.cookie != 0:
                self.rejected[Reject.COOKIE] += 1
            if is_stale:
                self._renew_cookie(now_ns)
            return Status.OFFER
        if self.is_alive(now_ns) and not body.take_over:
            return Status.TAKEN
        self._renew_cookie(now_ns)
        self.epoch += 1
        self.lease = self._draw() | 1
        self.holder = body.name.rstrip(b"\0").decode("ascii")
        self.beat_ns, self._heard_ns = 0, now_ns
        self.age = LinkAge()
        self._sequence = message.sequence
        self._granted = (body.nonce, body.cookie)
        return Status.GRANTED

    def _renew_cookie(self, now_ns: int) -> None:
        self._cookie, self._cookie_ns = self._draw() | 1, now_ns

    def answer(self, status: Status, nonce: int, mode: int, refusal: int, source: int, echo_ns: int) -> Answer:
        """The body of an answer; a lease is only told with GRANTED and YOURS."""
        p50, p99 = self.age.percentiles_s()
        is_told = status in (Status.GRANTED, Status.YOURS)
        return Answer(nonce, self._cookie if status is Status.OFFER else 0, self.lease if is_told else 0, echo_ns,
                      p50, p99, self.epoch if is_told else 0, status, mode, refusal, source)

    def judge(self, message: Message, now_ns: int) -> Reject | None:
        """Whether a commander's message is taken: None, or why not; counted."""
        reject = self._reject(message, now_ns)
        if reject is not None:
            self.rejected[reject] += 1
        elif message.kind is Kind.BEAT:
            self.beat_ns = self._heard_ns = now_ns
        elif message.kind is Kind.RELEASE:
            self.lease, self.holder = 0, ""
        return reject

    def _reject(self, message: Message, now_ns: int) -> Reject | None:
        if message.epoch != self.epoch:
            return Reject.EPOCH
        if not self.lease or message.lease != self.lease:
            return Reject.LEASE
        if message.sequence <= self._sequence:
            return Reject.SEQUENCE
        self._sequence = message.sequence
        if isinstance(message.body, Beat):
            self.age.round_trip(message.body.echo_ns, message.body.echo_held_ns, now_ns)
        age_ns = self.age.add(message.sent_ns, now_ns)
        if age_ns > LATE_NS and message.kind not in NOT_LATE:
            return Reject.LATE
        return None
