"""The one list of protocols: a name in a wiring file to the code behind it, imported when it is asked for.

A row names functions as `module:function`, the module below `firmware_bridge.drives`. Adding a protocol is a file of
its own and a row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from firmware_bridge.drives.imu import ImuLanguage
from firmware_bridge.drives.language import F64, Drive, Language
from firmware_bridge.emulated_drives import EmulatedMotors
from firmware_bridge.errors import BridgeError

PACKAGE = "firmware_bridge.drives"
MCU = "mcu"
IMU_PROTOCOLS: dict[str, str] = {"xsens": "xsens_imu:XsensImu", MCU: ""}
"""Name: `(baud: int | None) -> ImuLanguage`; empty: the IMU of the microcontroller on that port, in its own frames."""
IMU_FAR_ENDS: dict[str, str] = {"xsens": "xsens_far_end:XsensFarEnd"}
"""Name: `(sense: Callable[[], F64], clock_s: Callable[[], float]) -> FarEnd`."""
ESTOP_PROTOCOLS = ("button",)
HAND_PROTOCOLS = ("inspire-rh56",)
"""A pair of hands is no bus of drives: `HandBus`, one port a hand (`firmware_bridge/inspire_hands.py`)."""


class FarEnd(Protocol):
    """What sits at the far end of an emulated port. One that also talks by itself has `tick() -> bytes`."""

    def feed(self, data: bytes) -> bytes:
        """What it answers to some bytes."""
        ...


@dataclass(frozen=True)
class Row:
    """One protocol.

    Attributes:
        language: `(drives: list[Drive], baud: int | None) -> Language`.
        far_end: `(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> FarEnd`.
        maintenance: `() -> Maintenance` (`maintenance.py`); empty where there is none.
        is_serial: its port is a serial port and can be emulated by a pty.
    """

    language: str
    far_end: str
    maintenance: str = ""
    is_serial: bool = True


PROTOCOLS: dict[str, Row] = {
    "damiao-slcan": Row("damiao_ports:slcan_language", "damiao_ports:slcan_far_end", "damiao_maintenance:slcan"),
    "damiao-adapter": Row("damiao_ports:adapter_language", "damiao_ports:adapter_far_end",
                          "damiao_maintenance:adapter"),
    "go-m8010": Row("go_m8010_bus:language", "go_m8010_far_end:far_end", "go_m8010_maintenance:maintenance"),
    "dynamixel": Row("dynamixel_bus:language", "dynamixel_far_end:far_end", "dynamixel_maintenance:maintenance"),
    "dynamixel-fast": Row("dynamixel_bus:fast_language", "dynamixel_far_end:far_end",
                          "dynamixel_maintenance:maintenance"),
    "feetech": Row("feetech_bus:language", "feetech_far_end:far_end", "feetech_maintenance:maintenance"),
    "damiao-socketcan": Row("damiao_ports:can_language", "damiao_ports:can_far_end", "damiao_maintenance:can",
                            is_serial=False),
    "robstride-socketcan": Row("robstride_ports:can_language", "robstride_ports:can_far_end",
                               "robstride_maintenance:can", is_serial=False),
    "robstride-slcan": Row("robstride_ports:slcan_language", "robstride_ports:slcan_far_end",
                           "robstride_maintenance:slcan"),
    "robstride-at": Row("robstride_ports:adapter_language", "robstride_ports:adapter_far_end",
                        "robstride_maintenance:adapter"),
    "moteus-fdcanusb": Row("moteus_bus:moteus_language", "moteus_far_end:moteus_far_end",
                           "moteus_maintenance:moteus_maintenance"),
    MCU: Row("mcu_bus:language", "mcu_far_end:far_end", "mcu_maintenance:McuMaintenance"),
}


def row_of(protocol: str) -> Row:
    """The row of a protocol.

    Raises:
        BridgeError: nobody knows it.
    """
    if protocol not in PROTOCOLS:
        raise BridgeError("protocol", expected=f"one of {', '.join(PROTOCOLS)}", found=protocol,
                          what_to_do="correct the name")
    return PROTOCOLS[protocol]


def make_language(protocol: str, drives: list[Drive], baud: int | None = None) -> Language:
    """What speaks a protocol to the drives of one port.

    Raises:
        BridgeError: unknown protocol or model.
    """
    language: Language = _named(row_of(protocol).language)(drives, baud)
    return language


def make_imu(protocol: str, baud: int | None = None) -> ImuLanguage:
    """What speaks the protocol of an IMU on a port of its own."""
    language: ImuLanguage = _named(IMU_PROTOCOLS[protocol])(baud)
    return language


def make_imu_far_end(protocol: str, sense: Callable[[], F64], clock_s: Callable[[], float]) -> FarEnd:
    """An emulated IMU.

    Args:
        sense: (10,) as `ImuState.values`, now.
        clock_s: seconds, rising.
    """
    far_end: FarEnd = _named(IMU_FAR_ENDS[protocol])(sense, clock_s)
    return far_end


def make_far_end(protocol: str, drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> FarEnd:
    """Emulated drives of one port.

    Args:
        rows: which of `motors` these drives turn.
    """
    far_end: FarEnd = _named(row_of(protocol).far_end)(drives, motors, rows)
    return far_end


def make_maintenance(protocol: str) -> Any:
    """What a protocol offers beside driving (`maintenance.py`); None for nothing."""
    name = row_of(protocol).maintenance
    return _named(name)() if name else None


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), attribute)
