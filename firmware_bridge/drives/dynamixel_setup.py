"""What a Dynamixel servo is asked and told before it is driven, one packet and one answer at a time."""

from __future__ import annotations

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.dynamixel import Instruction, Packet, PacketStream, Register
from firmware_bridge.drives.dynamixel_block import ADDRESSES
from firmware_bridge.drives.dynamixel_models import Mode, Model
from firmware_bridge.drives.language import Drive, Exchange, Facts

BAUD = 1_000_000
ANSWER_S, TRIES = 0.02, 3
WATCHDOG_S, MOST_WATCHDOG = 0.02, 127
REVERSE_OR_TIME = 0b101


def watchdog_counts(watchdog_s: float) -> int:
    """Of the bus watchdog: never longer than asked, where it can be that short."""
    return min(max(int(watchdog_s / WATCHDOG_S + 1e-9), 1), MOST_WATCHDOG)


def transact(exchange: Exchange, number: int, packet: bytes) -> Packet | None:
    """A servo's status packet; None when it does not answer."""
    for _ in range(TRIES):
        stream = PacketStream()
        found: list[Packet] = []

        def is_enough(data: bytes, stream: PacketStream = stream, found: list[Packet] = found) -> bool:
            found += [p for p in stream.feed(data) if p.id == number and p.instruction == Instruction.STATUS]
            return bool(found)

        if exchange(packet, is_enough, ANSWER_S):
            return found[-1]
    return None


def read(exchange: Exchange, number: int, register: Register) -> int | None:
    """What a register holds; None when the servo does not say."""
    status = transact(exchange, number, dynamixel.make_read(number, register))
    if status is None or len(status.parameters) != register.size:
        return None
    return int.from_bytes(status.parameters, "little")


def write(exchange: Exchange, number: int, register: Register, value: int) -> int | None:
    """Set a register and give what it then holds."""
    transact(exchange, number, dynamixel.make_write(number, register, value))
    return read(exchange, number, register)


def connect_servo(exchange: Exchange, drive: Drive, model: Model, mode: Mode, watchdog: int) -> tuple[Facts, float]:
    """Take a servo's torque, compare what it keeps with what is needed, and set what it forgets.

    Returns:
        What it said, and its limit of current in counts.
    """
    number, name, facts = drive.id, drive.name or f"servo {drive.id}", Facts()
    if write(exchange, number, dynamixel.TORQUE_ENABLE, 0) != 0:
        facts.problems.append(f"{name}: no answer from servo {number}, or it keeps its torque")
        return facts, 0.0
    for register, expected, what in (
        (dynamixel.MODEL_NUMBER, model.number, f"model number (a {drive.model})"),
        (dynamixel.OPERATING_MODE, int(mode), f"operating mode ({mode.name.lower().replace('_', ' ')}), register 11"),
        (dynamixel.RETURN_DELAY, 0, "return delay, register 9: it waits that long before each answer"),
        (dynamixel.STATUS_RETURN, 2, "status return level, register 68"),
    ):
        told = read(exchange, number, register)
        if told != expected:
            facts.problems.append(f"{name}: {told}, not {expected}, as its {what}")
    drive_mode = read(exchange, number, dynamixel.DRIVE_MODE)
    if drive_mode is None or drive_mode & REVERSE_OR_TIME:
        facts.problems.append(f"{name}: drive mode {drive_mode}, register 10: turned round or by time; "
                              "a sign belongs into the robot file")
    limit = read(exchange, number, dynamixel.CURRENT_LIMIT)
    where = Register(dynamixel.INDIRECT_ADDRESS, len(ADDRESSES))
    if write(exchange, number, where, int.from_bytes(ADDRESSES, "little")) != int.from_bytes(ADDRESSES, "little"):
        facts.problems.append(f"{name}: does not take indirect addresses")
    write(exchange, number, dynamixel.WATCHDOG, 0)
    told = write(exchange, number, dynamixel.WATCHDOG, watchdog)
    facts.watchdog_s = (told or 0) * WATCHDOG_S
    if told != watchdog:
        facts.problems.append(f"{name}: bus watchdog {told}, {watchdog} was written")
    return facts, float(limit or 0)

