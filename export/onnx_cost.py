"""What a network costs, read off its ONNX graph: parameters, and floating-point operations of one inference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from runtime.errors import Refused
from runtime.model import Model

MOVES = frozenset({
    "Identity", "Reshape", "Transpose", "Concat", "Slice", "Gather", "Cast", "Constant", "ConstantOfShape", "Shape",
    "Squeeze", "Unsqueeze", "Flatten", "Split", "Expand", "Dropout",
})
"""Operators that only move numbers."""
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})


@dataclass(frozen=True)
class Cost:
    """Figures of one network.

    Attributes:
        parameters: numbers in its floating-point constants.
        flops: operations of one inference at batch 1; a multiplication with its addition counts two.
        uncounted: operators that the figure leaves out, because they hold graphs of their own or have no known size.
    """

    parameters: int
    flops: int
    uncounted: tuple[str, ...]


def measure_cost(data: bytes) -> Cost:
    """Count the network in these bytes.

    Raises:
        Refused: not an ONNX network.
    """
    try:
        model = onnx.load_from_string(data)
        shapes = _shapes(model)
    except Refused:
        raise
    except Exception as error:  # protobuf, onnx and onnxruntime raise several unrelated kinds
        raise Refused("model", expected="an ONNX network", found=f"{type(error).__name__}: {str(error)[:200]}",
                      what_to_do="export it again") from error
    graph = model.graph
    flops, uncounted = 0, set()
    for node in graph.node:
        found = _node_flops(node, shapes)
        if found is None:
            uncounted.add(node.op_type)
        else:
            flops += found
    return Cost(_parameters(graph), flops, tuple(sorted(uncounted)))


def _shapes(model: Any) -> dict[str, list[int]]:
    """The shape of every tensor at batch 1, from one run: shape inference gives up at the first computed reshape."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    names = [name for node in watched.graph.node for name in node.output if name and name not in known]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = Model(model.SerializeToString()).inputs
    shapes.update((name, list(array.shape)) for name, array in feed.items())
    found = session.run(None, feed)
    shapes.update(
        (node.name, list(np.shape(array))) for node, array in zip(session.get_outputs(), found, strict=True)
    )
    return shapes


def has_external_data(data: bytes) -> bool:
    """Whether the network keeps weights in further files, which a bundle's hash of this one would not cover."""
    model = onnx.load_from_string(data)
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


def _parameters(graph: Any) -> int:
    tensors = list(graph.initializer)
    for node in graph.node:
        tensors += [entry.t for entry in node.attribute if entry.name == "value" and entry.HasField("t")]
    return sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type in _FLOATS)


def _node_flops(node: Any, shapes: dict[str, list[int]]) -> int | None:
    """Operations of one node; None where that cannot be told."""
    if any(entry.HasField("g") for entry in node.attribute):
        return None
    if node.op_type in MOVES:
        return 0
    inputs = [shapes.get(name) for name in node.input if name]
    output = shapes.get(next((name for name in node.output if name), ""))
    if node.op_type in GATES:
        x, weights = inputs[:2]
        hidden = next((entry.i for entry in node.attribute if entry.name == "hidden_size"), 0)
        if not x or not weights or 0 in x:
            return None
        return 2 * GATES[node.op_type] * hidden * (x[-1] + hidden) * x[0] * x[1] * weights[0]
    if output is None or 0 in output:
        return None
    if node.op_type in ("MatMul", "Gemm", "Conv"):
        a, b = inputs[:2]
        if a is None or b is None:
            return None
        if node.op_type == "Conv":
            return 2 * math.prod(output) * math.prod(b[1:])
        turned = any(entry.name == "transA" and entry.i for entry in node.attribute)
        return 2 * math.prod(output) * (a[0] if turned else a[-1])
    return math.prod(output)
