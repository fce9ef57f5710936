"""`exoactor evaluate`: a suite of tasks through the whole path, from a human's motion to the robot in its plant."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import Refused

if TYPE_CHECKING:
    from export.evaluation.tasks import Judge
    from export.evaluation.trial import Seen, Tracker

TIERS = ("B", "A", "S")
SHOWN = ("mpjpe_g_mm", "mpjpe_l_mm", "joint_error_rad_mean", "root_drift_m_per_m")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tasks, how often, with what."""
    parser.epilog = "what is measured, and what our own controllers reach: docs/evaluate.md"
    parser.add_argument("--tier", choices=TIERS, help="which; with --imagined all of them where none is named")
    parser.add_argument("--task", help="one task of the tier only")
    parser.add_argument("--imagined", action="store_true",
                        help="say each task in words to exoactor imagine, and play what comes of it")
    parser.add_argument("--providers", type=Path, metavar="FILE", help="with --imagined: who does which stage")
    parser.add_argument("--controller", default="g1-tracker", help="a tracker: name, manifest or bundle")
    parser.add_argument("--model", help="its model, where it brings none")
    parser.add_argument("--keep-place", choices=("on", "off"), help="as exoactor run (default: as its manifest says)")
    parser.add_argument("--seeds", type=int, default=5, help="trials a task, each of other parameters and noise")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", metavar="DIR", help="write evaluation.json there, and each trial's motion and scene; "
                        "with --imagined also what goes on where it was stopped")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluates; 0 whatever the rates are: they are the result."""
    from export.evaluation.tasks import TASKS

    if args.seeds < 1 or args.workers < 1:
        raise Refused("--seeds, --workers", expected="1 or more", found=f"{args.seeds}, {args.workers}",
                      what_to_do="give a positive number")
    if args.providers is not None and not args.imagined:
        raise Refused("--providers", expected="--imagined", found="none", what_to_do="say both, or neither")
    if args.imagined:
        from export.evaluation.imagined import run_imagined

        return run_imagined(args)
    if args.tier is None:
        raise Refused("--tier", expected=f"one of {', '.join(TIERS)}", found="none", what_to_do="name a tier")
    names = named([task.name for task in TASKS if task.tier == args.tier], args.task)
    out = None if args.out is None else str(args.out)
    one = partial(trial, tracker=tracker_of(args), out=out)
    rows = list(spread(one, [(name, seed) for name in names for seed in range(args.seeds)], args.workers))
    result = {"tier": args.tier, **asked(args),
              "tasks": [summary(name, [row for row in rows if row["task"] == name]) for name in names], "trials": rows}
    if out is not None:
        write_result(Path(out), result)
    print(json.dumps(result) if args.json else table(result))
    return 0


def tracker_of(args: argparse.Namespace) -> Tracker:
    """Who tracks, as the arguments say."""
    from export.evaluation.trial import Tracker

    return Tracker(args.controller, args.model, None if args.keep_place is None else args.keep_place == "on")


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """What the result says of the arguments."""
    return {"controller": args.controller, "keep_place": args.keep_place or "as the manifest says", "seeds": args.seeds}


def named(names: Sequence[str], wanted: str | None) -> list[str]:
    """The names that are wanted, all where nothing is; refuses one that is not among them."""
    found = [name for name in names if wanted in (None, name)]
    if not found:
        raise Refused("--task", expected=" or ".join(names), found=str(wanted), what_to_do="name a task of the tier")
    return found


def spread(one: Callable[[str, int], dict[str, Any]], jobs: Sequence[tuple[str, int]],
           workers: int) -> Iterator[dict[str, Any]]:
    """What comes of each (task, seed), in their order, by so many processes."""
    if workers == 1:
        for job in jobs:
            yield one(*job)
        return
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(library, "1")  # the workers' own: each takes one core, not all of them
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(one, *zip(*jobs, strict=True))


def write_result(out: Path, result: dict[str, Any]) -> None:
    """evaluation.json of a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "evaluation.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def trial(name: str, seed: int, *, tracker: Tracker, out: str | None = None) -> dict[str, Any]:
    """One trial of a task: what came of it, and the tracking metrics."""
    from export.evaluation.reference import reference_of
    from export.evaluation.tasks import plan_of
    from export.evaluation.trial import play, reference_bodies
    from runtime.clip import save_clip
    from runtime.human_motion import save_human_motion

    plan = plan_of(name, seed)
    motion = plan.actor.motion(f"{name} {seed}")
    clip = reference_of(motion)
    scene = plan.furnish(reference_bodies(clip))
    if out is not None:
        folder = trial_folder(Path(out), name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        save_human_motion(folder / "human.npz", motion)
        save_clip(folder / "clip.npz", clip)
        (folder / "scene.json").write_text(scene.as_json(), encoding="utf-8")
    seen = play(clip, scene, tracker, seed)
    return row_of(name, seed, seen, plan.judge)


def trial_folder(out: Path, name: str, seed: int) -> Path:
    """Where a trial's files lie."""
    return out / f"{name.replace(' ', '_')}_{seed}"


def row_of(name: str, seed: int, seen: Seen, judge: Judge) -> dict[str, Any]:
    """What the result says of a trial that was played."""
    is_met, measure = judge(seen)
    poses = {thing: [round(float(x), 4) for x in rows[-1]] for thing, rows in seen.objects.items()}
    return {"task": name, "seed": seed, "success": bool(is_met and not seen.fell and seen.has_finished),
            "fell": seen.fell, "ended_by": seen.ended_by, "has_finished": seen.has_finished, "measure": measure,
            "objects": poses, "tracking": {key: _rounded(value) for key, value in seen.metrics.items()}}


def _rounded(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float) else value


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a task's trials: rates, and means over all and over those that SONIC's thresholds did not end.

    The second is what SONIC publishes; it leaves out the motions that went wrong, so both stand side by side. A trial
    whose motion was refused (`tracking` is None) is no success; it fell in none and counts in no mean.
    """
    played = [row for row in rows if row["tracking"] is not None]
    kept = [row for row in played if row["tracking"]["success"]]
    return {
        "task": name, "trials": len(rows), "success_rate": sum(row["success"] for row in rows) / len(rows),
        "fall_rate": sum(row["fell"] for row in played) / len(played) if played else None,
        "tracking_success_rate": len(kept) / len(rows),
        "all": {key: _mean(played, key) for key in SHOWN}, "tracked": {key: _mean(kept, key) for key in SHOWN},
    }


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
        falls = "-" if task["fall_rate"] is None else f"{task['fall_rate']:.0%}"
        lines.append(f"{task['task']:<16}{task['success_rate']:>8.0%}{falls:>7}"
                     f"{task['tracking_success_rate']:>8.0%}{cells}")
    for row in result["trials"]:
        fault = f", {row['ended_by']}" if row["ended_by"] else ", fell" if row["fell"] else ""
        done = "done" if row["success"] else "not done"
        lines.append(f"  {row['task']} {row['seed']}: {done}: {row['measure']}{fault}")
    return "\n".join(lines)
