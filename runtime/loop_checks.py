"""How regularly things happen: states lost in the last second, pauses of the gate's own loop."""

from __future__ import annotations

from collections import deque

from runtime.fault_table import BIT
from runtime.findings import Findings
from runtime.limits import Limits

WINDOW_NS = 1_000_000_000


class Losses:
    """States lost on the way, from the robot's own counter, over a sliding second.

    The counter's usual step is learned: the smallest seen. A state that was overwritten before anybody looked counts
    as lost too; to the controller it is.
    """

    LEAST, PARTS = 100, 10
    """States before a ratio says anything; parts of the second, each dropped as a whole."""

    def __init__(self, limits: Limits, findings: Findings) -> None:
        self._limit, self._findings = limits.state_loss_ratio, findings
        self._step = 1 << 31
        self._expected = self._received = 0
        self._parts: deque[tuple[int, int]] = deque(maxlen=self.PARTS)
        self._began_ns = 0
        self._flag = 0

    def count(self, tick: int, before: int) -> None:
        """A state with this counter came after one with that (-1: none)."""
        if before < 0:
            return
        step = (tick - before) % (1 << 32)
        self._step = min(self._step, step)
        if step < 1000 * self._step:
            self._expected += step // self._step
            self._received += 1

    def look(self, now_ns: int) -> int:
        """The flag as of the last tenth of a second."""
        if now_ns - self._began_ns < WINDOW_NS // self.PARTS:
            return self._flag
        self._parts.append((self._expected, self._received))
        self._expected, self._received, self._began_ns = 0, 0, now_ns
        expected, received = (sum(column) for column in zip(*self._parts, strict=True))
        ratio = 1 - received / expected if received > self.LEAST else 0.0
        self._flag = self._findings.note("STATE_LOSSY", ratio) if ratio > self._limit else 0
        return self._flag


class Misses:
    """Control periods of the policy that nearly fill the period; so many in a row are too slow.

    One that takes more than the whole period is not waited for: the target before it has grown too old by then.
    """

    def __init__(self, limits: Limits, period_ns: int) -> None:
        self._most, self._longest_ns = limits.policy_misses, round(limits.policy_share * period_ns)
        self._in_a_row = 0

    def look(self, taken_ns: int) -> int:
        """The flag after a period that took so long."""
        self._in_a_row = self._in_a_row + 1 if taken_ns > self._longest_ns else 0
        return BIT["POLICY_SLOW"] if self._in_a_row >= self._most else 0


class Pauses:
    """Pauses of the loop: each is counted, and too many within a second are a fault of a loop with real-time rights."""

    def __init__(self, limits: Limits, findings: Findings, *, real_time: bool) -> None:
        self._pause_ns, self._most = round(limits.pause_s * 1e9), limits.gate_overruns
        self._findings, self._real_time = findings, real_time
        self._last_ns = 0
        self._times: deque[int] = deque(maxlen=max(1, self._most + 1))

    def look(self, now_ns: int) -> int:
        """Flags of a tick at this time."""
        gap_ns, self._last_ns = now_ns - self._last_ns, now_ns
        if gap_ns <= self._pause_ns or gap_ns == now_ns:
            return 0
        flags = self._findings.note("GATE_PAUSE", gap_ns * 1e-9)
        self._times.append(now_ns)
        burst = len(self._times) > self._most and now_ns - self._times[0] < WINDOW_NS
        return flags | self._findings.note("GATE_OVERRUN", len(self._times)) if burst and self._real_time else flags
