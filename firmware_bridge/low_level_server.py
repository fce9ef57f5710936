"""The robot's side of Unitree's low-level topics, for a robot of any make: states out, commands in.

By the firmware's rules: a command with a wrong CRC or another variant's mode_machine is dropped and counted. One with a
number that is not finite is, too.
"""

from __future__ import annotations

import time

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import MotorCommand, MotorSample
from firmware_bridge.unitree_bus import COMMAND_TOPIC, STATE_TOPIC, sample_over, wire_named

LOOK_S = 0.3


class LowLevelServer:
    """LowState and LowCmd of one robot on DDS.

    Args:
        motors: slots in use.
        mode_machine: the variant it says it is.

    Attributes:
        command: the newest that was obeyed; motors with mode 0 have no gains and no torque in it.
        obeyed, dropped: commands, counted.

    Raises:
        BridgeError: another robot is on that domain.
    """

    def __init__(self, settings: DdsSettings, wire: str, motors: int, mode_machine: int) -> None:
        self._participant = Participant(settings, "exoactor-bridge")
        end = time.monotonic() + LOOK_S
        while time.monotonic() < end:
            others = self._participant.foreign_writers(STATE_TOPIC)
            if others:
                self._participant.close()
                raise BridgeError("serial robot", expected=f"no other robot on domain {settings.domain}",
                                  found=f"{STATE_TOPIC} written by {'; '.join(others)}",
                                  what_to_do="choose another --domain, or stop the other one")
            time.sleep(0.02)
        family, n = wire_named(wire), motors
        self._commands = self._participant.reader(COMMAND_TOPIC, family.low_cmd)
        self._states = self._participant.writer(STATE_TOPIC, family.low_state)
        self._out = sample_over(family, self._states.buffer, n)
        self._seal = family.low_state.seal(self._states.buffer)
        self._command_seal = family.low_cmd.seal(self._commands.buffer)
        self._block = family.low_cmd.block(self._commands.buffer, "motor_cmd", "q", "kd")[:n]
        self._modes = family.low_cmd.offsets("motor_cmd.mode")[:n]
        has_variant = family.head is None
        self._variant = family.low_cmd.view(self._commands.buffer, "mode_machine") if has_variant else None
        self._mode_machine = mode_machine
        self._states.buffer[family.low_state.offsets("motor_state.mode")[:n]] = 1
        self._out.mode_machine[0] = mode_machine
        self.command = MotorCommand(n)
        self.obeyed = self.dropped = 0

    def take(self) -> bool:
        """The newest command into `command`; False when there is none, or none to obey."""
        if not self._commands.take():
            return False
        enabled = self._commands.buffer[self._modes] != 0
        is_ours = self._variant is None or int(self._variant[0]) == self._mode_machine
        if not is_ours or not self._command_seal.matches() or not np.isfinite(self._block).all():
            self.dropped += 1
            return False
        self.obeyed += 1
        np.multiply(self._block, enabled[:, None], out=self.command.block)
        self.command.enabled = bool(enabled.any())
        return True

    def publish(self, sample: MotorSample) -> None:
        """A state, with the milliseconds that it is of."""
        out = self._out
        out.q[:], out.dq[:], out.tau[:], out.temperature_c[:] = sample.q, sample.dq, sample.tau, sample.temperature_c
        out.motor_error[:], out.motor_lost[:] = sample.motor_error, sample.motor_lost
        out.imu[:] = sample.imu
        out.tick[0] = time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF
        self._seal.write()
        self._states.write()

    def close(self) -> None:
        """Leave the network."""
        self._participant.close()
