"""`exoactor imagine`: from a task in words to a chain of motions, stage by stage, in a folder that keeps them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from export.imagine.adopted import adopt
from export.imagine.assembly import CHAIN, AssembleStage
from export.imagine.beside import save_sheet
from export.imagine.estimation import CommandEstimateStage
from export.imagine.failure_report import ReportStage
from export.imagine.film import FilmStage
from export.imagine.motion_estimator.stage import OwnEstimateStage
from export.imagine.run_folder import RunFolder
from export.imagine.set_up import Providers, load_providers
from export.imagine.stage import Stage, carry_out, now_utc
from export.imagine.words import EmbodyStage, PlanStage, PromptStage, SceneStage
from runtime.errors import Refused

STAGES = ("scene", "decompose", "embody", "prompt", "film", "estimate", "report", "assemble")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor imagine`."""
    parser.epilog = ('examples:\n  exoactor imagine "walk to the table and wipe it" --out RUN\n'
                     "  exoactor imagine --out RUN                        go on where it stopped\n"
                     "  exoactor imagine --out RUN --replace film=VIDEOS  with videos of your own\n"
                     "  exoactor run --chain RUN/chain.json --lockstep\n\n"
                     f"stages: {', '.join(STAGES)}")
    parser.add_argument("task", nargs="?", help="what is to be done; left out: the folder's own")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder, new or to go on with")
    parser.add_argument("--image", type=Path, metavar="PICTURE", help="a picture of the scene, PNG or JPEG")
    parser.add_argument("--scene", type=Path, metavar="FILE", help="what stands where (exoactor-scene/1)")
    parser.add_argument("--providers", type=Path, metavar="FILE", help="who does which stage; left out: all embedded")
    parser.add_argument("--from", dest="begin", choices=STAGES, help="do this stage and all after it anew")
    parser.add_argument("--stop-after", choices=STAGES, default="", help="and no further")
    parser.add_argument("--replace", action="append", default=[], metavar="STAGE=PATH",
                        help="take a file or folder of yours for what a stage gives; repeatable")
    parser.add_argument("--beside", type=Path, metavar="DIR",
                        help="only draw RUN/sheet.png: frames of the videos above what the robot did at those times; "
                        "DIR is where `exoactor run --chain RUN/chain.json --lockstep` wrote")
    parser.add_argument("--robot", default="g1_29dof", help="whose motion (default: g1_29dof)")
    parser.add_argument("--seed", type=int, help="of everything that is drawn at random (default: 0)")
    parser.add_argument("--json", action="store_true", help="the manifest's rows as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """One run, begun or gone on with; returns the exit code."""
    if args.beside is not None:
        print(save_sheet(args.out, args.beside, args.robot))
        return 0
    folder = RunFolder(args.out)
    stages = stages_of(folder, _ask(folder, args), args.robot, load_providers(args.providers))

    def say(line: str) -> None:
        if not args.json:
            print(line, flush=True)

    if args.begin:
        folder.forget(STAGES[STAGES.index(args.begin):])
    for word in args.replace:
        _replace(folder, stages, word)
    carry_out(folder, stages, say, args.stop_after)
    if not args.stop_after or args.stop_after == STAGES[-1]:
        say(f"exoactor run --chain {write_chain(folder)} --lockstep")
    if args.json:
        print(json.dumps({name: vars(folder.row(name)) for name in STAGES}, indent=1))
    return 0


def write_chain(folder: RunFolder) -> Path:
    """The chain of the last stage as a file of the folder itself; returns it."""
    rows = json.loads((folder.of("assemble") / CHAIN).read_text("utf-8"))
    for row in rows["actions"]:
        row["clip"] = f"assemble/{row['clip']}"
    (folder.path / CHAIN).write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return folder.path / CHAIN


def _ask(folder: RunFolder, args: argparse.Namespace) -> str:
    """Brings the folder's request up to what is asked now; returns the task."""
    task = args.task or folder.request.get("task", "")
    if not task.strip():
        raise Refused("task", expected="what is to be done", found="nothing",
                      what_to_do='e.g. exoactor imagine "walk to the table and wipe it" --out RUN')
    seed = int(folder.request.get("seed", 0)) if args.seed is None else args.seed
    files = {"image": args.image, "scene": args.scene}
    folder.ask(task, seed, {name: path for name, path in files.items() if path is not None})
    return str(task)


def _replace(folder: RunFolder, stages: list[Stage], word: str) -> None:
    name, _, path = word.partition("=")
    stage = next((stage for stage in stages if stage.name == name), None)
    if stage is None or not path or name == ReportStage.name:  # what was measured is nobody's to write
        raise Refused("--replace", expected="STAGE=PATH with a stage among "
                      + ", ".join(stage for stage in STAGES if stage != ReportStage.name), found=word,
                      what_to_do="e.g. --replace film=walk.mp4")
    if name == "estimate":  # the results of estimators are read here, so that their own files will do
        folder.replace(name, Path(path), Path(stage.file).with_suffix(Path(path).suffix).name, now_utc(), adopt)
    else:
        folder.replace(name, Path(path), stage.file, now_utc())


def stages_of(folder: RunFolder, task: str, robot: str, providers: Providers, *, preview: bool = True) -> list[Stage]:
    """All stages in order, each by whoever the settings name; `preview`: whether the robot's motions are drawn."""
    stages: list[Any] = [
        SceneStage(task, folder.given("scene"), folder.given("image"), robot),
        PlanStage(task, providers.of("decompose")),
        EmbodyStage(providers.of("embody")), PromptStage(), FilmStage(providers.of("film")),
        OwnEstimateStage() if providers.estimator is None else CommandEstimateStage(providers.estimator),
        ReportStage(), AssembleStage(robot, preview)]
    return stages
