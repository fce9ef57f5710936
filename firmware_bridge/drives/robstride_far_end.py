"""The far end of a RobStride bus: an adapter and drives that answer as those do, for people without any."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives import robstride
from firmware_bridge.drives.can_link import EXTENDED, CanFrames, CanLink
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.robstride import HOST, Kind, Parameter, RobstrideCodec
from firmware_bridge.emulated_drives import EmulatedMotors

INTEGERS = frozenset({Parameter.RUN_MODE, Parameter.CAN_TIMEOUT})
CLEARS_FAULT = 1


class RobstrideFarEnd:
    """Drives behind one adapter.

    Args:
        drives: who is on the bus.
        link: how the adapter frames.
        motors: the physics of all drives; `rows` says which of them these are.

    Attributes:
        ids: (drives).
        parameters: (drives) of index to value; what is not there is answered with an error's echo.
    """

    def __init__(self, drives: list[Drive], link: CanLink, motors: EmulatedMotors, rows: list[int]) -> None:
        self._link, self._motors, self._rows = link, motors, np.array(rows, np.intp)
        self.ids = [drive.id for drive in drives]
        self._ranges = [robstride.MODELS[drive.model] for drive in drives]
        self._codec = RobstrideCodec(self.ids, self._ranges)
        self.parameters: list[dict[int, float]] = [
            {Parameter.RUN_MODE: 0, Parameter.CAN_TIMEOUT: 0, Parameter.BUS_VOLTAGE: 48.0,
             Parameter.LIMIT_TORQUE: robstride.MODELS[d.model].tau_n_m,
             Parameter.LIMIT_SPEED: robstride.MODELS[d.model].dq_rad_s} for d in drives]

    def feed(self, data: bytes) -> bytes:
        """What the bus answers to some bytes."""
        frames = self._link.feed(data)
        is_control = (frames.ids >> np.uint32(24) == EXTENDED >> 24 | Kind.CONTROL) & (frames.lengths == 8)
        if is_control.all() and len(frames.ids):
            return self._control(frames)
        out = []
        for at in range(len(frames.ids)):
            one = CanFrames(frames.ids[at : at + 1], frames.data[at : at + 1], frames.lengths[at : at + 1])
            out.append(self._control(one) if is_control[at] else self._answer(int(one.ids[0]), one.data[0].tobytes()))
        return b"".join(out)

    def _control(self, frames: CanFrames) -> bytes:
        """Targets to drives that are there, and their feedback."""
        drives, targets = self._codec.decode_command(frames)
        is_here = (drives >= 0) & ~self._motors.is_dead[self._rows[drives]]
        self._motors.command(self._rows[drives[is_here]], targets[is_here])
        return self._feedback(drives[is_here])

    def _feedback(self, drives: npt.NDArray[np.intp], host: int = HOST) -> bytes:
        if len(drives) == 0:
            return b""
        motors, rows = self._motors, self._rows[drives]
        state = np.stack([motors.q[rows], motors.dq[rows], motors.tau[rows]], axis=1)
        modes = np.where(motors.is_enabled[rows], 2, 0).astype(np.uint8)
        return self._link.pack(*self._codec.encode_feedback(
            drives, state, motors.temperature_c[rows], (motors.faults[rows] & 0x3F).astype(np.uint8), modes, host))

    def _answer(self, number: int, data: bytes) -> bytes:
        if number & 0xFF not in self.ids or number < EXTENDED:
            return b""
        at = self.ids.index(number & 0xFF)
        kind, host, row = number >> 24 & 0x1F, number >> 8 & 0xFF, self._rows[at]
        if self._motors.is_dead[row]:
            return b""
        motors = self._motors
        if kind == Kind.ENABLE:
            motors.is_enabled[row] = motors.faults[row] == 0
            motors.target[row], motors.commanded_s[row] = 0, motors.now_s
        elif kind == Kind.STOP:
            motors.is_enabled[row] = False
            if data[0] == CLEARS_FAULT:
                motors.faults[row] = 0
        elif kind == Kind.SET_ZERO:
            motors.q[row] = 0
        elif kind == Kind.READ:
            return self._told(at, host, int.from_bytes(data[:2], "little"))
        elif kind == Kind.WRITE:
            self._take(at, int.from_bytes(data[:2], "little"), data[4:8])
        elif kind in (Kind.GET_ID, Kind.SET_ID):
            self.ids[at] = number >> 16 & 0xFF if kind == Kind.SET_ID else self.ids[at]
            self._codec = RobstrideCodec(self.ids, self._ranges)
            return self._pack(robstride.make_id(Kind.GET_ID, self.ids[at], 0xFE), b"EMULATED")
        elif kind != Kind.SAVE:
            return b""
        return self._feedback(np.array([at]), host)

    def _take(self, at: int, index: int, raw: bytes) -> None:
        """A parameter, as far as it is one that can be set."""
        if index not in self.parameters[at] or index == Parameter.BUS_VOLTAGE:
            return
        value = struct.unpack("<I" if index in INTEGERS else "<f", raw)[0]
        self.parameters[at][index] = value
        if index == Parameter.CAN_TIMEOUT:
            self._motors.watchdog_s[self._rows[at]] = value / robstride.TIMEOUT_PER_S

    def _told(self, at: int, host: int, index: int) -> bytes:
        value = self.parameters[at].get(index)
        if index in (Parameter.POSITION, Parameter.VELOCITY):
            value = float((self._motors.q if index == Parameter.POSITION else self._motors.dq)[self._rows[at]])
        head = index.to_bytes(2, "little") + bytes(2)
        motor = self.ids[at]
        if value is None:  # an error's echo: a mark in the identifier, zeros for a value
            return self._pack(robstride.make_id(Kind.READ, 1 << 8 | motor, host), head + bytes(4))
        raw = struct.pack("<I", int(value)) if index in INTEGERS else struct.pack("<f", value)
        return self._pack(robstride.make_id(Kind.READ, motor, host), head + raw)

    def _pack(self, number: int, data: bytes) -> bytes:
        return self._link.pack(np.array([number], np.uint32), np.frombuffer(data, np.uint8)[None])
