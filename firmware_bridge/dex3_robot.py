"""Simulated Dex3-1 hands on DDS: what `exoactor sim --hands` puts beside its robot."""

from __future__ import annotations

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.dex3 import COMMAND_TOPICS, HAND_CMD, HAND_STATE, MOTORS, STATE_TOPICS, UNDER_CONTROL, HandDecoder
from firmware_bridge.errors import BridgeError
from firmware_bridge.hand_bus import LEFT, RIGHT
from firmware_bridge.simulated_hands import HandTable, SimulatedHands

STATE_EVERY = 5
"""Steps of 2 ms from one state to the next. A real hand's rate is not known."""
BUS = "dex3"


class DdsHands:
    """`SimulatedHands` on the topics of a Dex3-1.

    Attributes:
        hands: their physics.
        dropped: (2,) commands that were not obeyed.

    Raises:
        BridgeError: a hand that is on another wire.
    """

    def __init__(self, table: HandTable, settings: DdsSettings) -> None:
        if table.bus != BUS or len(table.effort_n_m) != MOTORS:
            raise BridgeError("simulated hands", expected=f"bus {BUS} and {MOTORS} joints",
                              found=f"{table.bus} and {len(table.effort_n_m)}", what_to_do="simulate a dex3-1")
        self.hands = SimulatedHands(table)
        self._participant = Participant(settings, "exoactor-sim-hands")
        self._commands = [self._participant.reader(topic, HAND_CMD) for topic in COMMAND_TOPICS]
        self._states = [self._participant.writer(topic, HAND_STATE) for topic in STATE_TOPICS]
        self._decoders = [HandDecoder(reader.buffer) for reader in self._commands]
        self._block = np.zeros((MOTORS, 5), np.float32)
        self._count, self.dropped = 0, [0, 0]
        for writer in self._states:
            HAND_STATE.view(writer.buffer, "count")[0] = MOTORS
            HAND_STATE.view(writer.buffer, "motor_state.mode")[:] = np.arange(MOTORS) | UNDER_CONTROL
            HAND_STATE.view(writer.buffer, "imu_state.quaternion")[0] = 1

    def tick(self) -> None:
        """Obey, step, publish."""
        for side in (LEFT, RIGHT):
            if self._commands[side].take():
                if self._decoders[side].decode(self._block):
                    self.hands.command(side, self._block)
                else:
                    self.dropped[side] += 1
        sample = self.hands.step()
        self._count += 1
        if self._count % STATE_EVERY:
            return
        for side in (LEFT, RIGHT):
            if not self.hands.connected[side]:
                continue
            view, buffer = HAND_STATE.view, self._states[side].buffer
            for name, values in (("q", sample.q), ("dq", sample.dq), ("tau_est", sample.tau),
                                 ("motorstate", sample.motor_error)):
                view(buffer, f"motor_state.{name}")[:] = values[side]
            view(buffer, "motor_state.temperature")[:] = sample.temperature_c[side][:, None]
            self._states[side].write()

    def close(self) -> None:
        """Leave the network."""
        self._participant.close()
