"""Many runs on all cores: one healthy run for each motion and seed, and a fork of it for each fault.

A worker plays a healthy run once. Where a fault is due it forks: the child harms its copy of everything, is judged and
ends; the parent plays on, unharmed. So a run costs what happens after its fault, and no state is ever reset by hand.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_table import read_motor_table
from firmware_bridge.simulated_robot import Disturbance, SimulatedRobot
from runtime.campaign.alarm_trials import ALARM_TRIALS, try_alarm
from runtime.campaign.injections import INJECTIONS
from runtime.campaign.judge import REFUSED, Judge, Outcome, expected_of
from runtime.campaign.refusals import REFUSALS as FILE_REFUSALS
from runtime.campaign.trial import Trial
from runtime.campaign.wire_refusals import WIRE_REFUSALS
from runtime.child import THREADS
from runtime.clip import load_clip
from runtime.fault_table import FAULTS, PLACE
from runtime.faults import flag_names
from runtime.policy import Policy
from runtime.robot import robot_path
from runtime.settings import RunSettings

REFUSALS = (*FILE_REFUSALS, *WIRE_REFUSALS)
NOISE_RAD = 0.004
FRICTION = 0.7, 1.2
FIRST_S, LAST_S = 0.2, 0.5
"""No fault earlier in a motion, and none later before its end."""
CHUNK = 24
"""Faults a job injects into one healthy run."""
COMMAND_S = 10.0
"""How long a velocity controller walks unless told."""
Report = Callable[[list[Outcome]], None]


@dataclass(frozen=True)
class Job:
    """A part of the campaign for one worker.

    Attributes:
        cases, alarms, refusals: places in `INJECTIONS`, `ALARM_TRIALS` and `REFUSALS`.
    """

    settings: RunSettings
    motion: str
    seed: int
    cases: tuple[int, ...] = ()
    alarms: tuple[int, ...] = ()
    refusals: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        """How many."""
        return len(self.cases) + len(self.alarms) + len(self.refusals)


def jobs_of(settings: RunSettings, motions: Sequence[str | None], seeds: int, only: str | None) -> list[Job]:
    """The campaign cut into jobs, the long ones first."""
    cases = [place for place, one in enumerate(INJECTIONS) if matches(only, one.row, one.flag)]
    alarms = [place for place, one in enumerate(ALARM_TRIALS) if matches(only, one.row, one.flag)]
    refusals = [place for place, one in enumerate(REFUSALS) if matches(only, one.row, one.flag)]
    jobs = []
    for seed in range(seeds):
        for motion in motions:
            given, name = replace(settings, clip=motion), motion or "command"
            jobs += [Job(given, name, seed, tuple(cases[i::parts(len(cases))])) for i in range(parts(len(cases)))]
        if refusals:
            jobs += [Job(settings, "none", seed, refusals=(place,)) for place in refusals]
        jobs += [Job(settings, "none", seed, alarms=tuple(alarms))] if alarms else []
    return jobs


def parts(cases: int) -> int:
    """Jobs that so many faults are dealt to."""
    return -(-cases // CHUNK)


def matches(only: str | None, row: int, flag: str) -> bool:
    """Whether a fault is among the chosen ones: flags and row numbers, comma-separated."""
    return only is None or flag in only.split(",") or str(row) in only.split(",")


def run_jobs(jobs: Sequence[Job], workers: int, report: Report) -> list[Outcome]:
    """All of them; `report` hears of each job as it is done.

    A worker that dies takes its whole job along: that is an error of ours and raises.
    """
    os.environ.update({name: value for name, value in THREADS.items() if name not in os.environ})
    outcomes: list[Outcome] = []
    if workers <= 1:
        for job in jobs:
            outcomes += _told(run_job(job), report)
        return outcomes
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run_job, job) for job in jobs]):
            outcomes += _told(done.result(), report)
    return outcomes


def _told(outcomes: list[Outcome], report: Report) -> list[Outcome]:
    report(outcomes)
    return outcomes


def run_job(job: Job) -> list[Outcome]:
    """One worker's part."""
    outcomes = [attempt(place, job.seed) for place in job.refusals]
    outcomes += [try_alarm(place, job.seed) for place in job.alarms]
    return [*outcomes, *_inject(job)] if job.cases else outcomes


def make_trial(settings: RunSettings, seed: int, *, loss: float = 0.0) -> Trial:
    """A healthy robot, its sensors and its floor as the seed has them."""
    policy = Policy(settings)
    rng = np.random.default_rng((seed, 1))
    noise = float(rng.uniform(0, NOISE_RAD))
    robot = SimulatedRobot(
        table=read_motor_table(robot_path(policy.manifest.robot_file)),
        disturbance=Disturbance(noise_q_rad=noise, noise_dq_rad_s=50 * noise, noise_gyro_rad_s=20 * noise, loss=loss,
                                seed=seed),
    )
    friction = float(rng.uniform(*FRICTION))
    robot.model.geom_friction[:, 0] *= friction
    robot.model.pair_friction[:, :2] *= friction
    return Trial(settings, policy, robot, seed)


def _inject(job: Job) -> Iterator[Outcome]:
    """Each fault of a job at its own moment of one healthy run."""
    with np.errstate(all="ignore"):
        trial = make_trial(job.settings, job.seed)
        end_s = max(FIRST_S, _motion_s(job.settings, trial) - LAST_S)
        due = sorted((float(np.random.default_rng((job.seed, 2, place)).uniform(FIRST_S, end_s)), place)
                     for place in job.cases)
        for at_s, place in due:
            if not trial.play(at_s):
                up = ", ".join(flag_names(trial.gate.flags))
                raise BridgeError(f"healthy run of {job.motion}, seed {job.seed}", expected="no fault before ours",
                                  found=f"{trial.gate.machine.mode.name} because of {up}",
                                  what_to_do="choose a controller and motions that run without faults")
            yield in_child(partial(_judge, trial, place, job))


def _motion_s(settings: RunSettings, trial: Trial) -> float:
    """How long it plays."""
    if settings.clip is None:
        return settings.duration_s or COMMAND_S
    whole_s = load_clip(settings.clip, trial.policy.manifest.robot).duration_s
    return min(whole_s, settings.duration_s or whole_s)


def _judge(trial: Trial, place: int, job: Job) -> Outcome:
    judge = Judge(trial, INJECTIONS[place], job.motion, job.seed)
    return judge.run(np.random.default_rng((job.seed, 3, place)))


def in_child(judge: Callable[[], Outcome]) -> Outcome:
    """What a fork of this process finds; the fork ends without a trace.

    Raises:
        RuntimeError: it died or raised; what it said went to standard error.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # one thread runs here; libraries may hold idle ones
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(json.dumps(judge().as_dict()).encode())
            code = 0
        except BaseException:  # nothing may return from here into the parent's own work
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status or not said:
        raise RuntimeError(f"a run of the campaign died (status {status})")
    return Outcome(**json.loads(said))


def attempt(place: int, seed: int) -> Outcome:
    """One fault that must be refused."""
    refusal = REFUSALS[place]
    fault = FAULTS[PLACE[refusal.flag]]
    outcome = Outcome(refusal.row, refusal.flag, fault.meaning, refusal.how, "none", seed, 0.0, None,
                      REFUSED)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="exoactor-campaign-") as folder:
        try:
            refusal.attempt(Path(folder), seed)
            outcome.why = "let through"
        except BridgeError as error:
            outcome.reaction = outcome.outcome = REFUSED
            outcome.detected_s = round(time.monotonic() - start, 3)
            outcome.why = "" if refusal.says in str(error) else f"refused for another reason: {error}"
    outcome.ok = not outcome.why
    return outcome


def unanswered(only: str | None) -> list[Outcome]:
    """One outcome for each row of the table that nothing here can bring about: nobody looks for it."""
    known = {one.flag for one in INJECTIONS} | {one.flag for one in ALARM_TRIALS} | {one.flag for one in REFUSALS}
    return [
        Outcome(fault.row, fault.flag, fault.meaning, "not injected", "none", 0, 0.0, fault.detect_s,
                expected_of(fault), why="nothing in this tree notices it")
        for fault in FAULTS if fault.flag not in known and matches(only, fault.row, fault.flag)
    ]


def as_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Runs as plain rows, in the order of the table."""
    places = {fault.flag: place for place, fault in enumerate(FAULTS)}
    return [one.as_dict() for one in sorted(
        outcomes, key=lambda one: (one.row or 99, places[one.flag], one.how, one.motion, one.seed))]
