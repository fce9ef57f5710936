"""The base's IMU on a serial port of its own: opened, read without waiting, turned into the base's axes.

An IMU that has said nothing for `STALE_S` makes the whole sample old: the bus gives none, so that the gate sees its
state age, holds and damps, as it does for a robot that has gone silent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.imu import ImuLanguage, ImuState
from firmware_bridge.drives.mcu_bus import McuBus
from firmware_bridge.drives.protocols import MCU, make_imu
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import MotorSample
from firmware_bridge.serial_port import SerialPort
from firmware_bridge.wiring import ImuWiring

STALE_S = 0.03
"""Three readings of the slowest that is taken (100 Hz)."""
_STALE_NS = round(STALE_S * 1e9)

Quat = tuple[float, float, float, float]


def into_base(mounting_wxyz: Quat) -> npt.NDArray[np.float64]:
    """(10, 10): turns an IMU's values into the base's, where `mounting_wxyz` is the IMU's orientation in the base.

    A vector v of the IMU is R(mounting) v in the base; the base's orientation is that of the IMU times the inverse of
    the mounting.
    """
    w, x, y, z = mounting_wxyz
    out = np.zeros((10, 10))
    out[:4, :4] = [[w, x, y, z], [-x, w, -z, y], [-y, z, w, -x], [-z, -y, x, w]]  # q times the conjugate
    R = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                  [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                  [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])
    out[4:7, 4:7] = out[7:, 7:] = R
    return out


class BaseImu:
    """What fills a sample's IMU, from whoever hears it.

    Args:
        state: of the IMU, in its own axes.
        mounting_wxyz: its orientation in the base.
    """

    def __init__(self, state: ImuState, mounting_wxyz: Quat = (1.0, 0.0, 0.0, 0.0)) -> None:
        self.state = state
        self._into_base = into_base(mounting_wxyz)
        self._readings = -1

    def is_stale(self, now_ns: int) -> bool:
        """Whether it has said nothing for too long, or never."""
        return self.state.heard_ns == 0 or now_ns - self.state.heard_ns > _STALE_NS

    @property
    def is_open(self) -> bool:
        """Whether the port is there; one that comes with the motors' frames has none of its own."""
        return True

    def connect(self) -> None:
        """Open a port of its own, where it has one."""

    def hear(self, now_ns: int) -> None:
        """Take what has arrived on a port of its own, where it has one."""

    def close(self) -> None:
        """Let that port go."""

    def age_s(self, now_ns: int) -> float:
        """Since its last reading; infinite before the first."""
        return (now_ns - self.state.heard_ns) * 1e-9 if self.state.heard_ns else float("inf")

    def fill(self, sample: MotorSample) -> None:
        """Its last reading into a sample, in the base's axes."""
        if self.state.readings != self._readings:
            self._readings = self.state.readings
            sample.imu[:] = self._into_base @ self.state.values


class SerialImu(BaseImu):
    """An IMU on a port of its own."""

    def __init__(self, path: str, language: ImuLanguage, mounting_wxyz: Quat = (1.0, 0.0, 0.0, 0.0)) -> None:
        super().__init__(language.state, mounting_wxyz)
        self.path, self.language = path, language
        self.port: SerialPort | None = None
        self._is_closed = False

    def connect(self) -> None:
        """Open its port and have it send.

        Raises:
            BridgeError: no such port, or not this IMU there.
        """
        port = SerialPort(self.path, self.language.baud)
        problems = self.language.connect(port.exchange)
        if problems:
            port.close()
            raise BridgeError(f"IMU {self.path}", expected="an IMU of the protocol named, sending", found=problems[0],
                              what_to_do="check cable, protocol and baud of the wiring file's `imu`")
        self.port = port
        if self._is_closed:  # meanwhile, by another thread
            port.close()

    @property
    def is_open(self) -> bool:
        """Whether its port is there."""
        return self.port is not None and self.port.is_open

    def hear(self, now_ns: int) -> None:
        """Take what has arrived."""
        if self.port is not None and self.port.is_open:
            data = self.port.read()
            if data:
                self.language.hear(data, now_ns)

    def close(self) -> None:
        """Let the port go, for good."""
        self._is_closed = True
        if self.port is not None:
            self.port.close()


def make_base_imu(wiring: ImuWiring | None, languages: Mapping[str, object]) -> BaseImu | None:
    """What a wiring file says of the base's IMU.

    Args:
        languages: of the buses, by port: a microcontroller's brings its IMU.
    """
    if wiring is None:
        return None
    if wiring.protocol == MCU:
        language = languages[wiring.port]
        assert isinstance(language, McuBus)  # the wiring file was checked for it
        return BaseImu(language.imu, wiring.mounting_wxyz)
    return SerialImu(wiring.port, make_imu(wiring.protocol, wiring.baud), wiring.mounting_wxyz)
