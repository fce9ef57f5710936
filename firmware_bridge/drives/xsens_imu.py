"""An Xsens MTi as a robot's IMU: configured at connect to send what is needed, then listened to."""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.imu import ImuState
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.xsens import (
    EVERY,
    DataLayout,
    Item,
    Kind,
    Message,
    MessageStream,
    make_message,
    make_output,
    read_output,
)

ANSWER_S = 0.5
TRIES = 3
RATES_HZ = (400, 200, 100)
"""The most is what an MTi-300 gives of its orientation; one that cannot says what it gives instead."""
MESSAGE_BYTES = 70
SHARE_OF_WIRE = 0.8
MOST_LOST = 1000
"""In a row; a counter that is farther off begins anew: it was switched off and on."""
_COUNTER = Item.PACKET_COUNTER.to_bytes(2, "big") + b"\x02"


def rate_for(baud: int) -> int:
    """The highest rate whose messages fit a UART; Hz."""
    return next((hz for hz in RATES_HZ if 10 * MESSAGE_BYTES * hz <= SHARE_OF_WIRE * baud), RATES_HZ[-1])


def output_at(rate_hz: int) -> dict[int, int]:
    """What is to be sent."""
    return {Item.PACKET_COUNTER: EVERY, Item.QUATERNION: rate_hz, Item.ACCELERATION: rate_hz,
            Item.RATE_OF_TURN: rate_hz, Item.STATUS: EVERY}


class XsensImu:
    """The language of one MTi; an `ImuLanguage`.

    Attributes:
        lost: messages that its counter has and we have not.
        repeated: messages that came twice; the second is no new reading.
        rate_hz: that it says it sends with.
    """

    def __init__(self, baud: int | None = None) -> None:
        self.baud = baud or 921_600
        self.state = ImuState()
        self.lost = self.repeated = 0
        self.rate_hz = 0
        self._stream = MessageStream()
        self._layouts: dict[int, DataLayout] = {}
        self._counter = -1
        self._strange = 0

    @property
    def bad(self) -> int:
        return self._stream.bad + self._strange

    def connect(self, exchange: Exchange) -> list[str]:
        self._layouts, self._counter = {}, -1
        if self._ask(exchange, Kind.GO_TO_CONFIG, b"", Kind.GO_TO_CONFIG_ACK) is None:
            return ["no answer of an Xsens MTi"]
        answer = self._ask(exchange, Kind.SET_OUTPUT, make_output(output_at(rate_for(self.baud))), Kind.SET_OUTPUT_ACK)
        if answer is None:
            return ["it refuses the output asked for"]
        rates = read_output(answer.data)
        self.rate_hz = min((rates.get(item, 0) for item in (Item.QUATERNION, Item.ACCELERATION, Item.RATE_OF_TURN)),
                           default=0)
        if self.rate_hz < RATES_HZ[-1]:
            return [f"it gives orientation, acceleration and turn rates at {self.rate_hz} Hz, not {RATES_HZ[-1]}"]
        if self._ask(exchange, Kind.GO_TO_MEASUREMENT, b"", Kind.GO_TO_MEASUREMENT_ACK) is None:
            return ["it does not begin to measure"]
        return []

    def _ask(self, exchange: Exchange, kind: Kind, data: bytes, answer: Kind) -> Message | None:
        """The answer to a message; None for none, or for its error."""
        heard: list[Message] = []

        def is_enough(bytes_: bytes) -> bool:
            heard.extend(message for message in self._stream.feed(bytes_) if message.kind in (answer, Kind.ERROR))
            return bool(heard)

        for _ in range(TRIES):
            if exchange(make_message(kind, data), is_enough, ANSWER_S):
                return heard[0] if heard[0].kind == answer else None
        return None

    def hear(self, data: bytes, now_ns: int) -> int:
        by_size: dict[int, list[bytes]] = {}
        for message in self._stream.feed(data):
            if message.kind == Kind.DATA:
                by_size.setdefault(len(message.data), []).append(message.data)
        return sum(self._take(size, bodies, now_ns) for size, bodies in by_size.items())

    def _take(self, size: int, bodies: list[bytes], now_ns: int) -> int:
        layout = self._layouts.get(size)
        if layout is None or layout.problems:
            layout = self._layouts[size] = DataLayout(bodies[-1])
        if layout.problems:
            self._strange += len(bodies)
            return 0
        bodies = self._new(bodies)
        if not bodies:
            return 0
        if len(bodies) == 1:
            one = layout.read_one(bodies[0])
            newest, count = one, int(one is not None)
        else:
            values = layout.read(np.frombuffer(b"".join(bodies), np.uint8).reshape(len(bodies), size))
            newest, count = (values[-1] if len(values) else None), len(values)
        self._strange += len(bodies) - count
        if newest is not None:
            self.state.note(newest, now_ns, count)
        return count

    def _new(self, bodies: list[bytes]) -> list[bytes]:
        """Those that are none of the last over again; what their counter leaves out is lost."""
        found = []
        for body in bodies:
            if body.startswith(_COUNTER):
                counter = int.from_bytes(body[3:5], "big")
                skipped = (counter - self._counter - 1) & 0xFFFF
                if self._counter >= 0 and skipped == 0xFFFF:
                    self.repeated += 1
                    continue
                if self._counter >= 0 and skipped < MOST_LOST:
                    self.lost += skipped
                self._counter = counter
            found.append(body)
        return found
