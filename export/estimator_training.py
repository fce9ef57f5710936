"""Training of a learned estimator on rollouts, through the very observations the robot will build."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.estimator_network import FLOOR, MODEL_FILE, EstimatorNetwork
from export.estimator_rollouts import Rollout
from export.learning import Course, Learner
from runtime.estimator_manifest import EstimatorManifest, read_estimator
from runtime.learned_estimator import Sensed
from runtime.model import Model
from runtime.observation import Observation

F32 = npt.NDArray[np.float32]

BATCH = 512
RATE, LAST_RATE = 1e-3, 2e-5
HEIGHT_WEIGHT, CONTACT_WEIGHT = 20.0, 0.02
"""Of the squared height error (m) and the contacts' cross entropy, beside the squared velocity error (m/s): each then
asks for about as much once the network is good."""
NOISE = 0.02
"""Added to normalised inputs while training, so that no single number is leant upon."""
REPORT_EVERY = 200


def checked(manifest: dict[str, Any]) -> EstimatorManifest:
    """A manifest whose network is still to come, as the runtime reads it."""
    data = json.dumps({**manifest, "model": {"file": MODEL_FILE, "sha256": "0" * 64}}).encode()
    return read_estimator(Path("estimator.json"), data)


def observe(manifest: EstimatorManifest, rollouts: Iterable[Rollout]) -> tuple[F32, F32]:
    """Every rollout as the robot will see it from a reset on: observations (N, inputs), truths (N, 6)."""
    (entry,) = manifest.inputs
    sensed = Sensed(manifest)
    observation = Observation(entry["blocks"], sensed.inputs, manifest.order.names)
    seen, true = [], []
    for rollout in rollouts:
        rows = np.zeros((len(rollout.states), observation.values.size), np.float32)
        sensed.reset()
        observation.reset()
        for row, floats in zip(rows, rollout.states, strict=True):
            sensed.update(floats)
            observation.fill()
            row[:] = observation.values
        seen.append(rows)
        true.append(np.column_stack([rollout.velocity, rollout.height, rollout.contact]).astype(np.float32))
    return np.concatenate(seen), np.concatenate(true)


class Trainer(Learner):
    """Learns from what was observed.

    Args:
        network: to be trained in place.
        observations, truths: as `observe` gives them.
        course: how long.
        checkpoint: file to keep progress in; None keeps none.
    """

    report_every = REPORT_EVERY

    def __init__(
        self, network: EstimatorNetwork, observations: F32, truths: F32, course: Course, checkpoint: Path | None = None
    ) -> None:
        super().__init__(network, torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4), course,
                         checkpoint)
        self._network = network
        self._observations, self._truths = torch.from_numpy(observations), torch.from_numpy(truths)
        self._random = torch.Generator().manual_seed(course.seed)
        network.normalise_by(self._observations, FLOOR)
        for values in (network.linear[-1].weight, network.linear[-1].bias):  # begin as the filter
            torch.nn.init.zeros_(values)

    def _mark(self) -> dict[str, int]:
        rows, inputs = self._observations.shape
        return {"steps": self._course.steps, "seed": self._course.seed, "rows": rows, "inputs": inputs}

    def _chance(self) -> torch.Tensor:
        return self._random.get_state()

    def _set_chance(self, kept: torch.Tensor) -> None:
        self._random.set_state(kept)

    def _learn(self) -> float:
        progress = self.step / max(1, self._course.steps)
        for group in self._optimiser.param_groups:
            group["lr"] = RATE * (LAST_RATE / RATE) ** progress
        rows = torch.randint(len(self._observations), (BATCH,), generator=self._random)
        noise = torch.randn((BATCH, self._observations.shape[1]), generator=self._random) * NOISE
        loss = self._loss(self._observations[rows] + noise / self._network.scale, self._truths[rows])
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        self._optimiser.step()
        return float(loss.detach())

    def _loss(self, observations: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
        said = self._network.raw(observations)
        velocity = ((said[:, :3] - truths[:, :3]) ** 2).sum(dim=1).mean()
        height = ((said[:, 3] - truths[:, 3]) ** 2).mean()
        contact = torch.nn.functional.binary_cross_entropy_with_logits(said[:, 4:], truths[:, 4:])
        return velocity + HEIGHT_WEIGHT * height + CONTACT_WEIGHT * contact


def parity(network: EstimatorNetwork, observations: F32) -> float:
    """Largest difference between torch and ONNX Runtime over some observations, outputs as they are used."""
    model = Model(network.onnx())
    (inputs,) = model.inputs.values()
    worst = 0.0
    with torch.no_grad():
        expected = network(torch.from_numpy(observations)).numpy()
    for row, wanted in zip(observations, expected, strict=True):
        inputs[:] = row
        model.run()
        found = np.concatenate([output.reshape(-1) for output in model.outputs.values()])
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def sequence(rollouts: Sequence[Rollout], ticks: int) -> F32:
    """(ticks, 3 motors + 10) states for golden vectors: pieces of rollouts of different kinds, one after the other."""
    kinds = {rollout.kind: rollout for rollout in rollouts}
    each = -(-ticks // len(kinds))
    pieces = [rollout.states[len(rollout.states) // 2 :][:each] for rollout in kinds.values()]
    return np.concatenate(pieces)[:ticks]
