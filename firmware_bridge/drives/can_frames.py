"""CAN frames as Linux has them in memory: 16 bytes each, no adapter's text around them.

`struct can_frame` of <linux/can.h>: identifier and flags, little endian; length; three bytes of padding; data. The flag
of a long identifier is the same bit as `EXTENDED`.
"""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.can_link import EXTENDED, U8, U32, CanFrames

FRAME_BYTES = 16
REMOTE, ERROR = 1 << 30, 1 << 29


class CanFrameLink:
    """Frames of a CAN interface."""

    def __init__(self) -> None:
        self.bad = 0

    def opening(self) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def pack(self, ids: U32, data: U8) -> bytes:
        out = np.zeros((len(ids), FRAME_BYTES), np.uint8)
        out[:, :4] = np.ascontiguousarray(ids, "<u4").view(np.uint8).reshape(-1, 4)
        out[:, 4], out[:, 8:] = 8, data
        return out.tobytes()

    def feed(self, data: bytes) -> CanFrames:
        whole = len(data) // FRAME_BYTES * FRAME_BYTES
        self.bad += whole < len(data)  # the system hands over whole frames only
        raw = np.frombuffer(data[:whole], np.uint8).reshape(-1, FRAME_BYTES)
        ids = raw[:, :4].view("<u4").reshape(-1)
        is_good = (ids & (REMOTE | ERROR) == 0) & (raw[:, 4] <= 8) & ((ids >= EXTENDED) | (ids < 0x800))
        if not is_good.all():
            self.bad += int(np.count_nonzero(~is_good))
            raw, ids = raw[is_good], ids[is_good]
        return CanFrames(ids, raw[:, 8:], raw[:, 4])
