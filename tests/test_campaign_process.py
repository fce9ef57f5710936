"""The process campaign's judgement, and what it starves runs of."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.campaign import process, stepped_clock
from runtime.campaign.live_run import ROOT, Disturbed
from runtime.campaign.process import Trial, judge, line, make_report, summarise, write_page
from runtime.campaign.process_kinds import KINDS, Setup, Unavailable
from runtime.campaign.resources import SmallDisk
from runtime.campaign.witness import FRAME, WireObserver

DAMPED = Trial(delay_ms=40.0, damping=1200, stiff_again=0, gap_ms=3.0, silence_ms=4.0, fell=False, left=0, code=1)
WENT_ON = replace(DAMPED, delay_ms=5600.0, code=0)
KIND = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize(("changes", "why"), [
    ({}, ""), ({"delay_ms": 46.0}, "damped after 46.0 ms, limit 45 ms"), ({"delay_ms": None}, "never damped"),
    ({"damping": 999}, "999 damping frames"), ({"stiff_again": 1}, "1 stiff frames"), ({"fell": True}, "fell"),
    ({"left": 2}, "2 processes left"),
])
def test_a_killed_policy_must_be_damped(changes: dict[str, float], why: str) -> None:
    assert judge(replace(DAMPED, **changes), KIND["policy-sigkill"]).startswith(why)
    assert bool(judge(replace(DAMPED, **changes), KIND["policy-sigkill"])) == bool(why)


@pytest.mark.parametrize(("changes", "why"), [
    ({}, ""), ({"delay_ms": 60.0}, "damped after 60 ms, though"), ({"silence_ms": 150.0}, "no command for 150 ms"),
    ({"delay_ms": None}, "never damped"),
])
def test_a_full_disk_must_not_reach_the_robot(changes: dict[str, float], why: str) -> None:
    assert judge(replace(WENT_ON, **changes), KIND["disk-full"]).startswith(why)
    assert bool(judge(replace(WENT_ON, **changes), KIND["disk-full"])) == bool(why)


def test_what_is_skipped_is_neither_passed_nor_wrong() -> None:
    kind = summarise(KIND["cable"], [], [], "no network namespaces", "", 5)
    report = make_report([kind], 1.0)
    assert (report["runs"], report["wrong"], report["totals"]["skipped"]) == (0, 0, 1)
    assert "skipped: no network namespaces" in line(kind)


def test_what_could_not_be_tried_is_wrong(tmp_path: Path) -> None:
    kind = summarise(KIND["policy-sigkill"], [DAMPED], ["already HOLD"], "", "", 5)
    assert (kind["repeats"], kind["wrong"]) == (1, 4)
    report = make_report([kind], 1.0)
    write_page(tmp_path / "page.html", report)
    assert "1 runs, 4 wrong" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(("error", "skipped", "wrong"), [(Unavailable("no root"), "no root", 0),
                                                         (Disturbed("late"), "", 2)])
def test_repeats_end_when_a_kind_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, skipped: str, wrong: int
) -> None:
    def strike(*_: object) -> tuple[Trial, str]:
        raise error

    monkeypatch.setattr(process, "strike_once", strike)
    report = process._repeat(KIND["policy-sigkill"], tmp_path, 2, 200)
    assert (report["skipped"], report["wrong"]) == (skipped, wrong)


def test_a_stepped_clock_moves_python_s_wall_clock_and_nothing_else(tmp_path: Path) -> None:
    environment = stepped_clock.prepare(tmp_path / "clock")
    stepped_clock.step(tmp_path / "clock", 3600.0)
    code = ("import time; from datetime import datetime; "
            "print(time.time(), time.time_ns() * 1e-9, time.clock_gettime(time.CLOCK_REALTIME), time.monotonic())")
    run = SimpleNamespace(**{
        name: [float(x) for x in subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=given, text=True,
                                                capture_output=True, check=True).stdout.split()]
        for name, given in (("true", None), ("stepped", environment))
    })
    gaps = [b - a for a, b in zip(run.true, run.stepped, strict=True)]
    assert all(3590 < gap < 3700 for gap in gaps[:3])
    assert gaps[3] < 100


def test_a_small_disk_is_full_once_it_is_filled(tmp_path: Path) -> None:
    try:
        disk = SmallDisk(tmp_path / "disk")
    except OSError as error:
        pytest.skip(f"no right to mount: {error}")
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(bytes(1 << 16))
    finally:
        disk.close()


def test_every_kind_has_a_name_of_its_own_and_kinds_of_fault_that_exist() -> None:
    assert len(KIND) == len(KINDS)
    assert all(1 <= row <= 64 for kind in KINDS for row in kind.rows)
    with pytest.raises(TypeError, match="abstract"):
        Setup(Path("."), 0)  # type: ignore[abstract]


def test_silence_counts_from_the_last_command_before_the_strike() -> None:
    wire = WireObserver.__new__(WireObserver)
    wire.frames = np.zeros(5, FRAME)
    wire.frames["at_ns"] = np.array([0, 2, 4, 104, 106]) * 1_000_000
    wire.frames["is_sealed"] = True
    assert wire.longest_silence_ms(90_000_000) == pytest.approx(100)
    assert wire.longest_silence_ms(104_000_000) == pytest.approx(100)
    assert wire.longest_silence_ms(105_000_000) == pytest.approx(2)
    wire.frames["is_sealed"][3] = False
    assert wire.longest_silence_ms(105_000_000) == pytest.approx(102)
