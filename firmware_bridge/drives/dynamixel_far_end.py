"""The far end of a Dynamixel bus: servos with their registers, for tests and for people without any.

ROBOTIS's own dynamixel-sdk talks to it in the tests. A servo that is dead ends a fast sync read's packet.
"""

from __future__ import annotations

import struct

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.dynamixel import BROADCAST, Instruction, Packet, PacketStream, Register
from firmware_bridge.drives.dynamixel_block import fast_answer
from firmware_bridge.drives.dynamixel_models import COUNT_RAD, VELOCITY_RAD_S, Mode, Scales
from firmware_bridge.drives.dynamixel_setup import WATCHDOG_S
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.servo_far_end import ServoFarEnd
from firmware_bridge.emulated_drives import EmulatedMotors

MEMORY = 700
RAM = 64
SLOTS, INDIRECT_END = 20, 250
FIRMWARE, ID = Register(6, 1), Register(7, 1)
GOALS = range(100, 120)
BAD_INSTRUCTION, BAD_RANGE, NO_ACCESS = 0x02, 0x04, 0x07
STRUCK = 255


class DynamixelFarEnd(ServoFarEnd[Packet]):
    """Those of one port; without their power they also lose watchdog and indirect addresses."""

    def __init__(self, drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> None:
        self._scales = Scales(drives)
        self._torques = self._scales.torque_n_m.tolist()
        super().__init__(drives, motors, rows, PacketStream(), MEMORY)
        for at, (drive, model, mode) in enumerate(zip(drives, self._scales.models, self._scales.modes, strict=True)):
            for register, value in (
                (dynamixel.MODEL_NUMBER, model.number), (FIRMWARE, 46), (ID, drive.id),
                (dynamixel.OPERATING_MODE, mode), (dynamixel.RETURN_DELAY, 0),
                (dynamixel.CURRENT_LIMIT, round(model.stall_a / model.current_a)),
            ):
                self._poke(at, register, value)
            self._start(at)
        motors.holds[self._rows] = True

    def _start(self, at: int) -> None:
        memory, base, row = self.memory[at], self._scales.models[at].indirect_data, self._rows[at]
        memory[RAM:] = bytes(MEMORY - RAM)
        self._poke(at, dynamixel.STATUS_RETURN, 2)
        self._poke(at, dynamixel.GAIN_P, 800)
        for slot in range(SLOTS):
            self._poke(at, Register(dynamixel.INDIRECT_ADDRESS + 2 * slot, 2), base + slot)
        self._motors.is_enabled[row] = self._motors.is_struck[row] = False
        self._motors.watchdog_s[row] = 0

    def _poke(self, at: int, register: Register, value: int) -> None:
        self.memory[at][register.address : register.address + register.size] = value.to_bytes(
            register.size, "little", signed=value < 0)

    def _peek(self, at: int, register: Register, signed: bool = False) -> int:
        memory = self.memory[at]
        return int.from_bytes(memory[register.address : register.address + register.size], "little", signed=signed)

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        packets = self._hear(data)
        if packets:  # any instruction is a sign of life to all
            self._motors.commanded_s[self._rows] = self._motors.now_s
        return b"".join(self._answer(packet) for packet in packets)

    def _alive(self, ids: list[int]) -> list[int]:
        return [self._at[number] for number in ids if self._is_alive(number)]

    def _answer(self, packet: Packet) -> bytes:
        code, parameters = packet.instruction, packet.parameters
        if code in (Instruction.SYNC_READ, Instruction.FAST_SYNC_READ) and len(parameters) >= 4:
            address, size = struct.unpack("<HH", parameters[:4])
            return self._sync_read(code, address, size, list(parameters[4:]))
        if code == Instruction.SYNC_WRITE and len(parameters) >= 4:
            address, size = struct.unpack("<HH", parameters[:4])
            for start in range(4, len(parameters) - size, size + 1):
                for at in self._alive([parameters[start]]):
                    self._write(at, address, parameters[start + 1 : start + 1 + size])
            return b""
        targets = sorted(self._at) if packet.id == BROADCAST else [packet.id]
        answers = [self._one(at, code, parameters) for at in self._alive(targets)]
        return b"".join(answers) if packet.id != BROADCAST or code == Instruction.PING else b""

    def _one(self, at: int, code: int, parameters: bytes) -> bytes:
        number = next(number for number, place in self._at.items() if place == at)
        error, told = BAD_INSTRUCTION, b""
        if code == Instruction.PING:
            error, told = 0, self._read(at, 0, 2) + self._read(at, FIRMWARE.address, 1)
        elif code == Instruction.READ and len(parameters) == 4:
            error, told = 0, self._read(at, *struct.unpack("<HH", parameters))
        elif code == Instruction.WRITE and len(parameters) > 2:
            error = self._write(at, int.from_bytes(parameters[:2], "little"), parameters[2:])
        elif code == Instruction.REBOOT:
            error = 0
            self._start(at)
        return dynamixel.make_status(number, error, told)

    def _sync_read(self, code: int, address: int, size: int, ids: list[int]) -> bytes:
        alive = self._alive(ids)
        if code == Instruction.SYNC_READ:
            return b"".join(dynamixel.make_status(number, 0, self._read(self._at[number], address, size))
                            for number in ids if self._at.get(number) in alive)
        blocks = []
        for number in ids:
            if self._at.get(number) not in alive:
                break
            blocks.append(self._read(self._at[number], address, size))
        return fast_answer(ids, blocks)

    def _place(self, at: int, address: int) -> int:
        """Where a byte stands: indirect data are looked up."""
        slot, memory = address - self._scales.models[at].indirect_data, self.memory[at]
        if not 0 <= slot < SLOTS:
            return min(address, MEMORY - 1)
        told = dynamixel.INDIRECT_ADDRESS + 2 * slot
        return min(memory[told] | memory[told + 1] << 8, MEMORY - 1)

    def _read(self, at: int, address: int, size: int) -> bytes:
        motors, row, memory = self._motors, self._rows[at], self.memory[at]
        current = round(float(motors.tau[row]) / self._torques[at])
        struct.pack_into("<hii", memory, dynamixel.PRESENT_CURRENT.address, min(max(current, -32768), 32767),
                         round(float(motors.dq[row]) / VELOCITY_RAD_S), round(float(motors.q[row]) / COUNT_RAD))
        memory[dynamixel.TORQUE_ENABLE.address] = bool(motors.is_enabled[row])
        memory[dynamixel.PRESENT_TEMPERATURE.address] = int(min(max(float(motors.temperature_c[row]), 0), 255))
        memory[dynamixel.HARDWARE_ERROR.address] = int(motors.faults[row]) & 0xFF
        if motors.is_struck[row]:
            self._poke(at, dynamixel.WATCHDOG, STRUCK)
        if address + size <= self._scales.models[at].indirect_data or address > INDIRECT_END:
            return bytes(memory[address : address + size])
        return bytes([memory[self._place(at, address + offset)] for offset in range(size)])

    def _write(self, at: int, address: int, data: bytes) -> int:
        """Take bytes into registers; the error of a status packet."""
        motors, row = self._motors, self._rows[at]
        if address + len(data) > MEMORY or (address < RAM and motors.is_enabled[row]):
            return NO_ACCESS
        if motors.is_struck[row] and address in GOALS:
            return BAD_RANGE
        self.memory[at][address : address + len(data)] = data
        touched = range(address, address + len(data))
        if dynamixel.WATCHDOG.address in touched:
            counts = self._peek(at, dynamixel.WATCHDOG)
            motors.watchdog_s[row] = counts * WATCHDOG_S
            motors.is_struck[row] &= counts != 0
        if dynamixel.TORQUE_ENABLE.address in touched:
            wanted = self._peek(at, dynamixel.TORQUE_ENABLE) == 1
            motors.is_enabled[row] = wanted and motors.faults[row] == 0
        if ID.address in touched:
            self._at = {self._peek(place, ID): place for place in range(len(self.memory))}
        self._aim(at)
        return 0

    def _aim(self, at: int) -> None:
        """Goals and gains as the physics take them."""
        motors, row, scales = self._motors, self._rows[at], self._scales
        if motors.is_struck[row]:
            return
        if self._peek(at, dynamixel.OPERATING_MODE) == Mode.CURRENT:
            current = self._peek(at, dynamixel.GOAL_CURRENT, signed=True)
            motors.target[row] = 0, 0, current * scales.torque_n_m[at], 0, 0
            return
        motors.target[row] = (
            self._peek(at, dynamixel.GOAL_POSITION, signed=True) * COUNT_RAD, 0, 0,
            self._peek(at, dynamixel.GAIN_P) * scales.kp_count[at],
            self._peek(at, dynamixel.GAIN_D) * scales.kd_count[at],
        )


def far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> DynamixelFarEnd:
    """For the list of protocols."""
    return DynamixelFarEnd(drives, motors, rows)
