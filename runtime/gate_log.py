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
        state = gate.state
        self._copies = [
            (self.record[name][0], getattr(state, name)) for name in ("q", "dq", "tau", "quat_wxyz", "gyro", "accel")
        ]
        self._copies.append((self.record["measured"][0], gate.review.measured))
        self._command = self.record["command"][0]
        self._scalar = {name: self.record[name] for name in self.dtype.names or () if not self.dtype[name].shape}

    def fill(
        self, now_ns: int, command: MotorCommand | None, written: bool, target_state_ns: int, late_ns: int, tick_ns: int
    ) -> None:
        """Describe the tick the gate has just done."""
        gate, scalar = self._gate, self._scalar
        scalar["now_ns"][0] = now_ns
        scalar["received_ns"][0] = gate.state.received_ns
        scalar["sequence"][0] = gate.state.sequence
        scalar["tick"][0] = gate.state.record["tick"][0]
        scalar["flags"][0] = gate.flags
        scalar["target_sequence"][0] = gate.target_sequence
        scalar["target_state_ns"][0] = target_state_ns
        scalar["late_ns"][0] = late_ns
        scalar["tick_ns"][0] = tick_ns
        scalar["mode"][0] = gate.machine.mode
        scalar["cause"][0] = gate.machine.cause
        scalar["written"][0] = written
        for mine, theirs in self._copies:
            mine[:] = theirs
        if command is not None:
            self._command[:] = command.block
        else:
            self._command[:] = 0
