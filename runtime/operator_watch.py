"""What the gate makes of the operator's process: dead-man, link age, emergency stops, and that process's own life.

Pure: the record comes from the operator's slot, the time from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.findings import Findings
from runtime.limits import Limits
from runtime.mux import Source

COUNTED = (
    ("malformed", "STREAM_MALFORMED"), ("unauthorised", "UNAUTHORISED"), ("replayed", "REPLAYED"),
    ("dropped", "STREAM_FLOOD"),
)
"""Counters of the operator's record and the flag that each raises while it rises."""
COUNTED_NS = 100_000_000
"""How long a counted flag stands after the counter rose, so that no log line misses it."""


class Counted:
    """Flags that stand for a while after a counter of some record rose.

    Args:
        counters: field of the record and its flag.
    """

    def __init__(self, counters: tuple[tuple[str, str], ...], findings: Findings) -> None:
        self._counters, self._findings = counters, findings
        self._counts = {name: 0 for name, _ in counters}
        self._risen_ns = dict.fromkeys(self._counts, -COUNTED_NS)

    def look(self, record: Mapping[str, Any], now_ns: int) -> int:
        """Flags of the newest record."""
        flags = 0
        for name, flag in self._counters:
            count = int(record[name])
            if count > self._counts[name]:
                self._risen_ns[name] = now_ns
            self._counts[name] = count
            if now_ns - self._risen_ns[name] < COUNTED_NS:
                flags |= self._findings.note(flag, count)
        return flags


class OperatorWatch:
    """Flags of the operator's side.

    Args:
        limits: of the robot.
        teleoperates: somebody may command through that process: dead-man and link count once engaged.

    Attributes:
        is_engaged: the operator commands now: from a fresh gesture until the dead-man is released, the link is lost, or
            a gesture hands back to the run's own motion.
    """

    def __init__(self, limits: Limits, findings: Findings, *, teleoperates: bool) -> None:
        self._findings, self._teleoperates = findings, teleoperates
        self._hold_ns = round(limits.operator_hold_s * 1e9)
        self._stand_ns = round(limits.operator_stand_s * 1e9)
        self._silent_ns = round(limits.estop_silent_s * 1e9)
        self._counted = Counted(COUNTED, findings)
        self._engages = -1
        self.is_engaged = False

    def look(self, record: Mapping[str, Any], now_ns: int) -> int:
        """Flags of the newest record of the operator's process, fields of `OPERATOR_DTYPE` as numbers."""
        note, flags = self._findings.note, 0
        silence_ns = now_ns - int(record["beat_ns"])
        if silence_ns > self._silent_ns:
            flags |= note("ESTOP_SILENT", silence_ns * 1e-9)
        if record["stop"]:
            flags |= note("ESTOP", int(record["stop"]))
        if record["silent"]:
            flags |= note("ESTOP_SILENT", int(record["silent"]))
        flags |= self._counted.look(record, now_ns)
        return flags | (self._link(record, now_ns) if self._teleoperates else 0)

    def _link(self, record: Mapping[str, Any], now_ns: int) -> int:
        engages = int(record["engages"])
        if self._engages >= 0 and engages > self._engages:
            self.is_engaged = int(record["source"]) != Source.CLIP
        self._engages = engages
        if not self.is_engaged:
            return 0
        age_ns = now_ns - int(record["heard_ns"])
        note, flags = self._findings.note, 0
        if age_ns > self._hold_ns:
            flags |= note("OPERATOR_LATE", age_ns * 1e-9)
        if age_ns > self._stand_ns:
            flags |= note("OPERATOR_LOST", age_ns * 1e-9)
            self.is_engaged = False
        if not record["held"]:
            flags |= note("DEADMAN_RELEASED")
            self.is_engaged = False
        return flags
