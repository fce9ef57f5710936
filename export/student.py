"""The student: a small multi-layer perceptron, what it learns from, and its ONNX file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from export.perceptron import Perceptron, onnx_bytes

F32 = npt.NDArray[np.float32]
HIDDEN = (512, 256, 128)
FLOOR = 0.05
"""Of an input's spread in the normalisation."""


class Student(Perceptron):
    """From an observation to a raw action.

    Args:
        inputs, outputs: sizes.
        hidden: sizes of the layers between.
    """

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__(inputs, outputs, hidden)

    def onnx(self) -> bytes:
        """The network as ONNX: `observation` to `action`."""
        nodes, constants = self.onnx_nodes("observation", "action")
        sizes = len(self.mean), self.linear[-1].out_features
        return onnx_bytes("student", nodes, constants, {"observation": sizes[0]}, {"action": sizes[1]})


class Lessons:
    """All that was gathered so far, growing.

    Args:
        inputs, outputs: sizes of a row.
        capacity: rows at most; the newest gathering replaces random old rows when it is full.
    """

    def __init__(self, inputs: int, outputs: int, capacity: int) -> None:
        self._observations = np.empty((capacity, inputs), np.float16)
        self._actions = np.empty((capacity, outputs), np.float32)
        self.size = 0

    def add(self, observations: npt.NDArray[np.float16], actions: F32, rng: np.random.Generator) -> None:
        """Take new rows in."""
        free = min(len(actions), len(self._actions) - self.size)
        rows = np.concatenate([
            np.arange(self.size, self.size + free),
            rng.choice(self.size, len(actions) - free, replace=False) if free < len(actions) else np.zeros(0, int),
        ]).astype(np.intp)
        self._observations[rows], self._actions[rows] = observations, actions
        self.size += free

    def sample(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` random rows as float32 tensors."""
        rows = rng.integers(self.size, size=count)
        return (torch.from_numpy(self._observations[rows].astype(np.float32)),
                torch.from_numpy(self._actions[rows]))


def fit(
    student: Student, optimiser: torch.optim.Optimizer, lessons: Lessons, steps: int, *, rate: float,
    rng: np.random.Generator, batch: int = 2048,
) -> float:
    """Some gradient steps on the mean squared error of the raw action; returns the mean loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    total = 0.0
    for _ in range(steps):
        observations, actions = lessons.sample(rng, batch)
        loss = torch.nn.functional.mse_loss(student(observations), actions)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        total += float(loss.detach())
    return total / max(1, steps)
