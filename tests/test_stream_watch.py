"""The gate's eye on the run's own stream: silence while it is followed, and messages that were not taken."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.fault_table import FAULTS
from runtime.faults import Mode, flag_names
from runtime.findings import Findings
from runtime.limits import Limits
from runtime.mux import Source
from runtime.records import STREAM_DTYPE
from runtime.stream_watch import StreamWatch

MS = 1_000_000
LIMITS = Limits()
HOLD_MS, STAND_MS = LIMITS.reference_hold_s * 1000, LIMITS.reference_stand_s * 1000


class Link:
    """A followed stream whose newest frame has just come."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.watch = StreamWatch(LIMITS, self.findings)
        self.record = np.zeros(1, STREAM_DTYPE)[0]
        self.now, self.source, self.mode = 10**12, Source.STREAM, Mode.TRACK
        self.record["newest_ns"] = self.now
        self.step(0)

    def step(self, ms: float = 2) -> list[str]:
        self.now += round(ms * MS)
        return flag_names(self.watch.look(self.record, self.source, self.mode, self.now))


def test_silence_is_late_then_lost_and_leaves_a_gate_tick_to_a_tenth_of_a_second() -> None:
    link = Link()
    assert link.step(HOLD_MS) == []
    assert link.step(0.1) == ["REFERENCE_LATE"]
    link.mode, link.source = Mode.HOLD, Source.STAND  # the policy lets go; the silence goes on counting
    assert link.step(STAND_MS - HOLD_MS - 0.1) == ["REFERENCE_LATE"]
    assert link.step(0.1) == ["REFERENCE_LATE", "REFERENCE_LOST"]
    assert HOLD_MS + 2 < 100 and STAND_MS + 2 < 300


@pytest.mark.parametrize(("source", "mode"), [(Source.STAND, Mode.TRACK), (Source.CLIP, Mode.TRACK),
                                              (Source.STREAM, Mode.READY), (Source.STREAM, Mode.STAND)])
def test_a_stream_that_nobody_follows_may_be_silent(source: Source, mode: Mode) -> None:
    link = Link()
    link.source, link.mode = source, mode
    assert link.step(1000) == []


def test_one_that_comes_back_while_the_gate_holds_is_not_lost_later() -> None:
    link = Link()
    link.step(HOLD_MS + 1)
    link.mode, link.source = Mode.HOLD, Source.STAND
    link.record["newest_ns"] = link.now
    assert link.step() == []
    assert link.step(1000) == []


@pytest.mark.parametrize(("field", "flag"), [("malformed", "STREAM_MALFORMED"), ("dropped", "STREAM_FLOOD")])
def test_messages_that_were_not_taken_are_counted_for_a_while_and_react_to_nothing(field: str, flag: str) -> None:
    link = Link()
    link.source = Source.STAND
    link.record[field] = 3
    assert link.step() == [flag]
    assert link.findings.measured[next(i for i, fault in enumerate(FAULTS) if fault.flag == flag)] == 3
    assert link.step(98) == [flag]
    assert link.step(2) == []
    assert all(fault.reaction is None for fault in FAULTS if fault.flag == flag)
