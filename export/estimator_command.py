"""`exoactor export estimator`: train a base-velocity estimator in simulation, or measure one."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from export.estimator_bundle import write_estimator_bundle
from export.estimator_evaluation import Score, evaluate, table
from export.estimator_rollouts import Rollout, Scenario, Source, collect, plan
from runtime.classical_estimator import ClassicalEstimator
from runtime.errors import Refused
from runtime.estimator import find_estimator, open_learned
from runtime.estimator_manifest import read_estimator
from runtime.learned_estimator import LearnedEstimator
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.model import Model

ROLLOUTS_A_MINUTE, STEPS_A_MINUTE = 7, 400
"""What a minute of training is made of, as it was measured on one core: work, not time, so that it can be repeated."""
LONGEST_MIN = 600.0
GOLDEN_TICKS, PARITY_TICKS = 64, 1000
HELD_OUT = 20


class _Model(argparse.Action):
    """--model FILE belongs to the --controller before it."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None,
                 ) -> None:
        if not namespace.controller:
            parser.error("--model belongs to the --controller before it")
        namespace.model[len(namespace.controller) - 1] = values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export estimator`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export estimator --controller holosoma-velocity --model ppo.onnx --minutes 9 --out mine\n"
        "  exoactor export estimator --controller twist2 --model twist2.onnx --motions clips --evaluate mine\n"
        "--controller may be given several times, each with its own --model; a tracker also does knee bends."
    )
    parser.add_argument("--controller", action="append", default=[], help="what moves the robot")
    parser.add_argument("--model", action=_Model, default={}, help="network of the --controller before it")
    parser.add_argument("--motions", nargs="+", default=[], metavar="DIR|FILE", help="clips for trackers")
    parser.add_argument("--minutes", type=float, default=9.0, help="work worth so many minutes of one core (default 9)")
    parser.add_argument("--out", help="bundle folder to write; OUT.training keeps rollouts, progress and curve")
    parser.add_argument("--resume", action="store_true", help="go on with what OUT.training holds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the estimator (default: the folder's name)")
    parser.add_argument("--evaluate", metavar="BUNDLE", help="measure this one beside the classical filter")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, metavar="N",
                        help=f"rollouts to measure on (default {HELD_OUT}; 0: none)")
    parser.add_argument("--rollouts", metavar="DIR", help="keep held-out rollouts here, and take those that are there")
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Train or measure; returns the exit code."""
    if (args.evaluate is None) == (args.out is None):
        raise Refused("export estimator", expected="--out BUNDLE to train, or --evaluate BUNDLE",
                      found="both or neither", what_to_do="give one of the two")
    if not args.controller:
        raise Refused("--controller", expected="at least one", found="none",
                      what_to_do="name what shall move the simulated robot, e.g. holosoma-velocity --model ppo.onnx")
    sources = _sources(args)
    result = _measure(args, sources) if args.evaluate else _train(args, sources)
    if args.json:
        print(json.dumps(result))
    else:
        print(table(result["scores"]) if result["scores"] else "nothing held out, nothing measured")
        if "parity" in result:
            print(f"torch to ONNX: at most {result['parity']:.1e}; written to {args.out}")
    return 0


def _sources(args: argparse.Namespace) -> list[Source]:
    clips = tuple(str(clip) for place in args.motions for clip in _clips(Path(place)))
    return [
        Source(name, args.model.get(i), clips if load_manifest(name).kind == "tracker" else ())
        for i, name in enumerate(args.controller)
    ]


def _clips(place: Path) -> list[Path]:
    found = sorted(place.glob("*.npz")) if place.is_dir() else [place]
    if not found or not all(path.is_file() for path in found):
        raise Refused("--motions", expected="clips (.npz), or folders of them", found=f"none at {place}",
                      what_to_do="check the path")
    return found


def _measure(args: argparse.Namespace, sources: Sequence[Source]) -> dict[str, Any]:
    folder = find_estimator(args.evaluate)
    estimator = open_learned(folder, allow_unsigned=True).estimator
    place = Path(args.rollouts) if args.rollouts else Path(f"{folder.name}.held-out")
    rollouts = _held_out(args, sources, place)
    scores = _scores(estimator, rollouts)
    if not args.rollouts:
        shutil.rmtree(place)
    return {"scores": scores}


def _held_out(args: argparse.Namespace, sources: Sequence[Source], folder: Path) -> list[Rollout]:
    return collect(plan(sources, args.held_out, args.seed, held_out=True), folder, _bar(args, "held-out rollouts"))


def _scores(estimator: LearnedEstimator, rollouts: Sequence[Rollout]) -> dict[str, dict[str, Score]]:
    if not rollouts:
        return {}
    manifest = estimator.manifest
    motors = manifest.robot.motors
    return {
        "learned": evaluate(estimator, rollouts, motors),
        "classical": evaluate(ClassicalEstimator(manifest.robot, manifest.rate_hz), rollouts, motors),
    }


def _train(args: argparse.Namespace, sources: Sequence[Source]) -> dict[str, Any]:
    import torch

    from export.estimator_network import EstimatorNetwork, estimator_manifest
    from export.estimator_training import Trainer, checked, observe, parity, sequence
    from export.learning import Course

    if not 0 < args.minutes <= LONGEST_MIN:
        raise Refused("--minutes", expected=f"above 0, at most {LONGEST_MIN:g}", found=f"{args.minutes}",
                      what_to_do="give a time in that range")
    out, work = Path(args.out), _work_folder(args)
    first = _one_robot(sources)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    scenarios = plan(sources, max(8, round(args.minutes * ROLLOUTS_A_MINUTE)), args.seed)
    rollouts = collect(scenarios, work / "rollouts", _bar(args, "rollouts"))
    manifest = estimator_manifest(args.name or out.name, first.robot, first.rate_hz)
    observations, truths = observe(checked(manifest), _bar(args, "observations")(rollouts))
    network = EstimatorNetwork(observations.shape[1])
    course = Course(max(20, round(args.minutes * STEPS_A_MINUTE)), args.seed)
    trainer = Trainer(network, observations, truths, course, work / "checkpoint.pt")
    if args.resume:
        trainer.resume()
    with (work / "curve.jsonl").open("a", encoding="utf-8") as curve, tqdm(
        total=course.steps, initial=trainer.step, desc="learning", disable=args.json
    ) as bar:

        def report(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.5f}")
            curve.write(json.dumps({"step": step, "loss": round(loss, 7)}) + "\n")
            curve.flush()

        trainer.run(report)
    onnx = network.onnx()
    data = json.dumps({**manifest, "model": {"file": "estimator.onnx", "sha256": "0" * 64}}).encode()
    estimator = LearnedEstimator(read_estimator(Path("estimator.json"), data), Model(onnx))
    scores = _scores(estimator, _held_out(args, sources, work / "held-out") if args.held_out else [])
    worst = parity(network, observations[:: max(1, len(observations) // PARITY_TICKS)])
    provenance = {
        "controllers": [source.controller for source in sources],
        "rollouts": len(rollouts), "seconds": round(sum(len(r.states) / r.rate_hz for r in rollouts)),
        "steps": course.steps, "seed": args.seed, "minutes": args.minutes, "parity_torch_onnx": worst,
        "torch": torch.__version__,
    }
    write_estimator_bundle(out, _described(manifest, sources), onnx, sequence(rollouts, GOLDEN_TICKS), scores,
                           provenance)
    return {"out": str(out), "scores": scores, "parity": worst, **provenance}


def _described(manifest: dict[str, Any], sources: Sequence[Source]) -> dict[str, Any]:
    names = ", ".join(load_manifest(source.controller).name for source in sources)
    return {**manifest, "source": f"exoactor export estimator, on simulated rollouts of {names}",
            "licence": "Apache-2.0"}


def _work_folder(args: argparse.Namespace) -> Path:
    work = Path(f"{args.out}.training")
    if work.exists() and not args.resume:
        raise Refused(f"folder {work}", expected="none, to begin anew", found="one of an earlier training",
                      what_to_do="go on with --resume, or remove it")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _one_robot(sources: Sequence[Source]) -> Manifest:
    manifests = [load_manifest(source.controller) for source in sources]
    first = manifests[0]
    for manifest in manifests:
        if (manifest.robot.name, manifest.rate_hz) != (first.robot.name, first.rate_hz):
            raise Refused("--controller", expected=f"controllers of {first.robot.name} at {first.rate_hz:g} Hz",
                          found=f"{manifest.name}: {manifest.robot.name} at {manifest.rate_hz:g} Hz",
                          what_to_do="an estimator is for one robot and one rate")
    return first


def _bar(args: argparse.Namespace, what: str) -> Any:
    def bar(things: Sequence[Scenario | Rollout]) -> Iterator[Any]:
        progress: Iterable[Any] = tqdm(things, desc=what, disable=args.json)
        return iter(progress)

    return bar
