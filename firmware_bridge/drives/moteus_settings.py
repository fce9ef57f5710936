"""A moteus's settings, by name, over the text console that it offers inside its CAN frames.

`40 01 n text` carries text there, `42 01 n` asks for up to n bytes of what it says, `41 01 n text` is the answer
(moteus `docs/protocol/diagnostic.md` @ 42d1708, `lib/python/moteus/moteus.py` 1.1.1).
"""

from __future__ import annotations

from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.moteus import LineStream, make_line

ID = "id.id"
TIMEOUT = "servo.default_timeout_s"
KP, KI, KD = (f"servo.pid_position.{name}" for name in ("kp", "ki", "kd"))
LIMITS = ("servo.default_velocity_limit", "servo.default_accel_limit")
ANSWER_S = 0.02
POLLS = 12
TRIES = 3
_TO_DRIVE, _FROM_DRIVE, _POLL, _CHANNEL, _MOST = 0x40, 0x41, 0x42, 1, 48


class Console:
    """The console of one drive.

    Args:
        exchange: sends, and feeds what comes back.
        stream: of the port.
        motor: whom.
        checksum: lines carry one.
    """

    def __init__(self, exchange: Exchange, stream: LineStream, motor: int, checksum: bool) -> None:
        self._exchange, self._stream, self._motor, self._checksum = exchange, stream, motor, checksum

    def get(self, name: str) -> float | None:
        """A setting; None when it has none of that name, or does not answer. NaN is a value."""
        for _ in range(TRIES):
            told = self._say(b"conf get %s\n" % name.encode())
            if told is not None:
                try:
                    return float(told)
                except ValueError:
                    return None
        return None

    def set(self, name: str, value: float) -> float | None:
        """Set until power goes, and read back."""
        self.tell(name, value)
        return self.get(name)

    def tell(self, name: str, value: float) -> None:
        """Set until power goes."""
        text = f"{value:d}" if isinstance(value, int) else f"{value:.6f}"
        self._say(b"conf set %s %s\n" % (name.encode(), text.encode()))

    def save(self) -> None:
        """Make what was set outlive a power cycle; the drive is to be stopped."""
        self._say(b"conf write\n")

    def _say(self, text: bytes) -> str | None:
        """The next line that it says after what it is told; what it still had to say before is dropped."""
        for _ in range(POLLS):
            if not self._poll():
                break
        line = make_line(self._motor, bytes([_TO_DRIVE, _CHANNEL, len(text)]) + text, answer=False,
                         checksum=self._checksum)
        taken = self._stream.acknowledged
        self._exchange(line, lambda data: self._stream.feed(data) is not None and self._stream.acknowledged > taken,
                       ANSWER_S)
        heard = b""
        for _ in range(POLLS):
            heard += self._poll()
            if b"\n" in heard:
                return heard.partition(b"\n")[0].decode("ascii", "replace").strip()
        return None

    def _poll(self) -> bytes:
        """What it has to say; empty also when it does not answer."""
        found: list[bytes] = []

        def is_enough(data: bytes) -> bool:
            for line in self._stream.feed(data):
                part = line.payload
                if line.motor == self._motor and part[:2] == bytes([_FROM_DRIVE, _CHANNEL]) and len(part) > 2:
                    found.append(part[3 : 3 + part[2]])
            return bool(found)

        question = make_line(self._motor, bytes([_POLL, _CHANNEL, _MOST]), checksum=self._checksum)
        self._exchange(question, is_enough, ANSWER_S)
        return found[-1] if found else b""
