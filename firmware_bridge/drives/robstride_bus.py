"""RobStride's drives in their own protocol, on a CAN bus behind a serial adapter or a CAN interface."""

from __future__ import annotations

import math

import numpy as np

from firmware_bridge.drives import robstride
from firmware_bridge.drives.can_link import CanLink
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts, refuse_unknown_models
from firmware_bridge.drives.robstride import HOST, Kind, Parameter, RobstrideCodec

ANSWER_S = 0.02
TRIES = 3
OPENING_S = 0.01
OPERATION_MODE = 0
"""RUN_MODE in which targets with gains count."""
TOLERANCE = 1e-3
RUNNING = 2
FRAME_BITS = 144
"""Of a frame with a long identifier and eight data bytes, with the stuffing that is usual."""


class RobstrideBus:
    """The language of one such bus.

    A drive cannot tell the full scales that its model packs numbers with; it does tell how much torque it may give at
    most, and more than the full scale means another model.

    Args:
        drives: in the order of the rows.
        link: the adapter's framing.
        baud: of the serial side.
    """

    takes_turns = False
    turn_s = 0.0

    def __init__(self, drives: list[Drive], link: CanLink, baud: int = 921_600) -> None:
        refuse_unknown_models(drives, robstride.MODELS)
        self.drives, self.link, self.baud = drives, link, baud
        self.states = DriveStates(len(drives))
        self._codec = RobstrideCodec([drive.id for drive in drives], [robstride.MODELS[d.model] for d in drives])

    @property
    def bad(self) -> int:
        return self.link.bad

    def cycle_s(self) -> float:
        return len(self.drives) * 2 * FRAME_BITS / 1e6

    def ask(self, block: F64) -> list[bytes]:
        packed = self._codec.encode(block)
        return [] if packed is None else [self.link.pack(*packed)]

    def begin(self, turn: int) -> None:
        """Nothing to note: answers come when they come."""

    def is_answered(self) -> bool:
        return True

    def hear(self, data: bytes, now_ns: int) -> int:
        feedback = self._codec.decode(self.link.feed(data))
        rows, states = feedback.rows, self.states
        if len(rows) == 0:
            return 0
        states.note(rows, feedback.state, now_ns)
        states.faults[rows] = feedback.faults
        states.is_driving[rows] = feedback.modes == RUNNING
        states.temperature_c[rows] = feedback.temperature_c
        return len(rows)

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        if self.link.opening():
            exchange(self.link.opening(), lambda data: False, OPENING_S)
        for data in self._singly(Kind.STOP):  # no torque before the operator says so
            exchange(data, lambda heard: self.hear(heard, 0) > 0, ANSWER_S)
        return [self._connect_drive(exchange, drive, watchdog_s) for drive in self.drives]

    def _connect_drive(self, exchange: Exchange, drive: Drive, watchdog_s: float) -> Facts:
        facts, scale = Facts(), robstride.MODELS[drive.model]
        raw = read(exchange, self.link, drive.id, Parameter.LIMIT_TORQUE)
        if raw is None:
            facts.problems.append(f"{drive.name}: no answer to parameter LIMIT_TORQUE")
            return facts
        limit = robstride.as_float(raw)
        if not math.isfinite(limit) or limit > scale.tau_n_m * (1 + TOLERANCE):
            facts.problems.append(f"{drive.name}: LIMIT_TORQUE {limit:g} N m in the drive, full scale of a "
                                  f"{drive.model} is {scale.tau_n_m:g} N m")
        mode = write(exchange, self.link, drive.id, Parameter.RUN_MODE, OPERATION_MODE)
        if mode is None or mode[0] != OPERATION_MODE:
            facts.problems.append(f"{drive.name}: run mode {'unknown' if mode is None else mode[0]}, "
                                  f"not {OPERATION_MODE} (operation)")
        counts = round(watchdog_s * robstride.TIMEOUT_PER_S)
        told = write(exchange, self.link, drive.id, Parameter.CAN_TIMEOUT, counts)
        found = 0 if told is None else int.from_bytes(told, "little")
        facts.watchdog_s = found / robstride.TIMEOUT_PER_S
        if found != counts:
            facts.problems.append(f"{drive.name}: watchdog {found} counts, {counts} were written")
        return facts

    def enabling(self) -> list[bytes]:
        return [b"".join(self._singly(Kind.ENABLE))]

    def disabling(self) -> list[bytes]:
        return [b"".join(self._singly(Kind.STOP))]

    def _singly(self, kind: Kind) -> list[bytes]:
        return [pack_one(self.link, robstride.make_id(kind, HOST, drive.id), bytes(8)) for drive in self.drives]


def pack_one(link: CanLink, number: int, data: bytes) -> bytes:
    """One frame of eight data bytes."""
    return link.pack(np.array([number], np.uint32), np.frombuffer(data, np.uint8)[None])


def read(exchange: Exchange, link: CanLink, motor: int, index: Parameter) -> bytes | None:
    """The four bytes of a drive's parameter; None when it does not say."""
    found: list[bytes] = []

    def is_enough(data: bytes) -> bool:
        frames = link.feed(data)
        for number, row in zip(frames.ids.tolist(), frames.data, strict=True):
            answer = robstride.read_parameter(number, row.tobytes())
            if answer is not None and answer[:2] == (motor, index):
                found.append(answer[2])
        return bool(found)

    question = pack_one(link, *robstride.make_parameter_read(motor, index))
    return found[-1] if any(exchange(question, is_enough, ANSWER_S) for _ in range(TRIES)) else None


def write(exchange: Exchange, link: CanLink, motor: int, index: Parameter, value: int | float) -> bytes | None:
    """Set a parameter and read it back."""
    packed = pack_one(link, *robstride.make_parameter_write(motor, index, value))
    exchange(packed, lambda heard: len(link.feed(heard).ids) > 0, ANSWER_S)
    return read(exchange, link, motor, index)
