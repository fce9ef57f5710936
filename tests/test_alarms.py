"""Alarms of the supervisor: each limit from both sides, told once while it lasts, and what reads them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.alarms import LOOK_S, Alarm, Alarms, Readings, RunWatch, memory_mib
from runtime.faults import FAULTS, Mode
from runtime.limits import Limits
from runtime.service import Service

LIMITS = Limits(growth_mib=100, log_silent_s=1.0, clock_jump_s=1.0, late_ratio=0.05)
BEGAN_S = 50.0


class Run:
    """A run that is well, look after look; `change` what is not."""

    def __init__(self) -> None:
        self.alarms = Alarms(LIMITS, BEGAN_S)
        self.now_s = BEGAN_S
        self.wall_s = 1e9
        self.readings = Readings({"policy": 200.0, "gate": 40.0}, 1000, self.wall_s,
                                 {"gate": (0, 500.0), "policy": (0, 50.0)})
        self.made = {"gate": 0.0, "policy": 0.0}
        self.grows = True

    def look(self, missing: dict[str, float] | None = None, **change: object) -> list[Alarm]:
        """One look later; `missing` share of ticks, or readings as they are meant to be."""
        self.now_s += LOOK_S
        self.wall_s += LOOK_S
        ticks = {}
        for name, rate_hz in (("gate", 500.0), ("policy", 50.0)):
            self.made[name] += LOOK_S * rate_hz * (1 - (missing or {}).get(name, 0.0))
            ticks[name] = (round(self.made[name]), rate_hz)
        size = (self.readings.log_bytes or 0) + 1000 * self.grows
        self.readings = replace(self.readings, log_bytes=size, wall_s=self.wall_s, ticks=ticks)
        return self.alarms.look(self.now_s, replace(self.readings, **change))  # type: ignore[arg-type]


def flags(alarms: list[Alarm]) -> list[str]:
    return [alarm.flag for alarm in alarms]


def test_a_run_that_is_well_raises_nothing() -> None:
    run = Run()
    assert [run.look() for _ in range(400)] == [[]] * 400


def test_growth_is_told_once_with_the_process_and_again_after_it_was_gone() -> None:
    run = Run()
    memory = {"policy": 200.0, "gate": 40.0}
    assert run.look(memory_mib=memory) == []
    assert run.look(memory_mib={**memory, "policy": 300.0}) == []
    alarm, = run.look(memory_mib={**memory, "policy": 301.0})
    assert alarm == Alarm(3 * LOOK_S, "RESOURCE_LEAK", 101.0, 100, "policy")
    assert "policy" in str(alarm) and "101 MiB" in str(alarm)
    assert run.look(memory_mib={**memory, "policy": 302.0}) == []
    assert run.look(memory_mib=memory) == []
    assert flags(run.look(memory_mib={**memory, "policy": 400.0, "gate": 141.0})) == ["RESOURCE_LEAK", "RESOURCE_LEAK"]


def test_a_log_that_stands_still_is_noticed_within_the_table_s_time() -> None:
    run = Run()
    run.look()
    run.grows = False
    raised = [(i, flags(run.look())) for i in range(1, 12)]
    first = next(i for i, found in raised if found)
    assert raised[first - 1][1] == ["DISK_FULL"] and sum(len(found) for _, found in raised) == 1
    within = next(fault.detect_s for fault in FAULTS if fault.flag == "DISK_FULL")
    assert within is not None and LIMITS.log_silent_s < first * LOOK_S <= within
    run.grows = True
    assert [run.look() for _ in range(9)] == [[]] * 9


def test_no_log_is_expected_where_no_gate_lives() -> None:
    run = Run()
    assert [run.look(log_bytes=None) for _ in range(20)] == [[]] * 20


@pytest.mark.parametrize(("jump", "raises"), [(3600.0, True), (-3600.0, True), (1.01, True), (0.99, False)])
def test_a_jump_of_the_wall_clock_is_told_once(jump: float, raises: bool) -> None:
    run = Run()
    run.look()
    run.wall_s += jump
    found = run.look()
    assert flags(found) == ["CLOCK_JUMP"] * raises
    assert not raises or found[0].measured == pytest.approx(jump)
    assert [run.look() for _ in range(9)] == [[]] * 9


@pytest.mark.parametrize("name", ["gate", "policy"])
def test_a_loop_without_time_is_noticed_within_the_table_s_time(name: str) -> None:
    run = Run()
    for _ in range(8):
        assert run.look() == []
    raised = [found for _ in range(6) if (found := run.look({name: 0.5}))]
    alarm = raised[0][0]
    assert (alarm.flag, alarm.detail, len(raised)) == ("CPU_STARVED", name, 1)
    within = next(fault.detect_s for fault in FAULTS if fault.flag == "CPU_STARVED")
    assert within is not None and alarm.time_s - 8 * LOOK_S <= within


def test_a_few_ticks_missed_are_none() -> None:
    run = Run()
    assert [run.look({"gate": 0.04}) for _ in range(40)] == [[]] * 40


def test_loops_that_need_not_tick_are_not_missed_and_have_a_second_to_begin() -> None:
    run = Run()
    for _ in range(8):
        assert run.look({"gate": 1.0, "policy": 1.0}, ticks={}) == []
    for _ in range(4):
        assert run.look({"gate": 1.0}) == []
    assert flags(run.look({"gate": 1.0})) == ["CPU_STARVED"]


def test_a_process_has_memory_until_it_is_gone() -> None:
    assert 5 < (memory_mib(os.getpid()) or 0) < 4096
    assert memory_mib(2**22 + 1) is None


def test_a_run_is_read_every_quarter_of_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("runtime.alarms.time.monotonic", lambda: now[0])
    monkeypatch.setattr("runtime.alarms.time.time", lambda: 1e9 + now[0])
    watch = RunWatch(LIMITS, tmp_path / "log.mcap", {"gate": 500.0})
    pids = {"gate": os.getpid()}
    found = []
    for i in range(100):
        now[0] += 0.05
        found += [(i, alarm) for alarm in watch.look(pids, {"gate": 25 * i}, Mode.TRACK)]
    assert flags([alarm for _, alarm in found]) == ["DISK_FULL"], "there is no log"
    monkeypatch.setattr("runtime.alarms.time.time", lambda: 1e9)
    now[0] += 5
    assert "CLOCK_JUMP" in flags(watch.look({}, {}, Mode.DAMP))


# --- The service manager ----------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(str(tmp_path / "notify"))
        wire.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "5000000")
        yield wire


def test_a_service_manager_hears_it_start_live_and_stop(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [10.0]
    monkeypatch.setattr("runtime.service.time.monotonic", lambda: now[0])
    service = Service()
    assert "NOTIFY_SOCKET" not in os.environ and service.period_s == 2.5
    service.tell("READY=1")
    for _ in range(100):
        service.beat()
        now[0] += 0.05
    service.tell("STOPPING=1")
    heard = [manager.recv(100).decode() for _ in range(4)]
    assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    service = Service()
    service.tell("READY=1")
    service.beat()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    Service().tell("READY=1")
