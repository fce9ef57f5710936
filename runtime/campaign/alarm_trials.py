"""The supervisor's alarms, each brought about in the readings of a healthy run; nothing of it reaches the robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from runtime.alarms import LOOK_S, Alarms, Readings
from runtime.campaign.judge import COUNTED, Outcome, expected_of
from runtime.fault_table import FAULTS, PLACE
from runtime.limits import Limits
from runtime.settings import GATE_HZ

HEALTHY_S, LONGEST_S = 10.0, 6.0
POLICY_HZ = 50.0
Harm = Callable[[Readings, float, np.random.Generator], Readings]
NAMES = ("gate", "policy", "telemetry")


@dataclass(frozen=True)
class AlarmTrial:
    """One way to bring an alarm about: the readings of a run, and what becomes of them `since_s` after it began."""

    row: int
    flag: str
    how: str
    harm: Harm


def _grow(readings: Readings, since_s: float, rng: np.random.Generator) -> Readings:
    """One process grows by 400 MiB a second."""
    name = str(rng.choice(NAMES))
    return replace(readings, memory_mib={**readings.memory_mib, name: 100.0 + 400.0 * since_s})


def _stop_growing(readings: Readings, since_s: float, rng: np.random.Generator) -> Readings:
    return replace(readings, log_bytes=1 << 22)


def _jump(readings: Readings, since_s: float, rng: np.random.Generator) -> Readings:
    return replace(readings, wall_s=readings.wall_s + (3600.0 if rng.random() < 0.5 else -3600.0))


def _starve(readings: Readings, since_s: float, rng: np.random.Generator) -> Readings:
    """One loop makes four ticks of five."""
    name = ("gate", "policy")[int(rng.integers(2))]
    ticks, rate_hz = readings.ticks[name]
    return replace(readings, ticks={**readings.ticks, name: (round(ticks - 0.2 * rate_hz * since_s), rate_hz)})


ALARM_TRIALS: tuple[AlarmTrial, ...] = (
    AlarmTrial(42, "RESOURCE_LEAK", "a process grows by 400 MiB a second", _grow),
    AlarmTrial(43, "DISK_FULL", "the log stops growing", _stop_growing),
    AlarmTrial(45, "CLOCK_JUMP", "the wall clock jumps by an hour, either way", _jump),
    AlarmTrial(46, "CPU_STARVED", "a loop makes four ticks of five", _starve),
)


def healthy(now_s: float) -> Readings:
    """What a run's supervisor reads while all is well."""
    ticks = {"gate": (round(GATE_HZ * now_s), float(GATE_HZ)), "policy": (round(POLICY_HZ * now_s), POLICY_HZ)}
    return Readings(dict.fromkeys(NAMES, 100.0), round(1e6 * now_s), 1.7e9 + now_s, ticks)


def try_alarm(place: int, seed: int) -> Outcome:
    """One alarm, at a moment of the seed's choice between two looks of the supervisor."""
    trial = ALARM_TRIALS[place]
    fault = FAULTS[PLACE[trial.flag]]
    alarms = Alarms(Limits(), 0.0)
    at_s = HEALTHY_S + float(np.random.default_rng((seed, 4, place)).uniform(0, LOOK_S))
    outcome = Outcome(trial.row, trial.flag, fault.meaning, trial.how, "none", seed, round(at_s, 3), fault.detect_s,
                      expected_of(fault))
    now_s, early = 0.0, []
    while now_s < at_s + LONGEST_S and outcome.detected_s is None:
        readings = healthy(now_s)
        if now_s >= at_s:
            readings = trial.harm(readings, now_s - at_s, np.random.default_rng((seed, 5, place)))
        flags = [alarm.flag for alarm in alarms.look(now_s, readings)]
        if now_s < at_s:
            early += flags
        elif trial.flag in flags:
            outcome.detected_s = round(now_s - at_s, 6)
        now_s += LOOK_S
    outcome.why = _judge(outcome, early)
    outcome.ok = not outcome.why
    return outcome


def _judge(outcome: Outcome, early: list[str]) -> str:
    if early:
        return f"up before anything was wrong: {', '.join(early)}"
    if outcome.detected_s is None:
        return "never noticed"
    outcome.reaction, outcome.outcome = COUNTED, "upright"
    late = outcome.limit_s is not None and outcome.detected_s > outcome.limit_s
    return f"noticed after {outcome.detected_s:.2f} s, limit {outcome.limit_s} s" if late else ""
