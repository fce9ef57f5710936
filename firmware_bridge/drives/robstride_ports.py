"""RobStride's drives behind each adapter, as the list of protocols names them."""

from __future__ import annotations

from firmware_bridge.drives.can_frames import CanFrameLink
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.robstride_adapter import RobstrideLink
from firmware_bridge.drives.robstride_bus import RobstrideBus
from firmware_bridge.drives.robstride_far_end import RobstrideFarEnd
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.emulated_drives import EmulatedMotors

BAUD = 921_600


def slcan_language(drives: list[Drive], baud: int | None) -> RobstrideBus:
    """Drives behind any slcan adapter."""
    return RobstrideBus(drives, SlcanLink(), baud or BAUD)


def adapter_language(drives: list[Drive], baud: int | None) -> RobstrideBus:
    """Drives behind RobStride's own adapter ("AT")."""
    return RobstrideBus(drives, RobstrideLink(), baud or BAUD)


def slcan_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> RobstrideFarEnd:
    """An slcan adapter and its emulated drives."""
    return RobstrideFarEnd(drives, SlcanLink(), motors, rows)


def adapter_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> RobstrideFarEnd:
    """RobStride's own adapter and its emulated drives."""
    return RobstrideFarEnd(drives, RobstrideLink(), motors, rows)


def can_language(drives: list[Drive], baud: int | None) -> RobstrideBus:
    """Drives on a CAN interface of the system."""
    return RobstrideBus(drives, CanFrameLink(), baud or BAUD)


def can_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> RobstrideFarEnd:
    """Emulated drives on a CAN interface."""
    return RobstrideFarEnd(drives, CanFrameLink(), motors, rows)
