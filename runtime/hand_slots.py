"""The shared memory of a run with hands: orders from the policy to the gate, writes from the gate to the log."""

from __future__ import annotations

from pathlib import Path

from runtime.hand import HandModel
from runtime.records import HAND_RING, hand_log_dtype, hand_order_dtype
from runtime.slots import Ring, Slot


def order_slot(shared: Path, run: int, model: HandModel, *, create: bool = False) -> Slot:
    """The newest `hand_order_dtype`."""
    return Slot(shared / "hands", hand_order_dtype(len(model.joints)), run, create=create)


def hand_ring(shared: Path, run: int, model: HandModel, *, create: bool = False) -> Ring:
    """Each `hand_log_dtype`."""
    return Ring(shared / "hands_ring", hand_log_dtype(len(model.joints)), run, HAND_RING, create=create)
