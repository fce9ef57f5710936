"""Hours of healthy running under a bad but allowed wire: whatever trips there trips falsely."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firmware_bridge.ailments import Ailment
from runtime.campaign.runner import make_trial
from runtime.fault_table import FLAGS
from runtime.faults import Mode, flag_names, most_severe
from runtime.pilot import Phase
from runtime.settings import GATE_HZ, RunSettings

LOSS, JITTER_S = 0.01, 0.005


@dataclass(frozen=True)
class NominalRun:
    """One healthy run.

    Attributes:
        trips: flags with a reaction that came up, each a false trip.
        counted: for how many gate ticks each of the others was up while it tracked.
    """

    motion: str
    seed: int
    simulated_s: float
    trips: tuple[str, ...]
    counted: dict[str, int]
    fell: bool


def run_nominal(settings: RunSettings, motion: str, seed: int) -> NominalRun:
    """From the gantry to the end of the motion, with losses, jitter, noise and a floor of the seed's choice."""
    with np.errstate(all="ignore"):
        trial = make_trial(settings, seed, loss=LOSS)
        trial.ailments.add(Ailment("jitter", 0.0, {"s": JITTER_S}))
        counted = dict.fromkeys((fault.flag for fault in FLAGS if fault.reaction is None), 0)
        trips: set[str] = set()
        fell = False
        while trial.policy.pilot.phase is not Phase.FINISHED and trial.gate.machine.mode < Mode.DAMP:
            trial.operate()
            trial.tick()
            if trial.gate.machine.mode is Mode.DISARMED:
                continue
            if most_severe(trial.gate.flags)[0] is not None:
                trips.update(name for name in flag_names(trial.gate.flags) if name not in counted)
            for name in flag_names(trial.gate.flags):
                if name in counted:
                    counted[name] += 1
            fell |= trial.has_fallen
    return NominalRun(motion, seed, trial.ticks / GATE_HZ, tuple(sorted(trips)),
                      {name: count for name, count in counted.items() if count}, fell)


def nominal_hours(
    settings: RunSettings, motions: Sequence[str | None], hours: float, workers: int, report: Callable[[float], None]
) -> dict[str, Any]:
    """Runs until so many hours have been simulated, or until Ctrl-C; `report` hears the hours done."""
    runs: list[NominalRun] = []
    done_s, seed = 0.0, 0
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        while done_s < hours * 3600:
            batch = []
            for _ in range(4 * workers):
                motion = motions[seed % len(motions)]
                batch.append(pool.submit(run_nominal, replace(settings, clip=motion), motion or "command", seed))
                seed += 1
            try:
                for future in as_completed(batch):
                    runs.append(future.result())
                    done_s += runs[-1].simulated_s
                    report(done_s / 3600)
                    if done_s >= hours * 3600:
                        break
            except KeyboardInterrupt:
                hours = 0.0
            for future in batch:
                future.cancel()
    counted: dict[str, int] = {}
    for run in runs:
        for name, count in run.counted.items():
            counted[name] = counted.get(name, 0) + count
    bad = [run for run in runs if run.trips or run.fell]
    return {
        "hours": round(sum(run.simulated_s for run in runs) / 3600, 4), "runs": len(runs), "loss": LOSS,
        "jitter_s": JITTER_S, "false_trips": sum(len(run.trips) for run in runs),
        "falls": sum(run.fell for run in runs),
        "tripped": [{"motion": run.motion, "seed": run.seed, "flags": list(run.trips), "fell": run.fell}
                    for run in bad],
        "counted_ticks": counted,
    }
