"""What reaches the gate's part for hands: files, orders of a policy gone wrong, states and commands off the wire."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from firmware_bridge.dex3 import HAND_CMD, MOTORS, HandDecoder
from firmware_bridge.hand_bus import HandSample, SafeHandCommand
from firmware_bridge.motor_bus import Reading
from runtime.chain import CHAINS, parse_chain
from runtime.faults import Mode
from runtime.hand import HANDS, KEEP, load_hand, parse_hand
from runtime.hand_gate import EVERY, HandGate
from runtime.records import hand_order_dtype

DEX3 = load_hand("dex3-1")
ORDER = hand_order_dtype(MOTORS)
NOW_NS = 10**9
ARRAYS = ("q", "dq", "tau", "temperature_c", "motor_error")


class _Bus:
    """Hands that stand wherever bytes say, and check what they are told."""

    def __init__(self) -> None:
        self.sample = HandSample.zeros(MOTORS)

    def read(self, side: int) -> Reading:
        return Reading.NEW

    def open_writers(self) -> None:
        """Nothing to open."""

    def write(self, side: int, command: SafeHandCommand) -> bool:
        block = command.block[side]
        in_range = (block[:, 0] >= DEX3.lower_rad[side] - 1e-6) & (block[:, 0] <= DEX3.upper_rad[side] + 1e-6)
        if not np.isfinite(block).all() or not in_range.all() or block[:, 1:3].any() or (block[:, 3] > DEX3.kp).any():
            raise AssertionError(f"a hand was told {block}")
        return True

    def other_writers(self, side: int) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to close."""


def eat_order(data: bytes) -> None:
    """Orders, and in their place at the next tick what the hands say: whatever comes, what is written is sound."""
    bus = _Bus()
    gate, order = HandGate(DEX3, bus, 500, KEEP), np.zeros(1, ORDER)
    size = ORDER.itemsize + sum(getattr(bus.sample, name).nbytes for name in ARRAYS)
    data = data.ljust(size, b"\0")
    with np.errstate(all="ignore"):
        for start in range(0, min(len(data), 8 * size) - size + 1, size):
            order.view(np.uint8)[:] = np.frombuffer(data, np.uint8, ORDER.itemsize, start)
            order["made_ns"] = NOW_NS
            at = start + ORDER.itemsize
            for name in ARRAYS:
                array = getattr(bus.sample, name)
                array[:] = np.frombuffer(data, array.dtype, array.size, at).reshape(array.shape)
                at += array.nbytes
            for mode in (Mode.TRACK, Mode.TRACK, Mode.HOLD, Mode.DAMP):
                for _ in range(EVERY):
                    gate.tick(NOW_NS, mode, order)


def eat_command(data: bytes) -> None:
    """HandCmd payloads into a simulated hand: obeyed whole and finite, or not at all."""
    buffer, out = HAND_CMD.empty(), np.zeros((MOTORS, 5), np.float32)
    chunk = data[: HAND_CMD.size]
    buffer[: len(chunk)] = np.frombuffer(chunk, np.uint8)
    HandDecoder(buffer).decode(out)
    if not np.isfinite(out).all():
        raise AssertionError("a hand obeyed what is not finite")


def _orders() -> list[bytes]:
    order = np.zeros(1, ORDER)
    order["sequence"], order["state"], order["q"] = 1, (2, 3), 0.5
    rest = HandSample.zeros(MOTORS)
    return [(order.tobytes() + b"".join(getattr(rest, name).tobytes() for name in ARRAYS)) * 2]


HAND_TARGETS: dict[str, tuple[Callable[[bytes], object], Callable[[], list[bytes]]]] = {
    "chain": (lambda data: parse_chain(data, Path("chain.json")),
              lambda: [path.read_bytes() for path in sorted(CHAINS.glob("*.json"))]),
    "hand": (lambda data: parse_hand(data, "hand.json"),
             lambda: [path.read_bytes() for path in sorted(HANDS.glob("*.json"))]),
    "hand_command": (eat_command, lambda: [bytes(HAND_CMD.size)]),
    "hand_order": (eat_order, _orders),
}
