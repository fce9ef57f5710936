"""What a Feetech STS servo is asked and told before it is driven, one packet and one answer at a time."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.drives import feetech
from firmware_bridge.drives.feetech import POSITION_SIGN_BIT, Instruction, Packet, PacketStream, to_signed
from firmware_bridge.drives.language import Drive, Exchange, Facts

BAUD = 1_000_000
ANSWER_S, TRIES = 0.02, 3
TORQUE_LIMIT = 999
"""Of 1000: all but one count, so that a servo which was without power is known by its 1000."""
MOST_COUNTS = 30_719
"""Of a goal where a servo's limits are both 0: seven and a half turns."""


@dataclass(frozen=True)
class Model:
    """One servo: model number, and N m at stall."""

    number: int
    stall_n_m: float


MODELS = {"STS3215": Model(777, 1.91), "STS3250": Model(2825, 4.9)}
"""Numbers from huggingface/lerobot `motors/feetech/tables.py` @ 0558acc; torque as sold (7.4 V, 12 V), not verified."""


def transact(exchange: Exchange, number: int, packet: bytes) -> Packet | None:
    """A servo's answer; None when it does not answer."""
    for _ in range(TRIES):
        stream, found = PacketStream(), list[Packet]()

        def is_enough(data: bytes, stream: PacketStream = stream, found: list[Packet] = found) -> bool:
            found += [packet for packet in stream.feed(data) if packet.id == number]
            return bool(found)

        if exchange(packet, is_enough, ANSWER_S):
            return found[-1]
    return None


def read(exchange: Exchange, number: int, address: int, size: int) -> int | None:
    """What a register holds; None when the servo does not say."""
    answer = transact(exchange, number, feetech.make_read(number, address, size))
    if answer is None or len(answer.parameters) != size:
        return None
    return int.from_bytes(answer.parameters, "little")


def write(exchange: Exchange, number: int, address: int, size: int, value: int) -> int | None:
    """Set a register and give what it then holds."""
    parameters = bytes([address]) + value.to_bytes(size, "little")
    transact(exchange, number, feetech.make_packet(number, Instruction.WRITE, parameters))
    return read(exchange, number, address, size)


def connect_servo(exchange: Exchange, drive: Drive) -> tuple[Facts, int, int]:
    """Take a servo's torque, compare what it keeps with what is needed, and set its torque limit.

    Returns:
        What it said, and the counts between which its goal may be.
    """
    number, name, facts = drive.id, drive.name or f"servo {drive.id}", Facts()
    if write(exchange, number, feetech.TORQUE_ENABLE, 1, 0) != 0:
        facts.problems.append(f"{name}: no answer from servo {number}, or it keeps its torque")
        return facts, 0, 0
    for address, size, expected, what in (
        (feetech.MODEL_NUMBER, 2, MODELS[drive.model].number, f"model number (a {drive.model})"),
        (feetech.OPERATING_MODE, 1, 0, "operating mode (position), register 33"),
        (feetech.RETURN_DELAY, 1, 0, "return delay, register 7: it waits that long before each answer"),
        (feetech.STATUS_LEVEL, 1, 1, "response status level, register 8"),
    ):
        told = read(exchange, number, address, size)
        if told != expected:
            facts.problems.append(f"{name}: {told}, not {expected}, as its {what}")
    told = write(exchange, number, feetech.TORQUE_LIMIT, 2, TORQUE_LIMIT)
    if told != TORQUE_LIMIT:
        facts.problems.append(f"{name}: torque limit {told}, {TORQUE_LIMIT} was written")
    limits = read(exchange, number, feetech.MIN_POSITION, 4)
    if limits is None:
        facts.problems.append(f"{name}: does not tell its position limits")
        return facts, 0, 0
    low, high = (to_signed(part, POSITION_SIGN_BIT) for part in (limits & 0xFFFF, limits >> 16))
    return (facts, low, high) if low or high else (facts, -MOST_COUNTS, MOST_COUNTS)
