"""How drives are commanded with the field's own libraries, for the serial benchmark: one host a library.

Each does one cycle as its documents and users do: targets out, states of all drives back as numbers.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import struct
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.language import Drive
from firmware_bridge.errors import BridgeError

F64 = npt.NDArray[np.float64]
TWO_PI = 2 * math.pi
CAN_ANSWER_S = 0.01
"""How long huggingface/lerobot waits for a Damiao's answer, `motors/damiao/damiao.py` @ 7427f31."""


class StockHost(Protocol):
    """A library on one port."""

    def run(self, cycles: int) -> list[float]:
        """So many cycles; what each took, s."""
        ...

    def positions(self) -> F64:
        """(n,) q of the last cycle, rad; NaN for who was not heard."""
        ...

    def close(self) -> None: ...


def _library(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BridgeError("serial benchmark", expected=f"{package} to compare with", found=str(error),
                          what_to_do="pip install 'exoactor[bench]'") from error


class MoteusHost:
    """The moteus package: register frames through its fdcanusb transport, all of a cycle at once."""

    def __init__(self, path: str, drives: list[Drive]) -> None:
        moteus = _library("moteus", "moteus")
        self._registers = moteus.Register.POSITION, moteus.Register.VELOCITY, moteus.Register.TORQUE
        self._state = np.full((len(drives), 3), np.nan)
        self._loop = asyncio.new_event_loop()
        self._ids = [drive.id for drive in drives]

        async def connect() -> Any:
            transport = moteus.Fdcanusb(path)
            return transport, [moteus.Controller(id=drive.id, transport=transport) for drive in drives]

        self._transport, self._controllers = self._loop.run_until_complete(connect())

    def run(self, cycles: int) -> list[float]:
        return list(self._loop.run_until_complete(self._run(cycles)))

    async def _run(self, cycles: int) -> list[float]:
        took = []
        for _ in range(cycles):
            self._state[:] = np.nan
            begin = time.perf_counter()
            results = await self._transport.cycle([
                controller.make_position(position=0.0, velocity=0.0, feedforward_torque=0.0, kp_scale=0.5, kd_scale=0.5,
                                         query=True) for controller in self._controllers])
            for result in results:
                turns, turns_s, torque = (result.values[register] for register in self._registers)
                self._state[self._ids.index(result.id)] = turns * TWO_PI, turns_s * TWO_PI, torque
            took.append(time.perf_counter() - begin)
        return took

    def positions(self) -> F64:
        return np.asarray(self._state[:, 0])

    def close(self) -> None:
        self._transport.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class SlcanHost:
    """python-can's slcan interface, with the MIT word packed number by number."""

    def __init__(self, path: str, drives: list[Drive]) -> None:
        self._can = _library("can", "python-can")
        self._bus = self._can.Bus(interface="slcan", channel=path, bitrate=1_000_000, sleep_after_open=0.1)
        self._ids = [drive.id for drive in drives]
        self._state = np.full((len(drives), 3), np.nan)

    def run(self, cycles: int) -> list[float]:
        took = []
        for _ in range(cycles):
            self._state[:] = np.nan
            begin = time.perf_counter()
            for number in self._ids:
                self._bus.send(self._can.Message(arbitration_id=number, is_extended_id=False,
                                                 data=_mit_word(0.0, 0.0, 20.0, 1.0, 0.0)))
            self._collect(begin + CAN_ANSWER_S)
            took.append(time.perf_counter() - begin)
        return took

    def _collect(self, until: float) -> None:
        missing = set(self._ids)
        while missing and (left := until - time.perf_counter()) > 0:
            try:
                message = self._bus.recv(timeout=left)
            except ValueError:  # what it makes of a damaged line
                continue
            if message is not None and message.arbitration_id - 0x10 in missing:
                number = message.arbitration_id - 0x10
                self._state[self._ids.index(number)] = _mit_state(message.data)
                missing.discard(number)

    def positions(self) -> F64:
        return np.asarray(self._state[:, 0])

    def close(self) -> None:
        self._bus.shutdown()


def _mit_word(q: float, dq: float, kp: float, kd: float, tau: float) -> bytes:
    """A DM4310's word."""
    word = 0
    for value, low, high, bits in ((q, -12.5, 12.5, 16), (dq, -30, 30, 12), (kp, 0, 500, 12), (kd, 0, 5, 12),
                                   (tau, -10, 10, 12)):
        word = word << bits | int((min(max(value, low), high) - low) / (high - low) * ((1 << bits) - 1))
    return struct.pack(">Q", word)


def _mit_state(data: bytes) -> tuple[float, float, float]:
    """What a DM4310 says: rad, rad/s, N m."""
    q, dq, tau = data[1] << 8 | data[2], data[3] << 4 | data[4] >> 4, (data[4] & 15) << 8 | data[5]
    return q / 65535 * 25.0 - 12.5, dq / 4095 * 60.0 - 30.0, tau / 4095 * 20.0 - 10.0


class DynamixelHost:
    """ROBOTIS's dynamixel-sdk: a sync write of goals, a sync read of current, velocity and position.

    Each value is asked for by `isAvailable` and `getData`, as in the library's own examples.
    """

    GOAL, PRESENT, PRESENT_BYTES = 116, 126, 10
    POSITION, VELOCITY, CURRENT = (132, 4, TWO_PI / 4096), (128, 4, 0.229 * TWO_PI / 60), (126, 2, 2.69e-3 * 4.1 / 2.3)
    """Address, bytes, and rad, rad/s or N m of a count of an XM430-W350."""

    def __init__(self, path: str, drives: list[Drive]) -> None:
        sdk = _library("dynamixel_sdk", "dynamixel-sdk")
        self._port, packets = sdk.PortHandler(path), sdk.PacketHandler(2.0)
        self._port.openPort()
        self._port.setBaudRate(4_000_000)
        self._ids = [drive.id for drive in drives]
        self._state = np.full((len(drives), 3), np.nan)
        self._write = sdk.GroupSyncWrite(self._port, packets, self.GOAL, 4)
        self._read = sdk.GroupSyncRead(self._port, packets, self.PRESENT, self.PRESENT_BYTES)
        for number in self._ids:
            self._read.addParam(number)

    def run(self, cycles: int) -> list[float]:
        took = []
        for _ in range(cycles):
            self._state[:] = np.nan
            begin = time.perf_counter()
            self._write.clearParam()
            for number in self._ids:
                self._write.addParam(number, struct.pack("<i", 0))
            self._write.txPacket()
            self._read.txRxPacket()
            for at, number in enumerate(self._ids):
                for column, (address, size, unit) in enumerate((self.POSITION, self.VELOCITY, self.CURRENT)):
                    if self._read.isAvailable(number, address, size):
                        code, bits = self._read.getData(number, address, size), 8 * size
                        self._state[at, column] = (code - (code >> bits - 1 << bits)) * unit
            took.append(time.perf_counter() - begin)
        return took

    def positions(self) -> F64:
        return np.asarray(self._state[:, 0])

    def close(self) -> None:
        self._port.closePort()


STOCK_HOSTS: dict[str, Callable[[str, list[Drive]], StockHost]] = {
    "moteus-fdcanusb": MoteusHost, "damiao-slcan": SlcanHost, "dynamixel": DynamixelHost}
