"""The gate's view of the operator's process on fake time: both sides of every limit, and what it takes to engage."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.fault_table import PLACE
from runtime.faults import flag_names
from runtime.findings import Findings
from runtime.limits import Limits
from runtime.mux import Source
from runtime.operator_watch import OperatorWatch
from runtime.records import OPERATOR_DTYPE

MS = 1_000_000


class Link:
    """An operator's process on fake time, beating and held unless told otherwise."""

    def __init__(self, *, teleoperates: bool = True) -> None:
        self.findings = Findings()
        self.watch = OperatorWatch(Limits(), self.findings, teleoperates=teleoperates)
        self.record = np.zeros(1, OPERATOR_DTYPE)
        self.now = 10**9
        self.beats = self.speaks = True
        self.record["held"] = 1
        self.step()

    def step(self, ms: int = 2) -> list[str]:
        self.now += ms * MS
        if self.beats:
            self.record["beat_ns"] = self.now
        if self.speaks:
            self.record["heard_ns"] = self.now
        return flag_names(self.watch.look(self.record[0], self.now))

    def measured(self, flag: str) -> float:
        return float(self.findings.measured[PLACE[flag]])

    def engage(self) -> None:
        self.record["engages"] += 1
        self.step()
        assert self.watch.is_engaged


def test_a_healthy_operator_raises_nothing() -> None:
    link = Link()
    link.engage()
    assert all(link.step() == [] for _ in range(300))


@pytest.mark.parametrize(("ms", "flags"), [(100, []), (102, ["ESTOP_SILENT"])])
def test_a_silent_process_is_a_pressed_stop(ms: int, flags: list[str]) -> None:
    link = Link(teleoperates=False)
    link.beats = False
    assert link.step(ms) == flags
    assert link.measured("ESTOP_SILENT") == pytest.approx(ms * 1e-3 if flags else 0)


@pytest.mark.parametrize(("field", "flag"), [("stop", "ESTOP"), ("silent", "ESTOP_SILENT")])
def test_a_pressed_or_silent_source_counts_in_the_very_tick(field: str, flag: str) -> None:
    link = Link()
    link.record[field] = 2
    assert link.step() == [flag]
    assert link.measured(flag) == 2
    link.record[field] = 0
    assert link.step() == []


@pytest.mark.parametrize(("ms", "flags"), [
    (250, []), (252, ["OPERATOR_LATE"]), (500, ["OPERATOR_LATE"]), (502, ["OPERATOR_LATE", "OPERATOR_LOST"]),
])
def test_a_lost_link_holds_then_stands(ms: int, flags: list[str]) -> None:
    link = Link()
    link.engage()
    link.speaks = False
    for _ in range(ms // 2 - 1):
        link.step()
    assert link.step() == flags
    assert link.watch.is_engaged is (ms < 502)
    for flag in flags:
        assert link.measured(flag) == pytest.approx(ms * 1e-3)


def test_a_link_that_was_lost_does_not_engage_by_itself() -> None:
    link = Link()
    link.engage()
    link.speaks = False
    for _ in range(300):
        link.step()
    link.speaks = True
    assert link.step() == []
    assert not link.watch.is_engaged
    link.engage()


def test_letting_go_of_the_dead_man_holds_at_once_and_disengages() -> None:
    link = Link()
    link.engage()
    link.record["held"] = 0
    assert link.step() == ["DEADMAN_RELEASED"]
    assert link.step() == []
    link.record["held"] = 1
    assert link.step() == []
    assert not link.watch.is_engaged


def test_handing_back_to_the_motion_asks_for_neither_hand_nor_link_any_more() -> None:
    link = Link()
    link.engage()
    link.record["engages"] += 1
    link.record["source"], link.record["held"] = Source.CLIP, 0
    assert link.step() == [], "in the very record in which the hand goes"
    assert not link.watch.is_engaged
    link.speaks = False
    assert all(link.step() == [] for _ in range(300))
    link.speaks = True
    link.record["source"], link.record["held"] = Source.NETWORK, 1
    link.engage()
    link.record["held"] = 0
    assert link.step() == ["DEADMAN_RELEASED"]


def test_nobody_has_to_hold_a_dead_man_who_does_not_command() -> None:
    link = Link()
    link.record["held"], link.speaks = 0, False
    assert all(link.step() == [] for _ in range(300))
    stops_only = Link(teleoperates=False)
    stops_only.record["engages"] += 1
    stops_only.record["held"] = 0
    assert stops_only.step() == []


def test_gestures_from_before_the_gate_was_there_engage_nothing() -> None:
    link = Link()
    link.watch = OperatorWatch(Limits(), Findings(), teleoperates=True)
    link.record["engages"] = 7
    link.step()
    assert not link.watch.is_engaged


@pytest.mark.parametrize(("field", "flag"), [
    ("malformed", "STREAM_MALFORMED"), ("unauthorised", "UNAUTHORISED"), ("replayed", "REPLAYED"),
    ("dropped", "STREAM_FLOOD"),
])
def test_refused_messages_are_counted_for_a_while_and_react_to_nothing(field: str, flag: str) -> None:
    link = Link()
    link.record[field] = 3
    assert link.step() == [flag]
    assert link.measured(flag) == 3
    assert link.step(98) == [flag]
    assert link.step(2) == []


def test_everything_that_is_wrong_is_said_at_once() -> None:
    link = Link()
    link.beats = link.speaks = False
    link.now += 600 * MS
    for field in ("malformed", "unauthorised", "replayed", "dropped", "stop", "silent", "engages"):
        link.record[field] = 1
    link.record["held"] = 0
    assert set(link.step()) == {
        "STREAM_MALFORMED", "UNAUTHORISED", "REPLAYED", "STREAM_FLOOD", "OPERATOR_LATE", "OPERATOR_LOST",
        "DEADMAN_RELEASED", "ESTOP", "ESTOP_SILENT",
    }


def test_a_stop_that_is_pressed_does_not_hide_that_the_process_is_silent() -> None:
    link = Link(teleoperates=False)
    link.beats = False
    link.record["stop"] = 1
    assert set(link.step(102)) == {"ESTOP", "ESTOP_SILENT"}


def test_a_watch_that_begins_names_what_was_refused_before_and_nothing_else() -> None:
    """On a clock that began a moment ago, too."""
    record = np.zeros(1, OPERATOR_DTYPE)
    assert OperatorWatch(Limits(), Findings(), teleoperates=True).look(record[0], 50 * MS) == 0
    record["replayed"] = 1
    watch = OperatorWatch(Limits(), Findings(), teleoperates=True)
    assert flag_names(watch.look(record[0], 50 * MS)) == ["REPLAYED"]
    assert watch.is_engaged is False
