"""The wireless remote: 40 raw bytes in LowState.

Layout (unitreerobotics/unitree_sdk2 `unitree/robot/../joystick` `xRockerBtnDataStruct`): bytes 0-1 head, 2-3 button
bits (little-endian), then float32 lx at 4, rx at 8, ry at 12, L2 at 16, ly at 20.
"""

from __future__ import annotations

from collections.abc import Iterable

BUTTONS = (
    "R1", "L1", "start", "select", "R2", "L2", "F1", "F2",
    "A", "B", "X", "Y", "up", "right", "down", "left",
)


def button_mask(names: Iterable[str]) -> int:
    """Bits of buttons held together; ValueError names an unknown button."""
    mask = 0
    for name in names:
        mask |= 1 << BUTTONS.index(name)
    return mask


def buttons_in(low: int, high: int) -> int:
    """The button bits from bytes 2 and 3."""
    return low | high << 8
