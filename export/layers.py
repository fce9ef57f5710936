"""Where two computations of a network part: its intermediate tensors, compared in the order they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from export.evaluator import Evaluator
from runtime.errors import Refused

Array = npt.NDArray[Any]
Opener = Callable[[bytes], Evaluator]


def with_fixed_sizes(onnx: bytes) -> bytes:
    """The network with every symbolic input dimension set to 1, as the runtime runs it."""
    from onnx import load_model_from_string

    model = load_model_from_string(onnx)
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.WhichOneof("value") != "dim_value" or dimension.dim_value <= 0:
                dimension.dim_value = 1
    return bytes(model.SerializeToString())


def in_half_precision(onnx: bytes) -> bytes:
    """The network computing in FP16, inputs and outputs still FP32 (ONNX Runtime's own converter)."""
    from onnx import load_model_from_string
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return bytes(convert_float_to_float16(load_model_from_string(onnx), keep_io_types=True).SerializeToString())


def exposed(onnx: bytes) -> bytes:
    """The network with every intermediate float tensor as a further output."""
    from onnx import TensorProto, load_model_from_string, shape_inference

    model = load_model_from_string(onnx)
    known = {value.name: value for value in shape_inference.infer_shapes(model).graph.value_info}
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            value = known.get(name)
            if name not in outputs and value is not None and value.type.tensor_type.elem_type == TensorProto.FLOAT:
                model.graph.output.append(value)
    return bytes(model.SerializeToString())


def first_differing_layer(
    onnx: bytes, reference: Opener, other: Opener, feeds: Mapping[str, Array], tolerance: float, *,
    relative: bool = True,
) -> dict[str, Any] | None:
    """The first tensor, in the order of the network's nodes, that differs by more than the tolerance.

    Exposing a tensor keeps an optimiser from fusing it away, so a difference that fusion makes may vanish: None then.

    Args:
        reference, other: what computes the network with its tensors exposed; they are matched by name.
        feeds: one tick's inputs, hidden state included.
        tolerance: absolute; if `relative`, for values up to 1, and above relative to them.
    """
    from onnx import load_model_from_string

    shown = exposed(onnx)
    try:
        expected, found = reference(shown).compute(feeds), other(shown).compute(feeds)
    except Refused:
        return None
    for node in load_model_from_string(shown).graph.node:
        for name in node.output:
            if name not in expected or name not in found:
                continue
            a, b = np.asarray(expected[name], np.float64), np.asarray(found[name], np.float64)
            if a.shape != b.shape:
                return {"tensor": name, "operator": node.op_type, "max_error": None, "shapes": [a.shape, b.shape]}
            error = np.abs(a - b)
            if error.size and not (error / np.maximum(np.abs(a), 1) if relative else error).max() <= tolerance:
                worst = float(error.max())
                return {"tensor": name, "operator": node.op_type, "max_error": worst if np.isfinite(worst) else None}
    return None
