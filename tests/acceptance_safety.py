"""What the safety work must show, measured: a table of requirement, measured value and verdict.

    python -m tests.acceptance_safety [--only handover,...] [--seeds 20] [--json FILE]

Not a test of the suite: it takes minutes. Exit code 1 when something falls short. Shared walks and policies lie in
$EXOACTOR_SHARED_DATA, else in ../shared/data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict

from runtime.clip import load_clip
from runtime.manifest import OWN_CONTROLLER
from runtime.mux import Source
from runtime.pilot import Phase
from runtime.robot import load_robot
from runtime.steered import USUAL
from tests.acceptance import Table
from tests.handover_trial import OperatedRun, operated, walk_and_hand_over

WALKS = ("walk", "walk_turning")
"""Motions handed over from and back to; the seeds take turns."""


def handover(table: Table, options: argparse.Namespace) -> None:
    """Tracker -> velocity controller -> tracker while walking."""
    steered = {"teleop_controller": USUAL}
    clips = [clip for clip in WALKS if load_clip(clip, load_robot("g1_29dof")).duration_s > 3]
    runs: dict[int, OperatedRun] = {}
    for seed in range(options.seeds):
        clip = clips[seed % len(clips)]
        run = runs[seed] = walk_and_hand_over(operated(options.controller, clip, steered), seed)
        table.figures[f"handover seed {seed}"] = {
            "clip": clip, "fell": run.fell, "walked_m_s": run.walked_m_s, "modes": [mode.name for mode in run.modes],
            "steps": {who: asdict(steps) for who, steps in run.steps.items()}, "faults": run.faults,
        }
        print(f"  seed {seed}: {table.figures[f'handover seed {seed}']}", file=sys.stderr, flush=True)
    name, count = steered["teleop_controller"], len(runs)
    fallen = [seed for seed, run in runs.items() if run.fell or run.faults]
    table.add(f"tracker -> {name} -> tracker while walking: no fall, no fault", f"{count - len(fallen)} of {count}",
              not fallen)
    back = [run for run in runs.values() if run.sources[-3:] == [Source.CLIP, Source.NETWORK, Source.CLIP]
            and run.policy.helm.share == 0 and run.policy.pilot.phase is Phase.PLAY]
    table.add("each was handed over and back, and plays on", f"{len(back)} of {count}", len(back) == count)
    slowest = min(run.walked_m_s for run in runs.values())
    table.add("each walked under the velocity controller", f"slowest {slowest:.2f} m/s", slowest > 0.15)
    worst = {who: {name: max(getattr(run.steps[who], name) for run in runs.values()) for name in ("q_rad", "demanded")}
             for who in ("tracker", "steered", "hand-over")}
    spread = ", ".join(f"{who} {steps['q_rad']:.3f} rad, {steps['demanded']:.2f} of the limit"
                       for who, steps in worst.items())
    table.add("peak joint-target step of a hand-over within the gate's rate limit, without being held back",
              f"{spread} (a gate tick)", worst["hand-over"]["demanded"] <= 1)


SECTIONS: dict[str, Callable[[Table, argparse.Namespace], None]] = {"handover": handover}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, of {', '.join(SECTIONS)}")
    parser.add_argument("--controller", default=OWN_CONTROLLER)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json")
    options = parser.parse_args()
    table = Table()
    for name in options.only.split(","):
        SECTIONS[name](table, options)
    return table.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
