"""The fault campaign: it covers the table, it finds what is broken on purpose, and its report says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

import exoactor
from firmware_bridge.errors import BridgeError
from runtime import faults
from runtime.alarms import Alarms
from runtime.campaign import nominal, runner
from runtime.campaign.alarm_trials import ALARM_TRIALS, try_alarm
from runtime.campaign.injections import INJECTIONS
from runtime.campaign.judge import Outcome
from runtime.campaign.refusals import REFUSALS, Refusal, settings_of
from runtime.campaign.report import make_report, summarise, table, write_page
from runtime.campaign.runner import Job, as_rows, attempt, in_child, jobs_of, run_job, unanswered
from runtime.fault_table import FAULTS, FLAGS, PLACE
from runtime.motor_checks import MotorChecks

KEYS = {"row", "flag", "fault", "how", "injected_t", "detected_s", "limit_s", "reaction", "expected", "outcome"}


def place_of(flag: str) -> int:
    return next(place for place, one in enumerate(INJECTIONS) if one.flag == flag)


def outcomes_of(*flags: str, motion: str = "wave", seed: int = 0) -> dict[str, Outcome]:
    """Each fault once, in one healthy run of a short motion."""
    settings = replace(settings_of("g1-tracker"), clip=motion, teleop="network")
    return {one.flag: one for one in run_job(Job(settings, motion, seed, tuple(place_of(flag) for flag in flags)))}


def test_every_kind_and_every_flag_of_the_table_is_injected() -> None:
    tried = [*INJECTIONS, *ALARM_TRIALS, *runner.REFUSALS]
    assert {one.row for one in tried} - {0} == set(range(1, 65))
    assert unanswered(None) == []
    for one in tried:
        assert one.row in (FAULTS[PLACE[one.flag]].row, *faults_like(one.flag)), one


def faults_like(flag: str) -> list[int]:
    """Kinds of fault that show as this flag, and kinds that end in the loss of the state."""
    from runtime.fault_table import UNFLAGGED

    return [row for row, other in UNFLAGGED.items() if other == flag] + [4, 5] * (flag == "STATE_LOST")


def test_a_campaign_in_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "STATE_CRC,STATE_LOST,MOTOR_ERROR,ESTOP,BUNDLE_TAMPERED,CLOCK_JUMP"
    report_file, page = tmp_path / "out.json", tmp_path / "out.html"
    words = ["campaign", "--seeds", "1", "--motions", "1", "--jobs", "1", "--only", only]
    assert exoactor.main([*words, "--json", str(report_file), "--html", str(page)]) == 0
    report = json.loads(report_file.read_text("utf-8"))
    assert (report["schema"], report["wrong"]) == ("exoactor-campaign/1", 0)
    assert report["runs"] == report["totals"]["runs"] == sum(fault["runs"] for fault in report["faults"]) == 9
    assert {fault["flag"] for fault in report["faults"]} == set(only.split(","))
    for fault in report["faults"]:
        assert fault.keys() >= KEYS
        assert fault["limit_s"] is None or fault["detected_s"] <= fault["limit_s"] + 1e-9
    outcomes = {fault["flag"]: fault["outcome"] for fault in report["faults"]}
    assert outcomes == {"STATE_CRC": "upright", "STATE_LOST": "damped", "MOTOR_ERROR": "upright", "ESTOP": "damped",
                        "BUNDLE_TAMPERED": "refused", "CLOCK_JUMP": "upright"}
    assert "9 runs, 0 wrong" in capsys.readouterr().out
    assert "9 runs, 0 wrong" in page.read_text("utf-8")


def test_a_fault_that_nobody_detects_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MotorChecks, "_reported_errors", lambda self, sample: 0)
    report_file = tmp_path / "out.json"
    words = ["campaign", "--seeds", "1", "--jobs", "1", "--only", "MOTOR_ERROR", "--json", str(report_file)]
    assert exoactor.main(words) == 1
    report = json.loads(report_file.read_text("utf-8"))
    (fault,) = report["faults"]
    assert (report["wrong"], fault["wrong"], fault["outcome"], fault["detected_s"]) == (1, 1, "missed", None)
    assert fault["why"].startswith("never noticed")


def test_a_late_detection_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = MotorChecks._reported_errors
    seen: list[int] = []

    def late(self: MotorChecks, sample: Any) -> int:
        flags = reported(self, sample)
        seen.extend([1] * bool(flags))
        return flags if len(seen) > 5 else 0

    monkeypatch.setattr(MotorChecks, "_reported_errors", late)
    outcome = outcomes_of("LEG_MOTOR_ERROR")["LEG_MOTOR_ERROR"]
    assert not outcome.ok
    assert outcome.why == "noticed after 14 ms, limit 6 ms"


def test_another_reaction_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    reactions = list(faults._REACTION)
    reactions[PLACE["MOTOR_ERROR"]] = faults.Mode.DAMP
    monkeypatch.setattr(faults, "_REACTION", reactions)
    outcome = outcomes_of("MOTOR_ERROR")["MOTOR_ERROR"]
    assert (outcome.ok, outcome.expected, outcome.reaction) == (False, "STAND", "DAMP")


def test_a_counted_fault_that_stops_the_robot_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    reactions = list(faults._REACTION)
    reactions[PLACE["STATE_CRC"]] = faults.Mode.HOLD
    monkeypatch.setattr(faults, "_REACTION", reactions)
    outcome = outcomes_of("STATE_CRC")["STATE_CRC"]
    assert (outcome.ok, outcome.why) == (False, "went to HOLD because of STATE_CRC")


def test_a_run_is_the_same_again() -> None:
    first, second = (outcomes_of("IMU_INCONSISTENT", "OVERSPEED", seed=3) for _ in range(2))
    assert first == second


def test_a_healthy_run_that_is_none_raises() -> None:
    settings = replace(settings_of("g1-tracker"), clip="wave", teleop="network")
    trial = runner.make_trial(settings, 0)
    trial.is_stopped = True
    with pytest.raises(BridgeError):
        assert trial.play(0.5)


@pytest.mark.parametrize("place", range(len(REFUSALS)), ids=lambda place: f"{REFUSALS[place].flag}-{place}")
def test_what_must_not_start_is_refused(place: int) -> None:
    outcome = attempt(place, 1)
    assert outcome.ok, outcome.why
    assert outcome.outcome == outcome.reaction == "refused"


@pytest.mark.parametrize(("says", "raises", "why"), [
    ("bundle", False, "let through"), ("bundle", True, "refused for another reason"),
])
def test_a_refusal_that_fails_is_wrong(monkeypatch: pytest.MonkeyPatch, says: str, raises: bool, why: str) -> None:
    def passes(folder: Path, seed: int) -> None:
        if raises:
            raise BridgeError("clip", expected="one", found="none", what_to_do="give one")

    monkeypatch.setattr(runner, "REFUSALS", (Refusal(34, "BUNDLE_TAMPERED", "nothing", passes, says),))
    outcome = attempt(0, 0)
    assert not outcome.ok
    assert outcome.why.startswith(why)


@pytest.mark.parametrize("place", range(len(ALARM_TRIALS)), ids=lambda place: ALARM_TRIALS[place].flag)
def test_an_alarm_is_raised_in_time_and_missed_when_it_is_off(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(try_alarm(place, seed).ok for seed in range(20))
    monkeypatch.setattr(Alarms, "look", lambda self, now_s, readings: [])
    assert try_alarm(place, 0).why == "never noticed"


def test_an_alarm_that_is_always_up_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Alarms.look
    monkeypatch.setattr(Alarms, "look", lambda self, now_s, readings: look(
        self, now_s, replace(readings, wall_s=readings.wall_s + 100 * now_s)))
    place = next(place for place, one in enumerate(ALARM_TRIALS) if one.flag == "CLOCK_JUMP")
    assert try_alarm(place, 0).why.startswith("up before anything was wrong")


def test_a_run_that_dies_is_an_error_and_not_an_outcome(capfd: pytest.CaptureFixture[str]) -> None:
    def dies() -> Outcome:
        raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="died"):
        in_child(dies)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_nominal_running_trips_nothing_and_counts_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("g1-tracker", clip="bow")
    run = nominal.run_nominal(settings, "bow", 1)
    assert (run.trips, run.fell) == ((), False)
    assert run.simulated_s > 8
    monkeypatch.setattr(nominal, "LOSS", 0.95)
    assert "STATE_STALE" in nominal.run_nominal(settings, "bow", 1).trips


def test_nominal_hours_end_with_what_is_done_when_they_are_interrupted() -> None:
    settings = settings_of("g1-tracker", clip="bow")
    heard: list[float] = []

    def interrupt(hours: float) -> None:
        heard.append(hours)
        raise KeyboardInterrupt

    found = nominal.nominal_hours(settings, ["bow"], 100.0, 1, interrupt)
    assert found["runs"] == len(heard) == 1 and found["hours"] == pytest.approx(heard[0], abs=1e-3)


def test_jobs_hold_every_fault_of_every_motion_and_seed_once() -> None:
    jobs = jobs_of(settings_of("g1-tracker"), ["walk", "wave"], 3, None)
    cases = [(job.motion, job.seed, case) for job in jobs for case in job.cases]
    assert len(cases) == len(set(cases)) == 6 * len(INJECTIONS)
    assert sum(len(job.refusals) for job in jobs) == 3 * len(runner.REFUSALS)
    assert {job.settings.clip for job in jobs if job.cases} == {"walk", "wave"}


def test_the_report_shows_the_worst() -> None:
    rows = as_rows([
        Outcome(1, "STATE_LOST", "lost", "silence", "walk", seed, 5.0, 0.102, "DAMP", "DAMP", time, time, "damped",
                ok=time < 0.11, why="" if time < 0.11 else "late")
        for seed, time in enumerate((0.1, 0.102, 0.12))
    ])
    (fault,) = summarise(rows)
    assert (fault["detected_s"], fault["wrong"], fault["why"], fault["runs"]) == (0.12, 1, "late", 3)
    report = make_report("g1-tracker", ["walk"], 3, rows, 1.0)
    assert report["totals"]["wrong"] == report["wrong"] == 1
    assert "WRONG 1 of 3: late" in table(report)


def test_false_trips_are_wrong(tmp_path: Path) -> None:
    tripped = {"hours": 1.0, "runs": 2, "loss": 0.01, "jitter_s": 0.005, "false_trips": 1, "falls": 1, "tripped": [],
               "counted_ticks": {"TARGET_LIMITED": 3}}
    report = make_report("g1-tracker", ["walk"], 1, [], 1.0, tripped)
    assert (report["runs"], report["wrong"]) == (2, 2)
    write_page(tmp_path / "page.html", report)
    assert "1 false trips, 1 falls" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize("words", [
    ["--seeds", "0"], ["--motions", "14"], ["--jobs", "0"], ["--nominal", "-1"], ["--only", "NO_SUCH_FLAG"],
    ["--only", "65"], ["--json", "no/such/folder/out.json"], ["--process", "--only", "no-such-kind"],
])
def test_bad_options_are_refused(words: list[str]) -> None:
    assert exoactor.main(["campaign", *words]) == 2


def test_flags_that_a_gate_is_told_of_are_all_tried_in_lock_step() -> None:
    assert {fault.flag for fault in FLAGS} <= {one.flag for one in INJECTIONS}
    assert all(np.isfinite(one.lead_s) for one in INJECTIONS)
