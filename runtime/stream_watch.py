"""What the gate makes of the stream's process: how old the newest frame is, and messages that were not taken.

The policy looks every 20 ms and would know a silence that much later; the gate looks every 2 ms. Pure: the record comes
from the stream's slot, the time from the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.faults import Mode
from runtime.findings import Findings
from runtime.limits import Limits
from runtime.mux import Source
from runtime.operator_watch import Counted

COUNTED = (("malformed", "STREAM_MALFORMED"), ("dropped", "STREAM_FLOOD"))
"""Counters of the stream's record and the flag that each raises while it rises."""


class StreamWatch:
    """Flags of the run's own stream.

    Args:
        limits: of the robot.

    Attributes:
        is_followed: the policy follows the stream, or did until the gate held for its silence, which then goes on
            counting: it may become the reason to stand.
    """

    def __init__(self, limits: Limits, findings: Findings) -> None:
        self._findings = findings
        self._hold_ns = round(limits.reference_hold_s * 1e9)
        self._stand_ns = round(limits.reference_stand_s * 1e9)
        self._counted = Counted(COUNTED, findings)
        self.is_followed = False

    def look(self, record: Mapping[str, Any], source: int, mode: Mode, now_ns: int) -> int:
        """Flags of the newest record of the stream's process, fields of `STREAM_DTYPE` as numbers.

        Args:
            source: what steers, by the policy's newest target.
            mode: the gate's.
        """
        flags = self._counted.look(record, now_ns)
        age_ns = now_ns - int(record["newest_ns"])
        is_late = age_ns > self._hold_ns
        if mode is Mode.TRACK:
            self.is_followed = source == Source.STREAM
        elif mode is not Mode.HOLD or not is_late:
            self.is_followed = False
        if self.is_followed and is_late:
            flags |= self._findings.note("REFERENCE_LATE", age_ns * 1e-9)
            if age_ns > self._stand_ns:
                flags |= self._findings.note("REFERENCE_LOST", age_ns * 1e-9)
        return flags
