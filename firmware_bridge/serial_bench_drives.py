"""Who is on the buses of the serial benchmark."""

from __future__ import annotations

from firmware_bridge.drives.language import Drive

SIZES = {"moteus-fdcanusb": ("moteus", 12), "damiao-slcan": ("DM4310", 8), "dynamixel": ("XM430-W350", 12)}
"""Protocol: model and how many."""


def bench_drives(protocol: str) -> list[Drive]:
    """The drives of one bus, ids from 1."""
    model, count = SIZES[protocol]
    return [Drive(at, at + 1, model, name=f"joint {at}") for at in range(count)]
