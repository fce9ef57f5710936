"""From nothing to a bundle of the motion estimator: takes, three networks, how well they see, and the bundle."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from export.imagine.motion_estimator.bundle import write_motion_estimator
from export.imagine.motion_estimator.card import make_card
from export.imagine.motion_estimator.judging import judge, summary
from export.imagine.motion_estimator.lessons import Batches, load_lessons
from export.imagine.motion_estimator.networks import NETWORKS, onnx_of
from export.imagine.motion_estimator.pinhole import Pinhole
from export.imagine.motion_estimator.renders import folder_of, load_images, load_truth, shoot_all
from export.imagine.motion_estimator.sight import Sight
from export.imagine.motion_estimator.training import Trainer, batch_of, measure
from export.learning import Course
from export.onnx_cost import measure_cost
from runtime.model import Model

STEPS_A_MINUTE = {"finder": 60, "hands": 100, "pose": 75}
"""What a minute of the course is made of on two cores: work, not time, so that it can be repeated."""
GOLDEN_FRAMES, PARITY_FRAMES = 3, 64


def carry_out(args: argparse.Namespace) -> int:
    """Everything that is not done yet, as the command's arguments say; returns the exit code."""
    _render(args)
    if args.stop_after == "render":
        return 0
    torch.set_num_threads(args.threads)
    place = folder_of(args.work, held_out=True)
    lessons = Batches(load_lessons(folder_of(args.work, held_out=False), args.takes))
    held = Batches(load_lessons(place, args.held_out), steady=True)
    trained = {name: _learn(args, name, lessons, held) for name in NETWORKS}
    if args.stop_after == "learn":
        return 0
    networks = {name: onnx_of(name, trainer.network) for name, trainer in trained.items()}
    worst = max(parity(name, trained[name].network, networks[name], held) for name in NETWORKS)
    paths = sorted(place.glob("[0-9]*[0-9].npz"))[:args.held_out]
    scores = judge(Sight(networks), paths)
    provenance = {"takes": args.takes, "held_out": args.held_out, "seed": args.seed, "parity_torch_onnx": worst,
                  "steps": {name: trainer.step for name, trainer in trained.items()}, "torch": torch.__version__}
    images = load_images(paths[0])
    lens = Pinhole(images.shape[2], images.shape[1], load_truth(paths[0]).fovy_rad)
    costs = {name: measure_cost(data) for name, data in networks.items()}
    card = make_card(costs, {name: len(data) for name, data in networks.items()}, scores, provenance)
    golden = images[np.linspace(0, len(images) - 1, GOLDEN_FRAMES).astype(int)]
    write_motion_estimator(args.out, networks, list(golden), lens, card, provenance)
    result = {"out": str(args.out), **summary(scores), **provenance}
    print(json.dumps(result) if args.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    return 0


def _render(args: argparse.Namespace) -> None:
    for count, held_out in ((args.held_out, True), (args.takes, False)):
        with tqdm(total=count, desc="held-out videos" if held_out else "takes", disable=args.json) as bar:
            shoot_all(args.work, args.seed, count, _moves(bar), held_out=held_out, workers=args.threads)


def _moves(bar: Any) -> Callable[[int], None]:
    return lambda done: bar.update(done - bar.n)


def _learn(args: argparse.Namespace, name: str, lessons: Batches, held: Batches) -> Trainer:
    course = Course(max(10, round(args.minutes * STEPS_A_MINUTE[name])), args.seed)
    trainer = Trainer(name, lessons, course, args.work / f"{name}.pt", half=not args.exact)
    trainer.resume()
    with (args.work / f"{name}.jsonl").open("a", encoding="utf-8") as curve, tqdm(
        total=course.steps, initial=trainer.step, desc=f"learning, {name}", disable=args.json
    ) as bar:

        def report(step: int, loss: float) -> None:
            figures = measure(name, trainer.network, held)
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}", **figures)
            curve.write(json.dumps({"step": step, "loss": round(loss, 5), **figures}) + "\n")
            curve.flush()

        trainer.run(report)
    return trainer


def parity(name: str, network: torch.nn.Module, onnx: bytes, held: Batches) -> float:
    """Largest difference between torch and ONNX Runtime over some held-out frames, absolute."""
    batch = batch_of(name, held, np.unique(np.linspace(0, len(held) - 1, PARITY_FRAMES).astype(np.int64)),
                     np.random.default_rng(0))
    model, keys = Model(onnx), list(NETWORKS[name][1])
    network.eval()
    with torch.no_grad():
        expected = network(*(batch[key] for key in keys)).numpy()
    (output,) = model.outputs.values()
    worst = 0.0
    for i, wanted in enumerate(expected):
        for key in keys:
            model.inputs[key][0] = batch[key][i].numpy()
        model.run()
        worst = max(worst, float(np.abs(output[0] - wanted).max()))
    return worst
