"""The far end of an fdcanusb: the adapter and moteus that answer as those do, for people without any."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np

from firmware_bridge.drives import moteus_settings as settings
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.moteus import TWO_PI, DriveGains, Mode, Register, crc8, scale_of, with_checksum
from firmware_bridge.emulated_drives import EmulatedMotors
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

_FORMATS = ("b", "h", "i", "f")
_SIZES = (1, 2, 4, 4)
_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)
DEFAULT_TIMEOUT_S = 0.1
VOLTAGE = 24.0


class MoteusFarEnd:
    """Drives behind one adapter.

    Args:
        drives: who is on the bus.
        motors: the physics of all drives; `rows` says which of them these are.
        needs_checksum: as a UART does; otherwise from the first line on that has one.

    Attributes:
        settings: (drives) of name to value.
        modes: (drives) of `Mode`.
    """

    def __init__(self, drives: list[Drive], motors: EmulatedMotors, rows: list[int],
                 needs_checksum: bool = False) -> None:
        self._motors, self._rows = motors, rows
        self.needs_checksum = needs_checksum
        self._at = {drive.id: at for at, drive in enumerate(drives)}
        self.modes = [int(Mode.STOPPED)] * len(drives)
        self.settings: list[dict[str, float]] = [
            {settings.ID: drive.id, settings.TIMEOUT: DEFAULT_TIMEOUT_S, settings.KP: 400.0, settings.KI: 0.0,
             settings.KD: 10.0, **dict.fromkeys(settings.LIMITS, math.nan)} for drive in drives]
        motors.watchdog_s[rows] = DEFAULT_TIMEOUT_S
        self._gains = [DriveGains(400.0, 10.0) for _ in drives]
        self._commands: list[dict[int, float]] = [{} for _ in drives]
        self._says = [b""] * len(drives)
        self._waiting = b""

    def feed(self, data: bytes) -> bytes:
        """What the port answers to some bytes."""
        *lines, self._waiting = (self._waiting + data).split(b"\n")
        return b"".join([self._take(line.strip()) for line in lines if line.strip()])

    def _take(self, line: bytes) -> bytes:
        text, star, crc = line.rpartition(b"*")
        if star:
            if crc != b"%02X" % crc8(text):
                return self._line(b"ERR checksum mismatch")
            self.needs_checksum, line = True, text.rstrip()
        elif self.needs_checksum:
            return self._line(b"ERR checksum required")
        words = line.split()
        try:
            number, payload = int(words[2], 16), bytes.fromhex(words[3].decode("ascii"))
        except (IndexError, ValueError):
            return self._line(b"ERR unknown command")
        if words[:2] != [b"can", b"send"] or len(payload) not in _LENGTHS:
            return self._line(b"ERR unknown command")
        at = self._at.get(number & 0x7F)
        answer = None if at is None or self._motors.is_dead[self._rows[at]] else self._run(at, payload)
        taken = self._line(b"OK")
        if not number & 0x8000 or answer is None:
            return taken
        answer = answer[:64]
        padded = answer.ljust(next(length for length in _LENGTHS if length >= len(answer)), b"\x50")
        source = (number & 0x7F) << 8 | number >> 8 & 0x7F
        return taken + self._line(b"rcv %x %s E B F" % (source, padded.hex().encode()))

    def _line(self, text: bytes) -> bytes:
        return with_checksum(text) if self.needs_checksum else text + b"\n"

    def _run(self, at: int, payload: bytes) -> bytes:
        """What one drive answers to the parts of a frame: register writes, then reads, and its console."""
        out = b""
        self._watch(at)
        written: dict[int, float] = {}
        for kind, register, count, values in parts_of(payload):
            if kind == "write":
                written.update(zip(range(register, register + count), values, strict=True))
            elif kind == "read":
                self._apply(at, written)
                written = {}
                out += self._read(at, int(values[0]), register, count)
            elif kind == "text":
                self._console(at, bytes(int(value) for value in values))
            else:
                said, self._says[at] = self._says[at][:count], self._says[at][count:]
                out += bytes([0x41, register, len(said)]) + said
        self._apply(at, written)
        return out

    def _watch(self, at: int) -> None:
        """The mode that the physics has led to."""
        row = self._rows[at]
        if self._motors.faults[row]:
            self.modes[at] = Mode.FAULT
        elif self.modes[at] == Mode.POSITION and not self._motors.is_enabled[row]:
            self.modes[at] = Mode.TIMEOUT

    def _apply(self, at: int, written: dict[int, float]) -> None:
        mode = written.get(Register.MODE)
        motors, row = self._motors, self._rows[at]
        if mode == Mode.STOPPED:
            motors.is_enabled[row], motors.faults[row] = False, 0
            self.modes[at] = Mode.STOPPED
        elif mode == Mode.POSITION:
            self._commands[at] = {}
        self._commands[at].update(written)
        if mode == Mode.POSITION and self.modes[at] in (Mode.STOPPED, Mode.POSITION):
            self.modes[at] = Mode.POSITION
            motors.is_enabled[row] = True
            motors.command(np.array([row]), self._target(at)[None])

    def _target(self, at: int) -> np.ndarray:
        """(5,) what a drive makes of its command registers: shares of its own gains, in revolutions."""
        told, gains, target = self._commands[at], self._gains[at], np.zeros(5)
        q = told.get(Register.COMMAND_POSITION, 0.0) * TWO_PI
        target[Q] = float(self._motors.q[self._rows[at]]) if math.isnan(q) else q
        target[DQ] = told.get(Register.COMMAND_VELOCITY, 0.0) * TWO_PI
        target[TAU] = told.get(Register.COMMAND_TORQUE, 0.0)
        target[KP] = told.get(Register.COMMAND_KP_SCALE, 1.0) * gains.kp / TWO_PI
        target[KD] = told.get(Register.COMMAND_KD_SCALE, 1.0) * gains.kd / TWO_PI
        return np.nan_to_num(target)

    def _read(self, at: int, kind: int, register: int, count: int) -> bytes:
        motors, row = self._motors, self._rows[at]
        values: dict[int, float] = {
            Register.MODE: self.modes[at], Register.POSITION: motors.q[row] / TWO_PI,
            Register.VELOCITY: motors.dq[row] / TWO_PI, Register.TORQUE: motors.tau[row], Register.VOLTAGE: VOLTAGE,
            Register.TEMPERATURE: motors.temperature_c[row], Register.FAULT: int(motors.faults[row])}
        head = bytes([0x20 | kind << 2 | count, register] if count < 4 else [0x20 | kind << 2, count, register])
        return head + b"".join(pack(values.get(number, 0.0), number, kind)
                               for number in range(register, register + count))

    def _console(self, at: int, text: bytes) -> None:
        words = text.decode("ascii", "replace").split()
        known, said = self.settings[at], "ERR unknown command"
        if words[:2] == ["conf", "get"] and len(words) == 3:
            said = f"{known[words[2]]:.6f}" if words[2] in known else "ERR error reading"
        elif words[:2] == ["conf", "set"] and len(words) == 4 and words[2] in known:
            known[words[2]] = float(words[3])
            if words[2] == settings.ID:
                self._at = {(int(words[3]) if place == at else id_): place for id_, place in self._at.items()}
            self._gains[at] = DriveGains(known[settings.KP], known[settings.KD])
            self._motors.watchdog_s[self._rows[at]] = np.nan_to_num(known[settings.TIMEOUT])
            said = "OK"
        elif words == ["conf", "write"]:
            said = "OK"
        self._says[at] += said.encode() + b"\r\n"


def pack(value: float, register: int, kind: int) -> bytes:
    """A register as int8, int16, int32 or float; what does not fit is its end."""
    if kind == 3:
        return struct.pack("<f", value)
    most = (1 << 8 * _SIZES[kind] - 1) - 1
    code = round(min(max(value / scale_of(register, kind), -most), most))
    return struct.pack("<" + _FORMATS[kind], code)


def parts_of(payload: bytes) -> Iterator[tuple[str, int, int, list[float]]]:
    """The parts of a frame: (write, first register, count, values), (read, first, count, [kind]), (text, channel,
    count, bytes), (poll, channel, most, []); what is cut short ends them."""
    at = 0
    while at < len(payload):
        head, at = payload[at], at + 1
        if head == 0x50:
            continue
        if head in (0x40, 0x42) and at + 2 <= len(payload):
            channel, count, at = payload[at], payload[at + 1], at + 2
            text = payload[at : at + count] if head == 0x40 else b""
            at += len(text)
            yield ("text" if head == 0x40 else "poll"), channel, count, list(text)
            continue
        if head >= 0x20:
            return
        kind, count = head >> 2 & 3, head & 3
        if count == 0 and at < len(payload):
            count, at = payload[at], at + 1
        if at >= len(payload):
            return
        register, at = payload[at], at + 1
        if head >= 0x10:
            yield "read", register, count, [kind]
            continue
        end = at + count * _SIZES[kind]
        if end > len(payload):
            return
        raw = struct.unpack(f"<{count}{_FORMATS[kind]}", payload[at:end])
        none = -(1 << 8 * _SIZES[kind] - 1)
        yield "write", register, count, [
            math.nan if kind < 3 and value == none else value * scale_of(register + place, kind)
            for place, value in enumerate(raw)]
        at = end


def moteus_far_end(drives: list[Drive], motors: EmulatedMotors, rows: list[int]) -> MoteusFarEnd:
    """An fdcanusb and its emulated drives."""
    return MoteusFarEnd(drives, motors, rows)
