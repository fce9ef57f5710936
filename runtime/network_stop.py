"""A stop button over the network that has to prove that it is alive; pure, both ends.

The far end sends RESPONSE twenty times a second; the robot answers each with a CHALLENGE, a fresh number whose one's
complement the next response must carry (the scheme of Boston Dynamics Spot's e-stop service: bosdyn.api EstopCheckIn).
A wrong answer does not reset the timer, and a recorded one is wrong. Silence is a stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from runtime.operator_message import TO_OPERATOR, Challenge, Kind, Message, Reject, Response, decode, encode

TIMEOUT_NS = 500_000_000
"""Nine responses in a row may be lost; PX4 and Autoware wait as long for a lost operator."""
PERIOD_NS = 50_000_000
_ALL = (1 << 64) - 1


def complement(challenge: int) -> int:
    """The right answer."""
    return challenge ^ _ALL


class StopEndpoint:
    """The robot's end: one far end at a time, with a time-out of its own.

    Args:
        draw: gives a fresh unpredictable 64-bit number.
        timeout_ns: silent after so long without a right answer.

    Attributes:
        challenge: what the next response must complement.
        rejected: responses that were not taken, by reason.
    """

    def __init__(self, draw: Callable[[], int], timeout_ns: int = TIMEOUT_NS) -> None:
        self._draw, self._timeout_ns = draw, timeout_ns
        self._owner: int | None = None
        self._heard_ns: int | None = None
        self._pressed = False
        self.challenge = self._fresh()
        self.rejected: Counter[Reject] = Counter()

    def _fresh(self) -> int:
        return self._draw() >> 1  # its complement is never 0, which asks for a challenge

    def respond(self, message: Message, now_ns: int) -> Reject | None:
        """Take in a response: None, or why it was not taken; counted, but for the first, which can only ask."""
        body = message.body
        assert isinstance(body, Response)
        reject = None
        if message.lease != self._owner and self._owner is not None and not self.is_silent(now_ns):
            reject = Reject.ENDPOINT
        elif body.answer != complement(self.challenge):
            reject = Reject.ANSWER
        if reject is None:
            self._owner, self._heard_ns, self._pressed = message.lease, now_ns, bool(body.pressed)
            self.challenge = self._fresh()
        elif body.answer != 0:
            self.rejected[reject] += 1
        return reject

    def is_silent(self, now_ns: int) -> bool:
        """No right answer within the time; true from the start."""
        return self._heard_ns is None or now_ns - self._heard_ns > self._timeout_ns

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        """(pressed, silent)."""
        return self._pressed, self.is_silent(now_ns)


class StopClient:
    """The far end: what a stop button sends and hears.

    Args:
        endpoint: a number of its own.

    Attributes:
        pressed: put into every response.
        heard_ns: when the newest challenge came, 0 before the first.
    """

    def __init__(self, endpoint: int, key: bytes | None) -> None:
        self._endpoint, self._key = endpoint, key
        self._answer = 0
        self._sequence = 0
        self._sent_ns: int | None = None
        self.pressed = False
        self.heard_ns = 0

    def outgoing(self, now_ns: int, *, at_once: bool = False) -> bytes | None:
        """The response that is due now, or None."""
        if self._sent_ns is not None and now_ns - self._sent_ns < PERIOD_NS and not at_once:
            return None
        self._sent_ns = now_ns
        self._sequence += 1
        body = Response(self._answer, int(self.pressed))
        return encode(Message(Kind.RESPONSE, 0, self._endpoint, self._sequence, now_ns, body), self._key)

    def take_in(self, data: bytes, now_ns: int) -> bool:
        """A datagram from the robot; false when it is no challenge of this key."""
        message = decode(data, self._key, TO_OPERATOR)
        if isinstance(message, Reject) or not isinstance(message.body, Challenge):
            return False
        if message.lease != self._endpoint:
            return False
        self._answer, self.heard_ns = complement(message.body.challenge), now_ns
        return True
