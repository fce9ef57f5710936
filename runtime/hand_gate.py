"""The gate's part for hands: what they are told, what is wrong with them, what is written. No clock of its own.

Nothing here brings the body down. A hand that is lost, hot or faulty is a finding; its grip is kept at low gain.

    TRACK                the newest order
    READY, HOLD, STAND   the last order stands
    DAMP                 the grip is kept at low gain, or opened (`on_damp` of the hand's file)
    ZERO                 no torque
    orders grown old     as DAMP with `keep`: a policy that is silent lets nothing fall
"""

from __future__ import annotations

from collections import Counter, deque
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.hand_bus import LEFT, RIGHT, SIDES, HandBus
from firmware_bridge.motor_bus import KP, Q, Reading
from runtime.faults import Mode
from runtime.hand import OPEN, HandModel
from runtime.hand_enforce import HandEnforcer
from runtime.records import hand_log_dtype

NOTHING, STREAMED = -1, 3
"""Of an order's `state`: nothing was ever said; joints are given. Between them the indices of `HAND_STATES`."""
EVERY = 5
"""Gate ticks from one write to the next, at most: 100 Hz at 500, what Unitree's own teleoperation sends."""
ORDER_S = 0.1
"""Five periods of a 50 Hz policy; its body has damped by then."""
OTHERS_EVERY = 100
"""Writes between two looks at who else commands the hands: 1 s."""
MESSAGES = 64


class HandFinding(IntFlag):
    """What may be wrong with a hand."""

    LOST = 1
    HOT = 2
    MOTOR_ERROR = 4
    NON_FINITE = 8
    OTHER_WRITER = 16


WORDS = {
    HandFinding.LOST: "is not heard any more: its last target stays", HandFinding.HOT: "is hot: kept at low gain",
    HandFinding.MOTOR_ERROR: "reports a motor error", HandFinding.NON_FINITE: "is told or measured what is no number",
    HandFinding.OTHER_WRITER: "is commanded by somebody else too",
}


class HandGate:
    """Both hands.

    Args:
        model: what they are.
        bus: how they are reached.
        gate_hz: rate of `tick`.
        on_damp: KEEP or OPEN.
        is_dry: everything but write.

    Attributes:
        record: (1,) `hand_log_dtype` of the last write, for the log.
        heard: which hands were heard at all.
        messages: what an operator should hear, oldest first; emptied by the caller.
        counts: findings by hand and kind, each counted as often as it rose.
    """

    def __init__(self, model: HandModel, bus: HandBus, gate_hz: float, on_damp: str, *, is_dry: bool = False) -> None:
        n = len(model.joints)
        self.model, self.bus, self._on_damp = model, bus, on_damp
        self._enforcer, self._tick_s = HandEnforcer(model), 1 / gate_hz
        self.record = np.zeros(1, hand_log_dtype(n))
        self.record["state"] = NOTHING
        self._view = {name: self.record[name][0] for name in self.record.dtype.names or ()
                      if self.record.dtype[name].shape}
        self.heard = [False, False]
        self._heard_ns, self._findings = [0, 0], [HandFinding(0), HandFinding(0)]
        self._told, self._is_started, self._is_ill_told = [NOTHING, NOTHING], [False, False], [False, False]
        self._is_open, self._damps = is_dry, False
        self._count = self._writes = 0
        self.messages: deque[str] = deque(maxlen=MESSAGES)
        self.counts: Counter[str] = Counter()

    def tick(self, now_ns: int, mode: Mode, order: npt.NDArray[Any]) -> bool:
        """One gate tick; true when there was something to log.

        Args:
            mode: of the body, after its own tick.
            order: (1,) `hand_order_dtype`, the policy's newest; all zero before the first.
        """
        self._count += 1
        if self._count < EVERY and (mode is not Mode.TRACK or order["state"][0].tolist() == self._told):
            return False  # what is new is told at once, with the gate tick that hears of it
        period_s, self._count = min(self._count, EVERY) * self._tick_s, 0
        self._read(now_ns)
        if mode is Mode.DISARMED:
            return False
        is_silent = mode >= Mode.DAMP or now_ns - int(order["made_ns"][0]) > ORDER_S * 1e9
        if mode is Mode.TRACK and not is_silent:
            self._obey(order)
        elif mode is Mode.DAMP and not self._damps:
            self._damp(order)
        self._damps = mode >= Mode.DAMP
        self._write(now_ns, mode, period_s, is_silent=is_silent)
        return True

    def _read(self, now_ns: int) -> None:
        sample, model = self.bus.sample, self.model
        for side in (LEFT, RIGHT):
            reading = self.bus.read(side)
            found = self._findings[side] & HandFinding.OTHER_WRITER
            if reading is Reading.NEW:
                self._heard_ns[side], self.heard[side] = now_ns, True
            elif self.heard[side] and now_ns - self._heard_ns[side] > model.lost_s * 1e9:
                found |= HandFinding.LOST
            if self.heard[side]:
                if self._is_ill_told[side] or not np.isfinite(sample.q[side]).all():
                    found |= HandFinding.NON_FINITE
                if sample.motor_error[side].any():
                    found |= HandFinding.MOTOR_ERROR
                was_hot = bool(self._findings[side] & HandFinding.HOT)
                if sample.temperature_c[side].max() >= (model.cool_c if was_hot else model.hot_c):
                    found |= HandFinding.HOT
            self._note(side, found)

    def _note(self, side: int, found: HandFinding) -> None:
        for kind in HandFinding:
            if found & kind and not self._findings[side] & kind:
                self.counts[f"{SIDES[side]} {kind.name}"] += 1
                self.messages.append(f"{SIDES[side]} hand {WORDS[kind]}")
        self._findings[side] = found

    def _obey(self, order: npt.NDArray[Any]) -> None:
        for side, state in enumerate(order["state"][0].tolist()):
            q = order["q"][0, side]
            self._is_ill_told[side] = state == STREAMED and not np.isfinite(q).all()
            if state == STREAMED:
                if not self._is_ill_told[side]:
                    self._enforcer.follow(side, self.model.placed(side, q))
            elif state != self._told[side] and 0 <= state < len(self.model.states_rad):
                self._enforcer.go(side, self.model.states_rad[state, side])
            self._told[side] = state

    def _damp(self, order: npt.NDArray[Any]) -> None:
        """Once, as damping begins. A gate that replaces a dead one goes on with the grip that this one was told."""
        if self._on_damp == OPEN:
            self._told = [0, 0]
            for side in (LEFT, RIGHT):
                self._enforcer.go(side, self.model.states_rad[0, side])
        elif order["sequence"][0] and not any(self._is_started):
            self._told = order["state"][0].tolist()

    def _write(self, now_ns: int, mode: Mode, period_s: float, *, is_silent: bool) -> None:
        bus, enforcer, view, sample = self.bus, self._enforcer, self._view, self.bus.sample
        if not self._is_open:
            self._is_open = True
            bus.open_writers()
        self._writes += 1
        if self._writes % OTHERS_EVERY == 0:
            for side in (LEFT, RIGHT):
                own = HandFinding.OTHER_WRITER if bus.other_writers(side) else HandFinding(0)
                self._note(side, (self._findings[side] & ~HandFinding.OTHER_WRITER) | own)
        record, command = self.record, enforcer.command
        record["now_ns"], record["mode"] = now_ns, mode
        for side in (LEFT, RIGHT):
            view["written"][side] = 0
            if not self.heard[side]:
                continue  # nothing was ever measured: there is nowhere to start from
            found = self._findings[side]
            is_blind = bool(found & (HandFinding.LOST | HandFinding.NON_FINITE))
            if not self._is_started[side]:
                if is_blind:
                    continue
                self._start(side)
            if mode is Mode.ZERO:
                enforcer.off(side)
            else:
                enforcer.tick(side, None if is_blind else sample.q[side], period_s,
                              is_kept=is_silent or is_blind or bool(found & HandFinding.HOT))
            view["written"][side] = bus.write(side, command)
        view["state"][:], view["finding"][:], view["heard_ns"][:] = self._told, self._findings, self._heard_ns
        view["q"][:], view["dq"][:], view["tau"][:] = sample.q, sample.dq, sample.tau
        view["temperature_c"][:] = sample.temperature_c
        view["target"][:], view["kp"][:] = command.block[:, :, Q], command.block[:, 0, KP]

    def _start(self, side: int) -> None:
        """From where the hand stands to what it has been told meanwhile."""
        self._is_started[side] = True
        self._enforcer.start_from(side, self.bus.sample.q[side])
        state = self._told[side]
        if 0 <= state < len(self.model.states_rad):
            self._enforcer.go(side, self.model.states_rad[state, side])

    def close(self) -> None:
        """Let go of the bus; the hands stay as they were told last, or as their own watchdog has it."""
        self.bus.close()
