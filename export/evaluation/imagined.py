"""The suite in words: each task said to `exoactor imagine`, shown its scene, and what comes of it played in the plant.

Scene, seed and criterion are those of the task without imagination, so that what differs is what the stages made.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from export.evaluation.command import (
    TIERS,
    asked,
    named,
    row_of,
    spread,
    summary,
    table,
    tracker_of,
    trial_folder,
    write_result,
)
from export.evaluation.reference import ROBOT, reference_of
from export.evaluation.tasks import TASKS, plan_of
from export.evaluation.trial import Tracker, play, reference_bodies
from export.imagine.command import STAGES, stages_of, write_chain
from export.imagine.failure_report import REPORT
from export.imagine.film import videos_in
from export.imagine.ledger import digest_of, write_whole
from export.imagine.run_folder import RunFolder
from export.imagine.set_up import load_providers
from export.imagine.stage import carry_out
from export.imagine.words import read_json
from export.motion.video import video_facts
from runtime.chain import load_motion
from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.robot import load_robot

SUITE = {"B": ("walk to", "walk to basket", "go round"), "A": ("sweep aside", "sit down", "wipe"),
         "S": ("pick and place",)}
"""Those of the paper's tasks that run where no task is named; --task takes any of the tier."""
PAPER_S_PER_S = {"embody": 10.7, "decompose": 2.5, "film": 13.2, "estimate": 2.9 + 16.4}
"""Seconds of computing a second of video (blog.nestfrontier.com on arXiv 2604.27711); bodies 2.9 and hands 16.4."""
SIMULATION = "simulation"
TRIAL, SCENE, RUN = "trial.json", "scene.json", "imagined"


def run_imagined(args: argparse.Namespace) -> int:
    """As `exoactor evaluate` with these arguments; 0 whatever the rates are."""
    load_providers(args.providers)  # a wrong file or name is refused before anything is done or paid for
    load_manifest(args.controller)
    tiers = TIERS if args.tier is None else (args.tier,)
    if args.task is None:
        names = [name for tier in tiers for name in SUITE[tier]]
    else:
        names = named([task.name for task in TASKS if task.tier in tiers], args.task)
    jobs = [(name, seed) for name in names for seed in range(args.seeds)]
    with tempfile.TemporaryDirectory() as passing:
        out = Path(passing if args.out is None else args.out)
        one = partial(imagined_trial, tracker=tracker_of(args), out=str(out),
                      providers=None if args.providers is None else str(args.providers))
        rows = []
        for row in spread(one, jobs, args.workers):
            rows.append(row)
            if not args.json:
                print(line_of(row), flush=True)
    result = result_of(names, rows, args)
    if args.out is not None:
        write_result(out, result)
    print(json.dumps(result) if args.json else imagined_table(result))
    return 0


def imagined_trial(name: str, seed: int, *, tracker: Tracker, out: str, providers: str | None = None) -> dict[str, Any]:
    """One trial: from the task's words to what the robot did; where its folder has it already, that.

    A motion that a stage refuses is a trial without success, and says why.
    """
    plan, folder = plan_of(name, seed), trial_folder(Path(out), name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / SCENE).exists():
        clip = reference_of(plan.actor.motion(f"{name} {seed}"))
        write_whole(folder / SCENE, plan.furnish(reference_bodies(clip)).as_json().encode())
    run = RunFolder(folder / RUN)
    run.ask(plan.words, seed, {"scene": folder / SCENE})
    settings = load_providers(None if providers is None else Path(providers))
    row: dict[str, Any] = {"task": name, "seed": seed, "success": False, "fell": False, "ended_by": None,
                           "has_finished": False, "measure": "", "objects": {}, "tracking": None}
    try:
        carry_out(run, stages_of(run, plan.words, ROBOT, settings, preview=False), lambda line: None)
    except Refused as error:
        row["refused"] = str(error)
    else:
        row = _played(name, seed, run, folder, tracker)
    return row | {"words": plan.words, **_stages(run)}


def _played(name: str, seed: int, run: RunFolder, folder: Path, tracker: Tracker) -> dict[str, Any]:
    """What the robot made of a run's chain; kept in the folder for as long as nothing that decides it changes."""
    from firmware_bridge.scene import load_scene

    key = digest_of([name, seed, asdict(tracker)], run.files(["assemble"]), (folder / SCENE).read_bytes())
    if (folder / TRIAL).exists():
        kept = read_json(folder / TRIAL)
        if kept.get("key") == key:
            return dict(kept["row"])
    plan, clip = plan_of(name, seed), load_motion(str(write_chain(run)), load_robot(ROBOT))
    begun = time.monotonic()
    seen = play(clip, load_scene(folder / SCENE), tracker, seed)
    row = row_of(name, seed, seen, plan.judge_of_words or plan.judge) | {
        "motion_s": round(clip.duration_s, 3), "simulation_s": round(time.monotonic() - begun, 3)}
    write_whole(folder / TRIAL, json.dumps({"key": key, "row": row}, indent=1).encode())
    return row


def _stages(run: RunFolder) -> dict[str, Any]:
    """Of a run: seconds of each stage and of its videos, and the worst of each row that compares with the truth."""
    video_s = sum(video_facts(path).duration_s for path in videos_in(run.of("film"))) if run.row("film").is_done else 0
    report = read_json(run.of("report") / REPORT) if run.row("report").is_done else {"whole": []}
    return {"video_s": round(video_s, 3), "stage_s": {name: run.row(name).seconds for name in STAGES},
            "done_by": {name: run.row(name).provider for name in STAGES},
            "errors": {row["check"]: row["value"] for row in report["whole"] if row["check"].endswith("_error")},
            "advice": [row["check"] for row in report["whole"] if row["verdict"] == "advice"]}


def result_of(names: Sequence[str], rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """The whole result, as evaluation.json has it."""
    tier_of = {task.name: task.tier for task in TASKS}
    tasks = []
    for name in names:
        own = [row for row in rows if row["task"] == name]
        tasks.append(summary(name, own) | {"tier": tier_of[name], "refused": sum("refused" in row for row in own)})
    return {"imagined": True, **asked(args),
            "tiers": {tier: _tier([row for row in rows if tier_of[row["task"]] == tier]) for tier in TIERS
                      if any(tier_of[row["task"]] == tier for row in rows)},
            "tasks": tasks, "stages": stage_costs(rows), "errors": _worst(rows), "trials": rows}


def _tier(rows: list[dict[str, Any]]) -> dict[str, Any]:
    fell = sum(row["fell"] for row in rows)
    return {"trials": len(rows), "succeeded": sum(row["success"] for row in rows), "fell": fell,
            "refused": sum("refused" in row for row in rows), "no_fall_rate": 1 - fell / len(rows)}


def stage_costs(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds a second of video, stage by stage, over all trials that came to a film; beside the paper's."""
    filmed = [row for row in rows if row["video_s"]]
    seconds = sum(row["video_s"] for row in filmed)
    out = []
    for name in STAGES:
        own = [row for row in filmed if row["stage_s"][name]]
        spent = sum(row["stage_s"][name] for row in own)
        video = sum(row["video_s"] for row in own)
        out.append({"stage": name, "done_by": sorted({row["done_by"][name] for row in own}),
                    "s_per_s": round(spent / video, 4) if video else None, "paper_s_per_s": PAPER_S_PER_S.get(name)})
    played = [row for row in rows if "simulation_s" in row]
    motion = sum(row["motion_s"] for row in played)
    spent = sum(row["simulation_s"] for row in played)
    return [*out, {"stage": SIMULATION, "done_by": ["lock-step"], "paper_s_per_s": None,
                   "s_per_s": round(spent / motion, 4) if motion else None, "video_s": round(seconds, 1)}]


def _worst(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each row that compares with the truth: the mean over trials of their worst action, and the worst of all."""
    names = sorted({name for row in rows for name in row["errors"]})
    values = {name: [row["errors"][name] for row in rows if row["errors"].get(name) is not None] for name in names}
    return {name: {"mean": round(sum(found) / len(found), 4), "worst": max(found)}
            for name, found in values.items() if found}


def line_of(row: dict[str, Any]) -> str:
    """A trial that is over, for a person who waits."""
    if "refused" in row:
        return f"{row['task']} {row['seed']}: refused: {row['refused']}"
    return f"{row['task']} {row['seed']}: {'done' if row['success'] else 'not done'}: {row['measure']}"


def imagined_table(result: dict[str, Any]) -> str:
    """The result for a person: tasks as without imagination, tiers, stages beside the paper's, errors."""
    played = result | {"trials": [row for row in result["trials"] if "refused" not in row]}
    lines = [table(played)]
    lines += [f"  {line_of(row)}" for row in result["trials"] if "refused" in row]
    lines += [f"tier {tier}: {row['succeeded']} of {row['trials']} done, {row['fell']} fell, {row['refused']} refused"
              for tier, row in result["tiers"].items()]
    lines += ["", f"{'stage':<12}{'s per s of video':>18}{'paper':>8}  by"]
    for row in result["stages"]:
        mine, paper = ("-" if value is None else f"{value:.2f}" for value in (row["s_per_s"], row["paper_s_per_s"]))
        what = "a second of motion" if row["stage"] == SIMULATION else ", ".join(row["done_by"])
        lines.append(f"{row['stage']:<12}{mine:>18}{paper:>8}  {what}")
    if result["errors"]:
        lines += ["", f"{'against the truth':<22}{'mean':>8}{'worst':>8}"]
        lines += [f"{name:<22}{row['mean']:>8.3f}{row['worst']:>8.3f}" for name, row in result["errors"].items()]
    return "\n".join(lines)
