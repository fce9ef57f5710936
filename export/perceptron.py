"""A perceptron behind a fixed normalisation, and its ONNX file: what students and estimators are made of."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch

OPSET, IR_VERSION = 17, 8


class Perceptron(torch.nn.Module):
    """Linear layers with ELU between.

    Args:
        inputs, outputs: sizes.
        hidden: sizes of the layers between.

    Attributes:
        mean, scale: (inputs,) the normalisation, (x - mean) * scale.
        linear: the layers in order.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, inputs: int, outputs: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.linear = [torch.nn.Linear(a, b) for a, b in pairwise([inputs, *hidden, outputs])]
        self.layers = torch.nn.ModuleList(self.linear)

    def normalise_by(self, observations: torch.Tensor, floor: float) -> None:
        """Take mean and spread of (N, inputs) as the normalisation; `floor` keeps constant inputs quiet."""
        self.mean.copy_(observations.mean(dim=0))
        self.scale.copy_(1 / (observations.std(dim=0) + floor))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        x = (observation - self.mean) * self.scale
        for i, layer in enumerate(self.linear):
            x = layer(torch.nn.functional.elu(x) if i else x)
        return x

    def onnx_nodes(self, source: str, out: str) -> tuple[list[Any], list[Any]]:
        """(nodes, constants) from tensor `source` to tensor `out`, the normalisation folded into the first layer."""
        from onnx import helper, numpy_helper

        nodes, constants, name = [], [], source
        for i, layer in enumerate(self.linear):
            weight, bias = (value.detach().double() for value in (layer.weight, layer.bias))
            if i == 0:
                weight = weight * self.scale.double()
                bias = bias - weight @ self.mean.double()
            constants += [numpy_helper.from_array(weight.float().numpy(), f"weight_{i}"),
                          numpy_helper.from_array(bias.float().numpy(), f"bias_{i}")]
            result = out if i == len(self.linear) - 1 else f"linear_{i}"
            nodes.append(helper.make_node("Gemm", [name, f"weight_{i}", f"bias_{i}"], [result], transB=1))
            name = f"elu_{i}"
            if result != out:
                nodes.append(helper.make_node("Elu", [result], [name]))
        return nodes, constants


def onnx_bytes(
    name: str, nodes: list[Any], constants: list[Any], inputs: Mapping[str, int], outputs: Mapping[str, int]
) -> bytes:
    """A checked ONNX file; every tensor is float32 of (batch, size), the batch free."""
    import onnx
    from onnx import TensorProto, helper

    def tensors(sizes: Mapping[str, int]) -> list[Any]:
        return [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["batch", size]) for key, size in sizes.items()]

    graph = helper.make_graph(nodes, name, tensors(inputs), tensors(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="exoactor")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
