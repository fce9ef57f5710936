"""The far end of an MTi's line: what one answers and sends, for tests and for people without one."""

from __future__ import annotations

from collections.abc import Callable

from firmware_bridge.drives.language import F64
from firmware_bridge.drives.xsens import (
    EVERY,
    Item,
    Kind,
    MessageStream,
    make_data,
    make_message,
    make_output,
    read_output,
)

MOST_HZ = 400
SLACK_S = 1e-6


class XsensFarEnd:
    """An emulated MTi; it begins measuring, as one does that is switched on.

    Args:
        sense: (10,) as `ImuState.values`, now.
        clock_s: seconds, rising.

    Attributes:
        is_silent: it sends nothing: a fault knob.
        most_hz: of what it can give.
    """

    def __init__(self, sense: Callable[[], F64], clock_s: Callable[[], float]) -> None:
        self._sense, self._clock_s = sense, clock_s
        self.is_silent = False
        self.most_hz = MOST_HZ
        self._stream = MessageStream()
        self._rates: dict[int, int] = {}
        self._is_measuring = True
        self._counter = 0
        self._sent_s = clock_s()

    def feed(self, data: bytes) -> bytes:
        """What it answers to some bytes."""
        out = b"".join(self._answer(message.kind, message.data) for message in self._stream.feed(data))
        return b"" if self.is_silent else out

    def _answer(self, kind: int, data: bytes) -> bytes:
        if kind == Kind.GO_TO_CONFIG:
            self._is_measuring = False
            return make_message(Kind.GO_TO_CONFIG_ACK)
        if kind == Kind.GO_TO_MEASUREMENT:
            self._is_measuring, self._sent_s = True, self._clock_s()
            return make_message(Kind.GO_TO_MEASUREMENT_ACK)
        if kind == Kind.SET_OUTPUT and not self._is_measuring:
            self._rates = {item: rate if rate == EVERY else min(rate, self.most_hz)
                           for item, rate in read_output(data).items()}
            return make_message(Kind.SET_OUTPUT_ACK, make_output(self._rates))
        return make_message(Kind.ERROR, b"\x04")

    def tick(self) -> bytes:
        """What is due by its rate; of several that are, the last."""
        rate = self._rates.get(Item.QUATERNION, 0)
        now_s = self._clock_s()
        if self.is_silent or not self._is_measuring or not rate or now_s - self._sent_s < 1 / rate - SLACK_S:
            return b""
        self._sent_s = max(self._sent_s + 1 / rate, now_s - 1 / rate)
        self._counter += 1
        return make_data(self._sense(), self._counter)
