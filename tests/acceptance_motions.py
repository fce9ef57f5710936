"""What the work on motions must show, measured: a table of requirement, measured value and verdict.

    python -m tests.acceptance_motions [--only chain,follow,mocap] [--seeds 20] [--json FILE]
    python -m tests.acceptance_motions --only chain,follow --controller twist2 --model twist2.onnx

Not a test of the suite: it takes minutes. Exit code 1 when something falls short. The human motions lie in
$EXOACTOR_SHARED_DATA, else in ../shared/data, folder `mocap`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import exoactor
from firmware_bridge.simulated_robot import Disturbance
from runtime.chain import chain_clip, find_chain, read_chain
from runtime.chain_command import append_to
from runtime.manifest import OWN_CONTROLLER
from runtime.pilot import Phase
from runtime.robot import load_robot
from tests.acceptance import Table
from tests.followed_run import FollowedRun
from tests.handover_trial import NOISE, OperatedRun, Steps, operated

FLAT = ("cmu_07_01", "cmu_12_01", "cmu_09_12_walk", "cmu_13_30", "cmu_14_07", "cmu_02_06_bend", "cmu_14_12",
        "cmu_13_26", "fair_wave")
"""Clips that stay on flat ground without props: walks, turn, squats, reach, bend, wipe, waves."""
SETTLING_S = 0.3
"""After a seam's blend: what the controller still makes of it."""


def chain_run(controller: str, model: str | None, seed: int) -> dict[str, Any]:
    """A chain of five clips of different headings and speeds, with sensor noise from the seed."""
    path = find_chain("demo")
    seams = chain_clip(path, load_robot("g1_29dof"))[1]
    settings = replace(operated(controller, str(path), {}), model=model, teleop_controller="none")
    run = OperatedRun(settings, Disturbance(**NOISE, seed=seed))
    within, without = Steps(), run.steps["tracker"]
    with np.errstate(all="ignore"):
        while run.policy.pilot.phase is not Phase.FINISHED and not run.is_over:
            played_s = run.policy.pilot.play_time_s
            is_seam = run.policy.pilot.phase is Phase.PLAY and any(
                seam.time_s - 0.1 <= played_s <= seam.time_s + seam.blend_s + SETTLING_S for seam in seams)
            run.steps["tracker"] = within if is_seam else without
            run.operate()
            run.tick()
    return {"seed": seed, "fell": run.fell, "faults": run.faults, "finished": run.policy.pilot.phase.name,
            "seams": asdict(within), "elsewhere": asdict(without)}


def follow_run(controller: str, model: str | None, seed: int) -> dict[str, Any]:
    """The same chain, of which each clip after the first is appended while the robot moves in the one before it."""
    first, *others = [action.clip.stem for action in read_chain(find_chain("demo")).actions]
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        run = FollowedRun(Path(folder), first, controller, model, Disturbance(**NOISE, seed=seed))
        run.until(Phase.PLAY)
        for clip in others:
            run.until_left(draw.uniform(0.4, 4.0))
            run.append(clip)
            run.go_on(0.2)
        append_to(run.file, None, is_done=True)
        while not (run.chain.is_over or run.is_over):
            run.operate()
            run.tick()
    standing = sum(taken["from_standing"] for taken in run.chain.notes["actions"])
    return {"seed": seed, "fell": run.fell, "faults": run.faults, "from_standing": standing,
            "finished": "FINISHED" if run.chain.notes["ended"] == "done" else run.gate.machine.mode.name,
            "seams": asdict(run.seams), "elsewhere": asdict(run.elsewhere)}


def seams(table: Table, options: argparse.Namespace, trial: Callable[..., dict[str, Any]], name: str) -> None:
    """One kind of chain with every seed."""
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(partial(trial, options.controller, options.model), range(options.seeds)))
    table.figures[name] = runs
    bad = [run["seed"] for run in runs if run["fell"] or run["faults"] or run["finished"] != "FINISHED"]
    table.add(f"{name} of five clips: no fall, no flag", f"{len(runs) - len(bad)} of {len(runs)}", not bad)
    at_seams, elsewhere = (max(run[where]["demanded"] for run in runs) for where in ("seams", "elsewhere"))
    table.add(f"{name}: no target step above the rate limit at a seam",
              f"largest {at_seams:.2f} of the limit (a gate tick; elsewhere {elsewhere:.2f})", at_seams <= 1)


def chain(table: Table, options: argparse.Namespace) -> None:
    """Seams of a chain."""
    seams(table, options, chain_run, "chain")


def follow(table: Table, options: argparse.Namespace) -> None:
    """Seams of a chain that grows while it is played."""
    seams(table, options, follow_run, "followed chain")
    runs = table.figures["followed chain"]
    late = sum(run["from_standing"] - 1 for run in runs)
    table.add("each clip after the first joined to a moving one", f"{late} of {4 * len(runs)} from standing", late == 0)


def mocap_run(controller: str, model: str | None, path: str) -> dict[str, Any]:
    """A human's file through convert, check and a run, each as a user types it."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.npz"
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = exoactor.main(["motion", "convert", path, str(clip), "--retarget", "--json"])
        if code:
            return {"file": Path(path).name, "converted": False}
        fact = json.loads(said.getvalue())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            checked = exoactor.main(["motion", "check", str(clip), "--json"])
        findings = json.loads(said.getvalue())
        words = ["--controller", controller, *(["--model", model] if model else []), "--clip", str(clip), "--lockstep"]
        done = subprocess.run(
            [sys.executable, "-m", "exoactor", "run", *words, "--json", "--out", f"{folder}/run"],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
        report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {"outcome": done.stderr[-300:]}
    refused = [finding["check"] for finding in findings["findings"] if finding["verdict"] == "refused"]
    return {
        "file": Path(path).name, "converted": True, "limit_hits": fact["retarget"]["limit_hits"],
        "check": "accepted" if checked == 0 else f"refused: {', '.join(refused)}", "outcome": report["outcome"],
        "fell": report.get("fell"), "faults": [fault["flag"] for fault in report.get("faults", [])],
        "joint_error_rad": report.get("tracking", {}).get("joint_error_rad_mean"),
    }


def mocap(table: Table, options: argparse.Namespace) -> None:
    """Every human motion of the shared folder, from file to robot."""
    root = Path(os.environ.get("EXOACTOR_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")) / "mocap"
    files = [str(path) for path in sorted(root.rglob("*")) if path.suffix in (".bvh", ".npz")]
    with ProcessPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(partial(mocap_run, options.controller, options.model), files))
    table.figures["mocap"] = runs
    for run in runs:
        print(f"  {run}", file=sys.stderr)
    good = [run for run in runs if run["converted"] and run["limit_hits"] == 0]
    table.add("converted and retargeted within joint limits", f"{len(good)} of {len(runs)}", len(good) == len(runs))
    flat = [run for run in runs if run["file"].startswith(FLAT)]
    stood = [run for run in flat if run["converted"] and run["outcome"] == "done"]
    table.add("flat-ground clips tracked without fall or fault", f"{len(stood)} of {len(flat)}", len(stood) >= 7)


SECTIONS: dict[str, Callable[[Table, argparse.Namespace], None]] = {
    "chain": chain, "follow": follow, "mocap": mocap}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, of {', '.join(SECTIONS)}")
    parser.add_argument("--controller", default=OWN_CONTROLLER)
    parser.add_argument("--model", help="its ONNX file, where it does not bring its own")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json")
    options = parser.parse_args()
    table = Table()
    for name in options.only.split(","):
        SECTIONS[name](table, options)
    return table.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
