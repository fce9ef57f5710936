"""Fills the gate's log record from a tick; views are made once, so a line costs a few microseconds."""

from __future__ import annotations

import numpy as np

from firmware_bridge.motor_bus import MotorCommand
from runtime.gate import Gate
from runtime.records import Dtype, gate_log_dtype


class GateLog:
    """One line of the gate's log.

    Attributes:
        record: (1,) `gate_log_dtype`.
    """

    def __init__(self, gate: Gate, motors: int, record: np.ndarray | None = None) -> None:
        self.dtype: Dtype = gate_log_dtype(motors)
        self.record = np.zeros(1, self.dtype) if record is None else record
        self._gate = gate
        fields = self.dtype.fields
        assert fields is not None
        start = fields["received_ns"][1]  # the state's fields stand together, in its own record's order
        self._state_from = gate.state.record.view(np.uint8)
        self._state_to = self.record.view(np.uint8)[start : start + self._state_from.size]
        self._temperature = self.record["temperature_c"][0]
        self._measured = self.record["measured"][0]
        self._command = self.record["command"][0]
        self._scalar = {name: self.record[name] for name in self.dtype.names or () if not self.dtype[name].shape}

    def fill(
        self, now_ns: int, command: MotorCommand | None, written: bool, target_state_ns: int, late_ns: int,
        tick_ns: int, temperature_c: np.ndarray,
    ) -> None:
        """Describe the tick the gate has just done."""
        gate, scalar = self._gate, self._scalar
        scalar["now_ns"][0] = now_ns
        scalar["flags"][0] = gate.flags
        scalar["target_sequence"][0] = gate.target_sequence
        scalar["target_state_ns"][0] = target_state_ns
        scalar["late_ns"][0] = late_ns
        scalar["tick_ns"][0] = tick_ns
        scalar["mode"][0] = gate.machine.mode
        scalar["cause"][0] = gate.machine.cause
        scalar["written"][0] = written
        self._state_to[:] = self._state_from
        self._temperature[:] = temperature_c
        self._measured[:] = gate.review.findings.measured
        if command is not None:
            self._command[:] = command.block
        else:
            self._command[:] = 0
