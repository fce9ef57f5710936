"""The far end of a Feetech STS bus: servos with their registers, for tests and for people without any."""

from __future__ import annotations

from firmware_bridge.drives import feetech
from firmware_bridge.drives.feetech import (
    BROADCAST,
    LOAD_SIGN_BIT,
    POSITION_SIGN_BIT,
    Instruction,
    Packet,
    PacketStream,
    from_signed,
    to_signed,
)
from firmware_bridge.drives.feetech_bus import COUNT_RAD, check
from firmware_bridge.drives.feetech_setup import MODELS
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.servo_far_end import ServoFarEnd
from firmware_bridge.emulated_drives import EmulatedMotors

MEMORY, RAM = 256, 40
OWN_KP, OWN_KD = 15.0, 0.6
"""N m/rad and N m s/rad, of stock gains; round numbers."""
STATUS = 65


class FeetechFarEnd(ServoFarEnd[Packet]):
    """Those of one port."""

    def __init__(self, drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> None:
        check(drives)
        super().__init__(drives, motors, rows, PacketStream(), MEMORY)
        self._models = [MODELS[drive.model] for drive in drives]
        for at, (drive, model) in enumerate(zip(drives, self._models, strict=True)):
            self._poke(at, feetech.MODEL_NUMBER, model.number)
            self.memory[at][feetech.ID], self.memory[at][feetech.STATUS_LEVEL] = drive.id, 1
            self._start(at)

    def _start(self, at: int) -> None:
        self.memory[at][RAM:] = bytes(MEMORY - RAM)
        self._poke(at, feetech.TORQUE_LIMIT, 1000)
        self.memory[at][feetech.LOCK] = 1
        self._motors.is_enabled[self._rows[at]] = False

    def _poke(self, at: int, address: int, value: int) -> None:
        self.memory[at][address : address + 2] = value.to_bytes(2, "little")

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        return b"".join(self._answer(packet) for packet in self._hear(data))

    def _alive(self, ids: list[int]) -> list[tuple[int, int]]:
        return [(number, self._at[number]) for number in ids if self._is_alive(number)]

    def _answer(self, packet: Packet) -> bytes:
        code, parameters = packet.code, packet.parameters
        if code == Instruction.SYNC_READ and len(parameters) > 2:
            return b"".join(self._status(number, self._read(at, *parameters[:2]))
                            for number, at in self._alive(list(parameters[2:])))
        if code == Instruction.SYNC_WRITE and len(parameters) > 2:
            address, size = parameters[:2]
            for start in range(2, len(parameters) - size, size + 1):
                for _, at in self._alive([parameters[start]]):
                    self._write(at, address, parameters[start + 1 : start + 1 + size])
            return b""
        if packet.id == BROADCAST:
            return b""
        return b"".join(self._one(number, at, code, parameters) for number, at in self._alive([packet.id]))

    def _one(self, number: int, at: int, code: int, parameters: bytes) -> bytes:
        if code == Instruction.READ and len(parameters) == 2:
            return self._status(number, self._read(at, *parameters))
        if code == Instruction.WRITE and len(parameters) > 1:
            self._write(at, parameters[0], parameters[1:])
        return self._status(number, b"")

    def _status(self, number: int, data: bytes) -> bytes:
        at = self._at.get(number, 0)  # one that has just been given another id answers as the old one
        return feetech.make_packet(number, int(self._motors.faults[self._rows[at]]) & 0xFF, data)

    def _read(self, at: int, address: int, size: int) -> bytes:
        motors, row, memory = self._motors, self._rows[at], self.memory[at]
        memory[feetech.TORQUE_ENABLE] = int(motors.is_enabled[row])
        load = round(motors.tau[row] / self._models[at].stall_n_m * 1000)
        for offset, value, bit in ((0, round(motors.q[row] / COUNT_RAD), POSITION_SIGN_BIT),
                                   (2, round(motors.dq[row] / COUNT_RAD), POSITION_SIGN_BIT), (4, load, LOAD_SIGN_BIT)):
            self._poke(at, feetech.PRESENT_POSITION + offset, from_signed(value, bit))
        memory[feetech.PRESENT_TEMPERATURE] = int(min(max(motors.temperature_c[row], 0), 255))
        memory[STATUS] = int(motors.faults[row]) & 0xFF
        return bytes(memory[address : address + size])

    def _write(self, at: int, address: int, data: bytes) -> None:
        motors, row, memory = self._motors, self._rows[at], self.memory[at]
        if (address < RAM and memory[feetech.LOCK]) or address + len(data) > MEMORY:
            return
        memory[address : address + len(data)] = data
        touched = range(address, address + len(data))
        if feetech.TORQUE_ENABLE in touched:
            motors.is_enabled[row] = memory[feetech.TORQUE_ENABLE] == 1 and motors.faults[row] == 0
        if feetech.ID in touched:
            self._at = {place_memory[feetech.ID]: place for place, place_memory in enumerate(self.memory)}
        goal = int.from_bytes(memory[feetech.GOAL_POSITION : feetech.GOAL_POSITION + 2], "little")
        motors.target[row] = to_signed(goal, POSITION_SIGN_BIT) * COUNT_RAD, 0, 0, OWN_KP, OWN_KD


def far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> FeetechFarEnd:
    """For the list of protocols."""
    return FeetechFarEnd(drives, motors, rows)
