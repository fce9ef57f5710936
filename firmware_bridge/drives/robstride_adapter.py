"""RobStride's and CyberGear's "AT" serial adapter: CAN frames of 29 bits at 921600 baud.

`AT`, the identifier shifted left by three with 4 in its low bits (big endian), a length, the data, and a line end
(kscalelabs/actuator `transport.rs` @ 01c8f98). Both marks may also be data, so the length decides where the end must
be; a piece that does not end there is passed over by a single byte.
"""

from __future__ import annotations

from firmware_bridge.drives.can_link import EXTENDED, U8, U32, CanFrames

HEAD, END = b"AT", b"\r\n"
_SHORTEST = len(HEAD) + 4 + 1 + len(END)


class RobstrideLink:
    """Frames as that adapter packs them; long identifiers only."""

    def __init__(self) -> None:
        self.bad = 0
        self._waiting = b""

    def opening(self) -> bytes:
        return b"AT+AT\r\n"  # into the mode of these frames, where an adapter is in its other one; it answers OK

    def closing(self) -> bytes:
        return b""

    def pack(self, ids: U32, data: U8) -> bytes:
        return b"".join(
            HEAD + ((int(number) & ~EXTENDED) << 3 | 4).to_bytes(4, "big") + b"\x08" + row.tobytes() + END
            for number, row in zip(ids, data, strict=True)
        )

    def feed(self, data: bytes) -> CanFrames:
        data, at, frames = self._waiting + data, 0, []
        while len(data) - at >= _SHORTEST:
            if data[at : at + 2] != HEAD:
                at = self._next_head(data, at)
                continue
            word, length = int.from_bytes(data[at + 2 : at + 6], "big"), data[at + 6]
            end = at + 7 + length
            if length <= 8 and len(data) < end + 2:
                break
            if length > 8 or word & 7 != 4 or data[end : end + 2] != END:
                at = self._next_head(data, at)
                continue
            frames.append((word >> 3 | EXTENDED, data[at + 7 : end]))
            at = end + 2
        self._waiting = data[at:]
        return CanFrames.of(frames)

    def _next_head(self, data: bytes, at: int) -> int:
        self.bad += 1
        found = data.find(HEAD, at + 1)
        return (len(data) - 1 if data[-1:] == HEAD[:1] else len(data)) if found < 0 else found
