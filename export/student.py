"""The student: a small multi-layer perceptron, what it learns from, and its ONNX file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

F32 = npt.NDArray[np.float32]
HIDDEN = (512, 256, 128)
OPSET, IR_VERSION = 17, 8


class Student(torch.nn.Module):
    """Linear layers with ELU between, behind a fixed normalisation of the inputs.

    Args:
        inputs, outputs: sizes.
        hidden: sizes of the layers between.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        sizes = [inputs, *hidden, outputs]
        self._linear = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = torch.nn.ModuleList(self._linear)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, outputs), the raw action."""
        x = (observation - self.mean) * self.scale
        for layer in self._linear[:-1]:
            x = torch.nn.functional.elu(layer(x))
        return torch.as_tensor(self._linear[-1](x))

    def normalise_by(self, observations: torch.Tensor) -> None:
        """Take mean and spread of (N, inputs) as the normalisation; a floor keeps constant inputs quiet."""
        self.mean.copy_(observations.mean(dim=0))
        self.scale.copy_(1 / (observations.std(dim=0) + 0.05))

    def onnx(self) -> bytes:
        """The network as ONNX, normalisation folded into its first layer, batch dimension free."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        nodes, constants, name = [], [], "observation"
        layers = self._linear
        for i, layer in enumerate(layers):
            weight, bias = (value.detach().double() for value in (layer.weight, layer.bias))
            if i == 0:
                weight = weight * self.scale.double()
                bias = bias - weight @ self.mean.double()
            last = i == len(layers) - 1
            constants += [numpy_helper.from_array(weight.float().numpy(), f"weight_{i}"),
                          numpy_helper.from_array(bias.float().numpy(), f"bias_{i}")]
            out = "action" if last else f"linear_{i}"
            nodes.append(helper.make_node("Gemm", [name, f"weight_{i}", f"bias_{i}"], [out], transB=1))
            if not last:
                name = f"elu_{i}"
                nodes.append(helper.make_node("Elu", [out], [name]))
        graph = helper.make_graph(
            nodes, "student",
            [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", len(self.mean)])],
            [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", layers[-1].out_features])],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="exoactor")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


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
