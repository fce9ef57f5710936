"""`exoactor evaluate`: a suite of tasks through the whole path, from a human's motion to the robot in its plant."""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import Refused

TIERS = ("B", "A", "S")
SHOWN = ("mpjpe_g_mm", "mpjpe_l_mm", "joint_error_rad_mean", "root_drift_m_per_m")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tasks, how often, with what."""
    parser.epilog = "what is measured, and what our own controllers reach: docs/evaluate.md"
    parser.add_argument("--tier", choices=TIERS, required=True)
    parser.add_argument("--task", help="one task of the tier only")
    parser.add_argument("--controller", default="g1-tracker", help="a tracker: name, manifest or bundle")
    parser.add_argument("--model", help="its model, where it brings none")
    parser.add_argument("--seeds", type=int, default=5, help="trials a task, each of other parameters and noise")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", metavar="DIR", help="write evaluation.json there, and each trial's motion and scene")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluates; 0 whatever the rates are: they are the result."""
    from export.evaluation.tasks import TASKS

    if args.seeds < 1 or args.workers < 1:
        raise Refused("--seeds, --workers", expected="1 or more", found=f"{args.seeds}, {args.workers}",
                      what_to_do="give a positive number")
    names = [task.name for task in TASKS if task.tier == args.tier and args.task in (None, task.name)]
    if not names:
        raise Refused("--task", expected=" or ".join(task.name for task in TASKS if task.tier == args.tier),
                      found=str(args.task), what_to_do="name a task of the tier")
    out = None if args.out is None else str(args.out)
    one = partial(trial, controller=args.controller, model=args.model, out=out)
    jobs = [(name, seed) for name in names for seed in range(args.seeds)]
    if args.workers == 1:
        rows = [one(*job) for job in jobs]
    else:
        for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(library, "1")  # the workers' own: each takes one core, not all of them
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(one, *zip(*jobs, strict=True)))
    result = {"tier": args.tier, "controller": args.controller, "seeds": args.seeds,
              "tasks": [summary(name, [row for row in rows if row["task"] == name]) for name in names], "trials": rows}
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / "evaluation.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(result) if args.json else table(result))
    return 0


def trial(name: str, seed: int, *, controller: str, model: str | None = None, out: str | None = None) -> dict[str, Any]:
    """One trial of a task: what came of it, and the tracking metrics."""
    from export.evaluation.reference import length_ratio, reference_of
    from export.evaluation.tasks import TASKS
    from export.evaluation.trial import play, reference_bodies
    from runtime.clip import save_clip
    from runtime.human_motion import save_human_motion

    number = next(i for i, task in enumerate(TASKS) if task.name == name)
    plan = TASKS[number].plan(np.random.default_rng([number, seed]), length_ratio())
    motion = plan.actor.motion(f"{name} {seed}")
    clip = reference_of(motion)
    scene = plan.furnish(reference_bodies(clip))
    if out is not None:
        folder = Path(out) / f"{name.replace(' ', '_')}_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        save_human_motion(folder / "human.npz", motion)
        save_clip(folder / "clip.npz", clip)
        (folder / "scene.json").write_text(scene.as_json(), encoding="utf-8")
    seen = play(clip, scene, controller, model, seed)
    is_met, measure = plan.judge(seen)
    poses = {thing: [round(float(x), 4) for x in rows[-1]] for thing, rows in seen.objects.items()}
    return {"task": name, "seed": seed, "success": bool(is_met and not seen.fell and seen.has_finished),
            "fell": seen.fell, "ended_by": seen.ended_by, "has_finished": seen.has_finished, "measure": measure,
            "objects": poses, "tracking": {key: _rounded(value) for key, value in seen.metrics.items()}}


def _rounded(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float) else value


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a task's trials: rates, and means over all and over those that SONIC's thresholds did not end.

    The second is what SONIC publishes; it leaves out the motions that went wrong, so both stand side by side.
    """
    kept = [row for row in rows if row["tracking"]["success"]]
    return {
        "task": name, "trials": len(rows), "success_rate": _share(rows, lambda row: row["success"]),
        "fall_rate": _share(rows, lambda row: row["fell"]),
        "tracking_success_rate": len(kept) / len(rows),
        "all": {key: _mean(rows, key) for key in SHOWN}, "tracked": {key: _mean(kept, key) for key in SHOWN},
    }


def _share(rows: list[dict[str, Any]], holds: Any) -> float:
    return sum(bool(holds(row)) for row in rows) / len(rows)


def _mean(rows: list[dict[str, Any]], key: str) -> float | None:
    values = [row["tracking"][key] for row in rows if row["tracking"][key] is not None]
    return round(sum(values) / len(values), 4) if values else None


def table(result: dict[str, Any]) -> str:
    """The result for a person."""
    lines = [f"{'task':<16}{'success':>8}{'falls':>7}{'tracked':>8}"
             f"{'mpjpe_g':>9}{'mpjpe_l':>9}{'joints':>8}{'drift':>8}",
             f"{'':<39}{'mm':>9}{'mm':>9}{'rad':>8}{'m/m':>8}"]
    for task in result["tasks"]:
        cells = "".join("-".rjust(width) if task["all"][key] is None else f"{task['all'][key]:{width}.{digits}f}"
                        for key, width, digits in zip(SHOWN, (9, 9, 8, 8), (0, 0, 3, 2), strict=True))
        lines.append(f"{task['task']:<16}{task['success_rate']:>8.0%}{task['fall_rate']:>7.0%}"
                     f"{task['tracking_success_rate']:>8.0%}{cells}")
    for row in result["trials"]:
        fault = f", {row['ended_by']}" if row["ended_by"] else ", fell" if row["fell"] else ""
        done = "done" if row["success"] else "not done"
        lines.append(f"  {row['task']} {row['seed']}: {done}: {row['measure']}{fault}")
    return "\n".join(lines)
