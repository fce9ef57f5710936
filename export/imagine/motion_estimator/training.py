"""Training of one network of the motion estimator; can be put down and taken up again at every report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from export.imagine.motion_estimator.layout import TURNED
from export.imagine.motion_estimator.lessons import Batches, Tensors
from export.imagine.motion_estimator.losses import LOSSES, matrices, place_joints, split_pose
from export.imagine.motion_estimator.networks import NETWORKS
from export.learning import Course, Learner

BATCH = 64
RATE = {"finder": 2e-3, "pose": 1e-3, "hands": 1e-3}
WARM_UP, FADE = 100, 0.35
"""Steps to the full rate, and the share of the course over which it fades to nothing."""
REPORT_EVERY = 100
MEASURED = 512
"""Held-out frames that a report measures on."""


class Trainer(Learner):
    """Learns from lessons. A longer course of the same seed goes on where a shorter one ended.

    Args:
        name: of NETWORKS. lessons: to learn from. course: how long.
        checkpoint: file to keep progress in; None keeps none.
        half: multiply in bfloat16, which processors with AMX do several times as fast.

    Attributes:
        network: being trained.
    """

    report_every = REPORT_EVERY

    def __init__(self, name: str, lessons: Batches, course: Course, checkpoint: Path | None = None, *,
                 half: bool = True) -> None:
        self.name, self._lessons, self._half = name, lessons, half
        torch.manual_seed(course.seed)
        network: Any = NETWORKS[name][0]()
        self.network: torch.nn.Module = network.to(memory_format=torch.channels_last)
        super().__init__(self.network, torch.optim.AdamW(self.network.parameters(), lr=RATE[name], weight_decay=1e-3),
                         course, checkpoint)
        self._random = np.random.default_rng([course.seed, list(NETWORKS).index(name)])

    def _mark(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self._course.seed,
                "numbers": sum(values.numel() for values in self.network.parameters())}

    def _chance(self) -> str:
        return json.dumps(self._random.bit_generator.state)

    def _set_chance(self, kept: str) -> None:
        self._random.bit_generator.state = json.loads(kept)

    def _learn(self) -> float:
        left = (self._course.steps - self.step) / self._course.steps
        for group in self._optimiser.param_groups:
            group["lr"] = RATE[self.name] * min(1.0, (self.step + 1) / WARM_UP, left / FADE)
        self.network.train()
        rows = self._lessons.rows(self.name, BATCH, self._random)
        loss = LOSSES[self.name](self._said, batch_of(self.name, self._lessons, rows, self._random))
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimiser.step()
        return float(loss.detach())

    def _said(self, *inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._half):
            return cast(torch.Tensor, self.network(*inputs))


def batch_of(name: str, lessons: Batches, rows: npt.NDArray[np.int64], random: np.random.Generator) -> Tensors:
    """What a network of a name learns from."""
    return {"finder": lessons.finder, "pose": lessons.pose, "hands": lessons.hands}[name](rows, random)


def measure(name: str, network: torch.nn.Module, lessons: Batches) -> dict[str, float]:
    """A few figures on `steady` lessons, frames evenly spread: for curves, not for cards."""
    rows = np.unique(np.linspace(0, len(lessons) - 1, MEASURED).round().astype(np.int64))
    network.eval()
    with torch.no_grad():
        parts = [_measured(name, network, batch_of(name, lessons, some, np.random.default_rng(0)))
                 for some in np.array_split(rows, max(1, len(rows) // BATCH))]
    return {key: round(float(np.nanmean(np.concatenate([part[key] for part in parts]))), 4) for key in parts[0]}


def _measured(name: str, network: torch.nn.Module, batch: Tensors) -> dict[str, npt.NDArray[Any]]:
    if name == "finder":
        wrong = (network(batch["picture"]) - batch["found"]).abs().numpy()
        return {"place": wrong[:, :2], "side": wrong[:, 2], "horizon": wrong[:, 3]}
    if name == "hands":
        right = network(batch["square"], batch["turn"]).argmax(dim=1) == batch["states"]
        return {"right": np.where(batch["states"] < 0, np.nan, right.float().numpy())}
    told = split_pose(network(batch["square"]))
    placed, _ = place_joints(matrices(told["turns"].reshape(-1, TURNED, 6)), told["shape"])
    seen = told["joints"].reshape(len(told["joints"]), -1, 3) - batch["seen"]
    return {"mpjpe_m": (placed - batch["joints"]).norm(dim=2).numpy(), "seen": seen[..., :2].norm(dim=2).numpy(),
            "window": (told["window"] - batch["window"]).abs().numpy(),
            "shape": (told["shape"] - batch["shape"]).abs().numpy()}
