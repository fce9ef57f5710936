"""Memory of a real-time process, settled before it matters, and without the priority that would stall others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime import gate_process, target_process
from runtime.gate_process import GateProcess
from runtime.realtime import hurried, may_use_fifo

PROGRAM = """
import mmap, resource
from runtime.realtime import lock_pages

pages = mmap.mmap(-1, 4 << 20)
refused = lock_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for at in range(0, len(pages), 4096):
    pages[at] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *refused)
"""


def test_a_locked_page_costs_no_fault_when_it_is_first_touched() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).resolve().parents[1])
    faults, _, refused = ran.stdout.strip().partition(" ")
    assert int(faults) < 10 or refused.startswith("resident pages: "), "1,024 pages were touched"


def test_a_policy_collects_its_garbage_before_it_asks_for_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def tick(now_ns: int, late_ns: int) -> None:
        done.append("tick")
        life.is_over = True

    life = SimpleNamespace(settings=SimpleNamespace(real_time=True), is_over=False)
    maker: Any = SimpleNamespace(ready={}, warnings=(), period_ns=1000, tick=tick)
    monkeypatch.setattr(target_process, "Life", lambda argv: life)
    monkeypatch.setattr(target_process, "freeze_garbage", lambda: done.append("garbage"))
    monkeypatch.setattr(target_process, "go_real_time", lambda *arguments: done.append("priority") or [])
    assert target_process.run_maker("maker", [], lambda settings: maker) == 0
    assert done == ["garbage", "priority", "tick"]


@pytest.mark.parametrize("is_damping", [False, True])
def test_a_gate_settles_its_memory_without_its_priority_and_a_damping_one_not_at_all(
    is_damping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not may_use_fifo(1):
        pytest.skip("no right to SCHED_FIFO")
    seen: list[tuple[str, int]] = []

    def freeze(*, at_once: bool = False) -> None:
        seen.append(("at once" if at_once else "garbage", os.sched_getscheduler(0)))

    def lock() -> Iterator[str]:
        seen.append(("pages", os.sched_getscheduler(0)))
        yield from ()

    monkeypatch.setattr(gate_process, "freeze_garbage", freeze)
    monkeypatch.setattr(gate_process, "lock_pages", lock)
    gate = GateProcess.__new__(GateProcess)
    gate._settings = SimpleNamespace(damping=is_damping, real_time=True)  # type: ignore[assignment]
    with hurried(1):
        gate._settle_memory()
        assert os.sched_getscheduler(0) == os.SCHED_FIFO
    calm = [("garbage", os.SCHED_OTHER), ("pages", os.SCHED_OTHER)]
    assert seen == ([("at once", os.SCHED_FIFO)] if is_damping else calm)
