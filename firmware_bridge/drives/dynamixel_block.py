"""What every servo is asked each cycle: one block of its registers, put together by indirect addresses.

The bus watchdog stands first in it: it is 0 in a servo that has lost its power since it was connected, whose indirect
addresses then point elsewhere, so that nothing else of its block means anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.crc16 import BuypassOfFrames, buypass
from firmware_bridge.drives.dynamixel import BROADCAST, HEAD, Instruction, PacketStream, Register

U8 = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]

BLOCK = np.dtype([("watchdog", "u1"), ("torque", "u1"), ("error", "u1"), ("temperature", "u1"), ("current", "<i2"),
                  ("velocity", "<i4"), ("position", "<i4")])
SIZE = BLOCK.itemsize
PARTS: tuple[Register, ...] = (
    dynamixel.WATCHDOG, dynamixel.TORQUE_ENABLE, dynamixel.HARDWARE_ERROR, dynamixel.PRESENT_TEMPERATURE,
    dynamixel.PRESENT_CURRENT, dynamixel.PRESENT_VELOCITY, dynamixel.PRESENT_POSITION,
)
ADDRESSES = b"".join((part.address + byte).to_bytes(2, "little") for part in PARTS for byte in range(part.size))
"""What the first `SIZE` indirect addresses have to say."""
STATUS_BYTES = 11 + SIZE
IN_PACKET = np.dtype([("begin", "V9"), *BLOCK.descr, ("crc", "<u2")])
"""A block as it stands in its packet."""
FAST_HEAD_BYTES, FAST_BYTES = 8, 4 + SIZE
_CRC = BuypassOfFrames(STATUS_BYTES - 2)
_BEFORE = HEAD + bytes([0, SIZE + 4, 0, Instruction.STATUS])
_AFTER = len(_BEFORE)
_ALIKE = np.frombuffer(_BEFORE, np.uint8)
_IS_ID = np.arange(_AFTER) == len(HEAD)
_NOTHING = (np.zeros(0, np.intp), np.zeros(0, BLOCK))


class Blocks(NamedTuple):
    """Blocks that have arrived: (m,) whose, (m,) with the fields of `BLOCK`."""

    rows: Rows
    data: npt.NDArray[np.void]


class BlockStream:
    """Blocks out of a stream of bytes, each in a packet of its own.

    Args:
        ids: of the servos, in the order of the rows.
    """

    def __init__(self, ids: list[int]) -> None:
        self._row = np.full(256, -1, np.intp)
        self._row[ids] = self._every = np.arange(len(ids))
        begins = np.tile(_ALIKE, (len(ids), 1))
        begins[:, len(HEAD)] = ids
        self._begins = begins.tobytes()
        self._packets = PacketStream()
        self.strangers = 0

    @property
    def bad(self) -> int:
        return self._packets.bad + self.strangers

    def forget(self) -> None:
        """Let go of the beginning of a packet whose end has not come."""
        self._packets.forget()

    def feed(self, data: bytes) -> Blocks:
        """The blocks that are complete now."""
        data = self._packets.swap(b"") + data
        count = len(data) // STATUS_BYTES
        if count:  # packets in step, as they usually are: all at once
            whole = count * STATUS_BYTES
            table = np.frombuffer(data, np.uint8, whole).reshape(count, STATUS_BYTES)
            if _CRC.of(table[:, :-2]).tobytes() == table[:, -2:].tobytes():
                begins = table[:, :_AFTER]
                if begins.tobytes() == self._begins:
                    self._packets.swap(data[whole:])
                    return Blocks(self._every, np.frombuffer(data, IN_PACKET, count))
                if ((begins == _ALIKE) | _IS_ID).all():
                    self._packets.swap(data[whole:])
                    return self._mine(self._row[table[:, 4]], table[:, 9:-2])
        packets = [p for p in self._packets.feed(data) if p.instruction == Instruction.STATUS]
        blocks = [p for p in packets if len(p.parameters) == SIZE]
        self.strangers += len(packets) - len(blocks)
        raw = np.frombuffer(b"".join(p.parameters for p in blocks), np.uint8).reshape(-1, SIZE)
        return self._mine(self._row[[p.id for p in blocks]] if blocks else _NOTHING[0], raw)

    def _mine(self, rows: Rows, raw: U8) -> Blocks:
        known = rows >= 0
        self.strangers += int(np.count_nonzero(~known))
        return Blocks(rows[known], np.ascontiguousarray(raw[known]).view(BLOCK).reshape(-1))


class FastStream:
    """Blocks out of the one packet that a fast sync read is answered with, each servo adding its own piece.

    A piece ends with the CRC of all before it. Where one is damaged the next is checked from the CRC that the damaged
    one came with: so it costs itself, and nobody waits for the end of a packet of which a servo is missing.
    """

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids
        length = 1 + len(ids) * FAST_BYTES
        self._head = HEAD + bytes([BROADCAST]) + length.to_bytes(2, "little") + bytes([Instruction.STATUS])
        self.bad = 0
        self.forget()
        self.bad = 0

    def forget(self) -> None:
        """Let go of a packet whose end has not come."""
        self.bad += bool(getattr(self, "_waiting", b""))
        self._waiting, self._at, self._crc = b"", 0, -1

    def feed(self, data: bytes) -> Blocks:
        """The blocks that are complete now."""
        self._waiting += data
        if self._crc < 0 and not self._begin():
            return Blocks(*_NOTHING)
        rows, pieces = [], []
        while len(self._waiting) >= FAST_BYTES and self._at < len(self._ids):
            piece, self._waiting = self._waiting[:FAST_BYTES], self._waiting[FAST_BYTES:]
            told = int.from_bytes(piece[-2:], "little")
            if buypass(piece[:-2], self._crc) == told and piece[1] == self._ids[self._at]:
                rows.append(self._at)
                pieces.append(piece[2:-2])
            else:
                self.bad += 1
            self._crc, self._at = buypass(piece[-2:], told), self._at + 1
        raw = np.frombuffer(b"".join(pieces), BLOCK)
        return Blocks(np.array(rows, np.intp), raw)

    def _begin(self) -> bool:
        at = self._waiting.find(self._head)
        self.bad += at > 0
        self._waiting = self._waiting[at:] if at >= 0 else self._waiting[-FAST_HEAD_BYTES + 1 :]
        if at < 0:
            return False
        self._crc, self._waiting = buypass(self._head), self._waiting[FAST_HEAD_BYTES:]
        return True


def fast_answer(ids: list[int], blocks: list[bytes]) -> bytes:
    """The one packet of a far end; `blocks` ends where a servo was silent, and with it the packet."""
    length = 1 + len(ids) * (4 + (len(blocks[0]) if blocks else 0))
    out = HEAD + bytes([BROADCAST]) + length.to_bytes(2, "little") + bytes([Instruction.STATUS])
    for number, block in zip(ids, blocks, strict=False):
        out += bytes([0, number]) + block
        out += buypass(out).to_bytes(2, "little")
    return out if blocks else b""
