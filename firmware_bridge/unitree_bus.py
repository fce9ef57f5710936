"""Unitree robots behind the motor seam: LowState in, LowCmd out, both as fixed buffers with views.

The wire's own rules live here: 35 (or 20) motor slots, the echoed mode_machine, mode 1 a motor, the CRC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.dds import DdsSettings, DdsWriter, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import GO_LOW_CMD, GO_LOW_STATE, HG_LOW_CMD, HG_LOW_STATE, Buffer, Layout
from firmware_bridge.motor_bus import MotorCommand, MotorSample, Reading, SafeCommand

STATE_TOPIC, COMMAND_TOPIC = "rt/lowstate", "rt/lowcmd"


@dataclass(frozen=True)
class Wire:
    """One message family."""

    low_state: Layout
    low_cmd: Layout
    head: tuple[int, int] | None
    enabled_mode: int


WIRES = {
    "unitree_hg": Wire(HG_LOW_STATE, HG_LOW_CMD, None, 1),
    "unitree_go": Wire(GO_LOW_STATE, GO_LOW_CMD, (0xFE, 0xEF), 10),
}
"""go: head bytes and servo mode 10 as in unitreerobotics/unitree_sdk2 `example/h1`."""


def wire_named(name: str) -> Wire:
    """A message family by its name in a robot's file."""
    if name not in WIRES:
        raise BridgeError("wire", expected=f"one of {', '.join(WIRES)}", found=name,
                          what_to_do="correct `wire` in the robot's file")
    return WIRES[name]


def sample_over(wire: Wire, buffer: Buffer, motors: int) -> MotorSample:
    """A motor sample whose arrays are views of a LowState payload; nothing is copied."""
    layout = wire.low_state

    def motor(name: str) -> npt.NDArray[np.float32]:
        return layout.view(buffer, f"motor_state.{name}")[:motors]

    temperature = layout.view(buffer, "motor_state.temperature")[:motors]
    has_mode = wire.head is None
    imu = layout.offset("imu_state.quaternion")
    return MotorSample(
        q=motor("q"),
        dq=motor("dq"),
        tau=motor("tau_est"),
        temperature_c=temperature[:, 0] if temperature.ndim == 2 else temperature,
        motor_error=layout.view(buffer, "motor_state.motorstate")[:motors] if has_mode else np.zeros(motors, np.uint32),
        imu=buffer[imu : imu + 40].view(np.float32),  # quaternion, gyroscope, accelerometer follow each other
        tick=layout.view(buffer, "tick"),
        mode_machine=layout.view(buffer, "mode_machine") if has_mode else np.zeros(1, np.uint8),
        remote=layout.view(buffer, "wireless_remote"),
        motor_lost=np.zeros(motors, np.uint32) if has_mode else layout.view(buffer, "motor_state.lost")[:motors],
    )


class CommandEncoder:
    """Command blocks into a LowCmd payload, CRC included."""

    def __init__(self, wire: Wire, buffer: Buffer, motors: int) -> None:
        layout = wire.low_cmd
        self._block = layout.block(buffer, "motor_cmd", "q", "kd")[:motors]
        self._buffer, self._modes = buffer, layout.offsets("motor_cmd.mode")[:motors]
        self._mode_machine = layout.view(buffer, "mode_machine") if wire.head is None else np.zeros(1, np.uint8)
        self._enabled_mode = wire.enabled_mode
        self._seal = layout.seal(buffer)
        self._was_enabled: bool | None = None
        if wire.head is not None:
            layout.view(buffer, "head")[:] = wire.head
            layout.view(buffer, "level_flag")[:] = 0xFF

    def echo(self, mode_machine: int) -> None:
        """The variant to send back; firmware drops commands that name another."""
        self._mode_machine[0] = mode_machine

    def encode(self, command: MotorCommand) -> None:
        """Fill the payload."""
        self._block[:] = command.block
        if command.enabled is not self._was_enabled:
            self._was_enabled = command.enabled
            self._buffer[self._modes] = self._enabled_mode if command.enabled else 0
        self._seal.write()


@dataclass(frozen=True)
class Profile:
    """How strictly a peer keeps Unitree's rules."""

    checks_crc: bool = True
    checks_tick: bool = True
    simulator_only: bool = False


PROFILES = {
    "unitree": Profile(),
    "unitree-mujoco": Profile(checks_crc=False, checks_tick=False, simulator_only=True),
}


class UnitreeBus:
    """A Unitree robot, or what looks like one, over DDS.

    Args:
        settings: where.
        wire: message family name.
        motors: slots in use.
        profile: what is checked of incoming states.
        name: of the DDS participant.

    The command writer is made by `open_writer`, so that watching alone never announces one.
    """

    def __init__(
        self, settings: DdsSettings, wire: str, motors: int, profile: Profile | None = None, name: str = "exoactor"
    ) -> None:
        self._wire = wire_named(wire)
        self._profile = profile or Profile()
        self._motors = motors
        self._participant = Participant(settings, name)
        self._reader = self._participant.reader(STATE_TOPIC, self._wire.low_state)
        self._crc = self._wire.low_state.seal(self._reader.buffer)
        self._crc_field = self._wire.low_state.view(self._reader.buffer, "crc")
        self.sample = sample_over(self._wire, self._reader.buffer, motors)
        self._writer: DdsWriter | None = None
        self._encoder: CommandEncoder | None = None

    def read(self) -> Reading:
        """The newest LowState into `sample`."""
        if not self._reader.take():
            return Reading.NONE
        if self._profile.checks_crc and not self._crc.matches():
            return Reading.REJECTED
        return Reading.NEW

    def wait(self, timeout_s: float) -> bool:
        """Whether a state arrives within the time; for start-up."""
        return self._reader.wait(timeout_s)

    def is_sealed(self) -> bool:
        """Whether the present sample carries a CRC, a counter and a variant, as a robot's does."""
        return bool(self._crc_field[0] or self.sample.tick[0] or self.sample.mode_machine[0])

    def open_writer(self) -> None:
        """Announce the command writer; from here on the robot may listen to us."""
        self._writer = self._participant.writer(COMMAND_TOPIC, self._wire.low_cmd)
        self._encoder = CommandEncoder(self._wire, self._writer.buffer, self._motors)

    def echo(self, mode_machine: int) -> None:
        """The variant that commands name."""
        if self._encoder is not None:
            self._encoder.echo(mode_machine)

    def write(self, command: SafeCommand) -> bool:
        """One command onto the wire; False when there is no writer or DDS refused it."""
        if self._writer is None or self._encoder is None:
            return False
        self._encoder.encode(command)
        return self._writer.write()

    def other_writers(self) -> list[str]:
        """Who else announces commands for this robot."""
        return self._participant.foreign_writers(COMMAND_TOPIC)

    def link_is_up(self) -> bool:
        """Whether the network interface has a carrier."""
        return self._participant.link_is_up()

    def close(self) -> None:
        self._participant.close()
