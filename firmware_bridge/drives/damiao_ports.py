"""Damiao's drives behind either adapter, as the list of protocols names them."""

from __future__ import annotations

from firmware_bridge.drives.can_frames import CanFrameLink
from firmware_bridge.drives.damiao_adapter import DamiaoLink, FarDamiaoLink
from firmware_bridge.drives.damiao_bus import DamiaoBus
from firmware_bridge.drives.damiao_far_end import DamiaoFarEnd
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.emulated_drives import EmulatedMotors

BAUD = 921_600
"""Of Damiao's own adapter, and the usual one of slcan adapters with a UART; a USB CDC device ignores it."""


def slcan_language(drives: list[Drive], baud: int | None) -> DamiaoBus:
    """Drives behind any slcan adapter."""
    return DamiaoBus(drives, SlcanLink(), baud or BAUD)


def adapter_language(drives: list[Drive], baud: int | None) -> DamiaoBus:
    """Drives behind Damiao's own adapter."""
    return DamiaoBus(drives, DamiaoLink(), baud or BAUD)


def slcan_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> DamiaoFarEnd:
    """An slcan adapter and its emulated drives."""
    return DamiaoFarEnd(drives, SlcanLink(), motors, rows)


def adapter_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> DamiaoFarEnd:
    """Damiao's own adapter and its emulated drives."""
    return DamiaoFarEnd(drives, FarDamiaoLink(), motors, rows)


def can_language(drives: list[Drive], baud: int | None) -> DamiaoBus:
    """Drives on a CAN interface of the system."""
    return DamiaoBus(drives, CanFrameLink(), baud or BAUD)


def can_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> DamiaoFarEnd:
    """Emulated drives on a CAN interface."""
    return DamiaoFarEnd(drives, CanFrameLink(), motors, rows)
