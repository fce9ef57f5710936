"""A model of each serial protocol, and ids as that protocol counts them, for tests that take every protocol."""

from __future__ import annotations

from firmware_bridge.drives.go_m8010_bus import MODEL as GO_MODEL
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mcu_bus import MODEL as MCU_MODEL
from firmware_bridge.drives.moteus_bus import MODEL as MOTEUS_MODEL

MODELS = {
    "damiao-slcan": "DM4310", "damiao-adapter": "DM4340", "damiao-socketcan": "DM4310", "go-m8010": GO_MODEL,
    "dynamixel": "XM430-W350", "dynamixel-fast": "XM430-W350", "feetech": "STS3215", "robstride-slcan": "RS03",
    "robstride-at": "RS03", "robstride-socketcan": "RS03", "moteus-fdcanusb": MOTEUS_MODEL, "mcu": MCU_MODEL,
}


def some_drives(protocol: str) -> list[Drive]:
    """Three of one bus."""
    ids = (0, 1, 2) if protocol == "mcu" else (1, 3, 4)
    return [Drive(at, number, MODELS[protocol], name=f"joint {at}") for at, number in enumerate(ids)]
