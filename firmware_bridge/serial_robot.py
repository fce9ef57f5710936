"""The bus of a robot whose wiring is in a file."""

from __future__ import annotations

import numpy as np

from firmware_bridge.drives.protocols import make_language
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_imu import make_base_imu
from firmware_bridge.serial_line import Line
from firmware_bridge.wiring import Wiring


def make_serial_bus(wiring: Wiring, period_s: float) -> SerialBus:
    """Not yet connected; nothing is opened.

    Raises:
        BridgeError: a model or id that its protocol does not know, or a cycle that does not fit the period.
    """
    lines = [Line(bus.port, list(bus.drives), make_language(bus.protocol, list(bus.drives), bus.baud),
                  without_watchdog=bus.without_watchdog) for bus in wiring.buses]
    imu = make_base_imu(wiring.imu, {line.path: line.language for line in lines})
    return SerialBus(lines, wiring.motors, period_s, wiring.watchdog_s, imu,
                     velocity_rad_s=np.array(wiring.table.velocity_rad_s), mode_machine=wiring.table.mode_machine)
