"""Unitree robots behind the motor seam: LowState in, LowCmd out, both as fixed buffers with views.

The wire's own rules live here: 35 (or 20) motor slots, the echoed mode_machine, mode 1 a motor, the CRC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.dds import DdsReader, DdsSettings, DdsWriter, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import (
    GO_LOW_CMD,
    GO_LOW_STATE,
    HG_BMS_STATE,
    HG_IMU_STATE,
    HG_LOW_CMD,
    HG_LOW_STATE,
    Buffer,
    Layout,
)
from firmware_bridge.motor_bus import F32, MotorCommand, MotorSample, Reading, SafeCommand

STATE_TOPIC, COMMAND_TOPIC = "rt/lowstate", "rt/lowcmd"
BATTERY_TOPIC, TORSO_TOPIC = "rt/lf/bmsstate", "rt/secondary_imu"
TORSO_READS, BATTERY_READS = 10, 100
"""The torso's IMU is looked at with every 10th state, the battery with every 100th: 20 and 200 ms at 500 Hz."""
TORSO_SILENT_NS, BATTERY_SILENT_NS = 1_000_000_000, 5_000_000_000
"""Unheard of for longer, a value is NaN again. The rate of a robot's `rt/lf/` topics is not known; 1 Hz would do."""


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


class SlowTopics:
    """Battery and torso IMU into a sample: values that come on topics of their own, or rarely.

    Args:
        torso, battery: readers of an hg robot's topics, or None; a go robot's battery is in its LowState.
        charge: (1,) uint8 view of a LowState's charge, or None.
    """

    def __init__(
        self, sample: MotorSample, torso: DdsReader | None, battery: DdsReader | None,
        charge: npt.NDArray[np.uint8] | None,
    ) -> None:
        self._torso = None if torso is None else _Heard(
            torso, HG_IMU_STATE.view(torso.buffer, "quaternion"), sample.torso_quat_wxyz, TORSO_SILENT_NS)
        self._battery = None if battery is None else _Heard(
            battery, HG_BMS_STATE.view(battery.buffer, "soc"), sample.battery_percent, BATTERY_SILENT_NS)
        self._charge, self._percent = charge, sample.battery_percent

    def look(self, reads: int, now_ns: int) -> None:
        """At each `TORSO_READS`-th state."""
        if self._torso is not None:
            self._torso.look(now_ns)
        if reads % BATTERY_READS == 0:
            if self._battery is not None:
                self._battery.look(now_ns)
            elif self._charge is not None:
                self._percent[:] = self._charge


class _Heard:
    """A value of a topic, NaN before it was heard and after it fell silent."""

    def __init__(self, reader: DdsReader, source: npt.NDArray[np.generic], out: F32, silent_ns: int) -> None:
        self._reader, self._source, self._out, self._silent_ns = reader, source, out, silent_ns
        self._heard_ns: int | None = None

    def look(self, now_ns: int) -> None:
        if self._reader.take():
            self._out[:] = self._source
            self._heard_ns = now_ns
        elif self._heard_ns is not None and now_ns - self._heard_ns > self._silent_ns:
            self._out.fill(np.nan)
            self._heard_ns = None


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
        self._slow, self._reads = self._open_slow_topics(), 0
        self._writer: DdsWriter | None = None
        self._encoder: CommandEncoder | None = None

    def _open_slow_topics(self) -> SlowTopics:
        if self._wire.head is None:
            return SlowTopics(self.sample, self._participant.reader(TORSO_TOPIC, HG_IMU_STATE),
                              self._participant.reader(BATTERY_TOPIC, HG_BMS_STATE), None)
        # A simulator that fills in no battery would look like an empty one.
        charge = self._wire.low_state.view(self._reader.buffer, "bms_state.soc")
        return SlowTopics(self.sample, None, None, None if self._profile.simulator_only else charge)

    def read(self) -> Reading:
        """The newest LowState into `sample`; now and then also what comes on other topics."""
        if not self._reader.take():
            return Reading.NONE
        if self._profile.checks_crc and not self._crc.matches():
            return Reading.REJECTED
        self._reads += 1
        if self._reads % TORSO_READS == 0:
            self._slow.look(self._reads, time.monotonic_ns())
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

    def watch(self) -> None:
        """Nothing to do: a robot sends its states unasked."""

    def pump(self, until_ns: int) -> None:
        """Nothing to do: the DDS library has threads of its own."""

    def statistics(self) -> list[dict[str, Any]]:
        """None: what was lost stands in the log, state by state."""
        return []

    def other_writers(self) -> list[str]:
        """Who else announces commands for this robot."""
        return self._participant.foreign_writers(COMMAND_TOPIC)

    def link_is_up(self) -> bool:
        """Whether the network interface has a carrier."""
        return self._participant.link_is_up()

    def close(self) -> None:
        self._participant.close()
