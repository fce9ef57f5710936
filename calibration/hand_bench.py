"""What a routine for hands has in its own: both hands' joints behind the gate's part for hands, and a recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Steps, Stopped
from calibration.recording import Recording
from firmware_bridge.hand_bus import LEFT, RIGHT, SIDES, HandBus
from runtime.faults import Mode
from runtime.hand import KEEP, HandModel
from runtime.hand_gate import STREAMED, WORDS, HandFinding, HandGate
from runtime.log_file import LogWriter
from runtime.records import Dtype, hand_log_dtype, hand_order_dtype

F32 = npt.NDArray[np.float32]
RATE_HZ = 500.0
MARGIN_RAD = 0.4
"""How far beyond the table's range a target may go: an encoder that is off reads there."""
HEARD_TICKS = 250
OFF_TICKS = 10
STOPS = HandFinding.LOST | HandFinding.HOT | HandFinding.MOTOR_ERROR | HandFinding.NON_FINITE


def enclosed(model: HandModel, velocity_rad_s: float) -> HandModel:
    """The same hands, slower and with room beyond their ranges; kp times reach stays the strongest torque."""
    return replace(model, lower_rad=model.lower_rad - np.float32(MARGIN_RAD),
                   upper_rad=model.upper_rad + np.float32(MARGIN_RAD),
                   velocity_rad_s=np.minimum(model.velocity_rad_s, np.float32(velocity_rad_s)))


class HandBench:
    """Both hands under a routine.

    Args:
        model: within the routine's limits.

    Attributes:
        target: (2, n) rad, left first, as the drives read; a routine changes it in place.
        q, dq, temperature_c: (2, n), newest.
        sides: the hands that are there.
        progress, said: for the person who watches.
    """

    def __init__(self, model: HandModel, period_s: float, sides: tuple[int, ...]) -> None:
        n = len(model.joints)
        self.model, self.period_s, self.sides = model, period_s, sides
        self.target: F32 = np.zeros((2, n), np.float32)
        self.q, self.dq = np.zeros((2, n), np.float32), np.zeros((2, n), np.float32)
        self.progress, self.said = 0.0, list[str]()
        self._rows: list[np.ndarray] = []
        self._stretches: dict[str, tuple[int, int]] = {}
        self._open: tuple[str, int] | None = None

    def begin(self, name: str) -> None:
        """What follows is a stretch of this name."""
        self._open = name, len(self._rows)

    def end(self) -> None:
        """The stretch ends."""
        if self._open is not None:
            name, start = self._open
            self._stretches[name], self._open = (start, len(self._rows)), None

    def record(self, line: np.ndarray) -> None:
        """Keep a line of the hands' log, where a stretch is open."""
        if self._open is not None:
            self._rows.append(line.copy())

    def recording(self, dtype: Dtype) -> Recording:
        """All of it."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, dtype)
        return Recording(rows, dict(self._stretches))

    def hold(self, seconds: float) -> Steps[None]:
        """The targets as they are."""
        for _ in range(max(1, round(seconds / self.period_s))):
            yield

    def move(self, to: F32, velocity_rad_s: float) -> Steps[None]:
        """Targets to (2, n), all joints at once, none faster than this."""
        start = self.target.copy()
        ticks = max(1, round(float(np.abs(to - start).max()) / velocity_rad_s / self.period_s))
        for tick in range(1, ticks + 1):
            self.target[:] = start + (to - start) * np.float32(tick / ticks)
            yield


class HandRun:
    """A routine's generator, `HandGate` and a hand bus; the body is not touched.

    Args:
        steps: of the routine, on a bench.
        model: within the routine's limits.
        bus: to the hands.
        advance: to the next tick; gives the time, ns.
        is_held: the dead-man.

    Attributes:
        stopped: why it did not end, "" where it did.
        gate: with the last word.
    """

    def __init__(
        self, steps: Callable[[HandBench], Steps[None]], model: HandModel, bus: HandBus, advance: Callable[[], int],
        is_held: Callable[[], bool] = lambda: True, raw: Path | None = None, about: dict[str, Any] | None = None,
    ) -> None:
        self._steps, self._bus, self._advance, self._is_held = steps, bus, advance, is_held
        self.model, self.stopped, self.ticks = model, "", 0
        self.gate = HandGate(model, bus, RATE_HZ, KEEP)
        n = len(model.joints)
        self._order = np.zeros(1, hand_order_dtype(n))
        self.dtype = hand_log_dtype(n)
        self._log = LogWriter(raw, about or {}) if raw is not None else None
        if self._log is not None:
            self._log.add_channel("hands", self.dtype)
        self.bench: HandBench | None = None

    def run(self, look: Callable[[], None] = lambda: None) -> Recording:
        """To its end, or until something stops it; the hands are limp afterwards."""
        try:
            for _ in range(HEARD_TICKS):
                self._tick(Mode.READY)
            sides = tuple(side for side in (LEFT, RIGHT) if self.gate.heard[side])
            bench = self.bench = HandBench(self.model, 1 / RATE_HZ, sides)
            bench.target[:] = self._bus.sample.q
            self._carry_on(bench, look)
            for _ in range(OFF_TICKS):
                self._tick(Mode.ZERO)
            return bench.recording(self.dtype)
        finally:
            if self._log is not None:
                self._log.close()

    def _carry_on(self, bench: HandBench, look: Callable[[], None]) -> None:
        steps = self._steps(bench)
        try:
            while True:
                bench.q[:], bench.dq[:] = self._bus.sample.q, self._bus.sample.dq
                self._look_for_trouble(bench)
                next(steps)
                if self._tick(Mode.TRACK):
                    bench.record(self.gate.record)
                look()
        except StopIteration:
            return
        except Stopped as reason:
            self.stopped = str(reason)
        steps.close()

    def _look_for_trouble(self, bench: HandBench) -> None:
        if not self._is_held():
            raise Stopped("the dead-man was released")
        if not bench.sides:
            raise Stopped("no hand is heard")
        for side in bench.sides:
            found = HandFinding(int(self.gate.record["finding"][0, side])) & STOPS
            for kind in HandFinding:
                if found & kind:
                    raise Stopped(f"the {SIDES[side]} hand {WORDS[kind].partition(':')[0]}")

    def _tick(self, mode: Mode) -> bool:
        """One gate tick; true where the hands were written."""
        now_ns, order = self._advance(), self._order
        self.ticks += 1
        order["made_ns"], order["state"] = now_ns, STREAMED if self.bench is not None else -1
        order["sequence"] += 1
        if self.bench is not None:
            order["q"][0] = self.bench.target
        written = self.gate.tick(now_ns, mode, order)
        if written and self._log is not None:
            self._log.write("hands", self.gate.record.tobytes())
        return written
