"""Unitree's Dex3-1 hands behind the hand port: HandState in, HandCmd out, over DDS without type information.

Types: unitreerobotics/unitree_sdk2_python @ 1e06cc6, `idl/unitree_hg/msg/dds_/_Hand{Cmd,State}_.py`. Both begin with a
sequence of motors: on the wire its length, 32 bits, then the elements. With seven motors that is a fixed layout, as
long as nothing behind the sequence is looked at: a state goes on with tactile sensors, of which hands have none or nine
and firmwares another struct, so only the motors at its head are taken.

The mode byte of a motor, from support.unitree.com/home/en/G1_developer/dexterous_hand: bits 0 to 3 its number, 4 to 6
its state (1 is under control), 7 the drive's own watchdog of one second; in a state bit 7 says that it has run out, and
commands with a 0 there clear it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from firmware_bridge.dds import DdsReader, DdsSettings, DdsWriter, Participant
from firmware_bridge.hand_bus import LEFT, RIGHT, SIDES, HandCommand, HandSample, SafeHandCommand
from firmware_bridge.layout import HG_IMU_STATE, HG_LOW_CMD, HG_LOW_STATE, Buffer, Layout, Member, Struct
from firmware_bridge.motor_bus import Reading

MOTORS = 7
COMMAND_TOPICS = tuple(f"rt/dex3/{side}/cmd" for side in SIDES)
STATE_TOPICS = tuple(f"rt/dex3/{side}/state" for side in SIDES)
UNDER_CONTROL, WATCHDOG = 1 << 4, 1 << 7


def _element(layout: Layout, name: str) -> Struct:
    kind = next(member.kind for member in layout.struct.members if member.name == name)
    assert isinstance(kind, Struct)
    return kind


_STATE_HEAD = (Member("count", "u32"), Member("motor_state", _element(HG_LOW_STATE, "motor_state"), MOTORS))
_STATE_TYPE = "unitree_hg::msg::dds_::HandState_"
HAND_CMD = Layout(Struct("unitree_hg::msg::dds_::HandCmd_", (
    Member("count", "u32"), Member("motor_cmd", _element(HG_LOW_CMD, "motor_cmd"), MOTORS), Member("reserve", "u32", 4),
)))
"""`rt/dex3/*/cmd`, with seven motors; no CRC."""
HAND_STATE_HEAD = Layout(Struct(_STATE_TYPE, _STATE_HEAD))
"""The part of `rt/dex3/*/state` that is read; what follows is left on the wire."""
HAND_STATE = Layout(Struct(_STATE_TYPE, (
    *_STATE_HEAD, Member("sensors", "u32"), Member("imu_state", HG_IMU_STATE.struct),
    *(Member(name, "f32") for name in ("power_v", "power_a", "system_v", "device_v")),
    Member("error", "u32", 2), Member("reserve", "u32", 2),
)))
"""All of it, of a hand without tactile sensors."""


class HandEncoder:
    """Rows of hand commands into a HandCmd payload."""

    def __init__(self, buffer: Buffer) -> None:
        HAND_CMD.view(buffer, "count")[0] = MOTORS
        self._block = HAND_CMD.block(buffer, "motor_cmd", "q", "kd")
        self._modes = HAND_CMD.view(buffer, "motor_cmd.mode")
        self._numbers = np.arange(MOTORS, dtype=np.uint8) | UNDER_CONTROL

    def encode(self, side: int, command: HandCommand, *, clears_watchdog: bool = False) -> None:
        """Fill the payload. Motors that are not enabled have no gains: their drives know no other way to be limp."""
        self._modes[:] = self._numbers | (0 if clears_watchdog else WATCHDOG)
        if command.enabled[side]:
            self._block[:] = command.block[side]
        else:
            self._block[:] = 0


class _Hand:
    """One side's reader, writer and views."""

    def __init__(self, side: int, reader: DdsReader, sample: HandSample) -> None:
        view, buffer = HAND_STATE_HEAD.view, reader.buffer
        self.side, self._reader, self._buffer = side, reader, buffer
        self._count = view(buffer, "count")
        self._modes = view(buffer, "motor_state.mode")
        self._pairs = [(row[side], view(buffer, f"motor_state.{name}")) for row, name in (
            (sample.q, "q"), (sample.dq, "dq"), (sample.tau, "tau_est"), (sample.motor_error, "motorstate"))]
        self._temperature = view(buffer, "motor_state.temperature")
        self._hottest = sample.temperature_c[side]
        self.writer: DdsWriter | None = None
        self.encoder: HandEncoder | None = None

    def read(self) -> Reading:
        if not self._reader.take():
            return Reading.NONE
        if self._count[0] != MOTORS:
            return Reading.REJECTED
        for row, values in self._pairs:
            row[:] = values
        np.maximum(self._temperature[:, 0], self._temperature[:, 1], out=self._hottest)
        return Reading.NEW

    def write(self, command: SafeHandCommand) -> bool:
        if self.writer is None or self.encoder is None:
            return False
        self.encoder.encode(self.side, command, clears_watchdog=bool((self._modes & WATCHDOG).any()))
        return self.writer.write()


class Dex3Bus:
    """Both hands of a robot, or what looks like them.

    Args:
        settings: where. name: of the DDS participant.
    """

    def __init__(self, settings: DdsSettings, name: str = "exoactor-hands") -> None:
        self._participant = Participant(settings, name)
        self.sample = HandSample.zeros(MOTORS)
        self._hands = tuple(_Hand(side, self._participant.reader(STATE_TOPICS[side], HAND_STATE_HEAD), self.sample)
                            for side in (LEFT, RIGHT))

    def read(self, side: int) -> Reading:
        """The newest HandState; REJECTED where it is not of seven motors."""
        return self._hands[side].read()

    def open_writers(self) -> None:
        """Announce both command writers."""
        for hand, topic in zip(self._hands, COMMAND_TOPICS, strict=True):
            hand.writer = self._participant.writer(topic, HAND_CMD)
            hand.encoder = HandEncoder(hand.writer.buffer)

    def write(self, side: int, command: SafeHandCommand) -> bool:
        """One hand's row onto the wire; False without a writer or when DDS refused it."""
        return self._hands[side].write(command)

    def other_writers(self, side: int) -> list[str]:
        """Who else announces commands for a hand."""
        return self._participant.foreign_writers(COMMAND_TOPICS[side])

    def close(self) -> None:
        """Leave the network."""
        self._participant.close()


class HandDecoder:
    """The far end: a HandCmd payload into a row of a hand command, for hands that are simulated."""

    def __init__(self, buffer: Buffer) -> None:
        self._count = HAND_CMD.view(buffer, "count")
        self._block = HAND_CMD.block(buffer, "motor_cmd", "q", "kd")
        self._modes = HAND_CMD.view(buffer, "motor_cmd.mode")
        self._numbers = np.arange(MOTORS, dtype=np.uint8)

    def decode(self, out: npt.NDArray[np.float32]) -> bool:
        """Fill `out` (7, 5); False, with `out` untouched, for what a hand does not obey: another number of motors,
        numbers out of order, a state that is not control, what is not finite."""
        is_obeyed = self._count[0] == MOTORS and ((self._modes & 0x7F) == self._numbers | UNDER_CONTROL).all()
        if not is_obeyed or not np.isfinite(self._block).all():
            return False
        out[:] = self._block
        return True

    @property
    def has_watchdog(self) -> bool:
        """Whether the newest command switches the drives' watchdog on."""
        return bool((self._modes & WATCHDOG).all())
