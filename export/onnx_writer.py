"""Nodes and constants of an ONNX graph while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import Refused

Write = Callable[..., Any]
W = TypeVar("W", bound=Write)
OPSET = 17
IR_VERSION = 8
"""What ONNX Runtime 1.14 and TensorRT 10 both read, and the first with LayerNormalization."""
_TYPES = {
    torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE, torch.int64: TensorProto.INT64,
    torch.int32: TensorProto.INT32, torch.bool: TensorProto.BOOL,
}


@dataclass(frozen=True)
class Value:
    """A tensor of the graph while it is being written.

    Attributes:
        tensor: its value on the example inputs; its shape and type always.
        name: its name in the ONNX graph; None while it is the same whatever the inputs are, a constant.
    """

    tensor: torch.Tensor
    name: str | None


class GraphWriter:
    """Nodes and constants of one ONNX graph.

    Args:
        what: the network, for refusals.
        constants: tensors with a name of their own (parameters and buffers).
        ends: names of the graph's inputs and outputs.
    """

    def __init__(self, what: str, constants: Mapping[str, torch.Tensor], ends: Sequence[str]) -> None:
        self.what = what
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._taken = set(ends)
        self._known = {_identity(tensor): self.fresh(name) for name, tensor in constants.items()}
        self._reshapes: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.scope = ""

    def begin(self, scope: str) -> None:
        """Name what follows after this node of the recorded graph."""
        self.scope = scope

    def fresh(self, wish: str) -> str:
        """A name nothing else has."""
        name, number = wish, 1
        while name in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name

    def emit(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node with one output; returns the output's name."""
        return self.emit_many(op, inputs, 1, **attributes)[0]

    def emit_many(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        outputs = [self.fresh(self.scope or op.lower()) for _ in range(count)]
        name = self.fresh(f"{op}_{outputs[0]}")
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, **attributes))
        return outputs

    def constant(self, tensor: torch.Tensor, wish: str | None = None) -> str:
        """The name of an initializer with this value; a parameter keeps its own name."""
        key = _identity(tensor)
        name = self._known.get(key)
        if name is None:
            name = self.fresh(wish or f"{self.scope or 'constant'}_value")
        if name not in self.initializers:
            self._taken.add(name)
            values = np.ascontiguousarray(tensor.detach().cpu().numpy())
            self.initializers[name] = numpy_helper.from_array(values, name)
        return name

    def own_name(self, tensor: torch.Tensor) -> str | None:
        """The name of the parameter that this tensor is, if it is one."""
        return self._known.get(_identity(tensor))

    def whole_numbers(self, values: Sequence[int]) -> str:
        """An initializer of int64: axes, shapes, bounds."""
        name = "_".join(["whole", *map(str, values)])
        if name not in self.initializers:
            self._taken.add(name)
            self.initializers[name] = numpy_helper.from_array(np.array(list(values), np.int64), name)
        return name

    def name(self, value: Any, dtype: torch.dtype | None = None) -> str:
        """The name of a value, a tensor or a number in this graph, cast to `dtype` where that differs."""
        if not isinstance(value, Value):
            tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
            value = Value(tensor, None)
        if value.name is None:
            tensor = value.tensor if dtype is None else value.tensor.to(dtype)
            return self.constant(tensor)
        if dtype is None or value.tensor.dtype == dtype:
            return str(value.name)
        return self.emit("Cast", [value.name], to=onnx_type(self.what, dtype))

    def reshaped(self, name: str, found: Sequence[int], wanted: Sequence[int]) -> str:
        """The same numbers in another shape; a reshape of a reshape is one."""
        source, shape = self._reshapes.get(name, (name, tuple(found)))
        if shape == tuple(wanted):
            return source
        out = self.emit("Reshape", [source, self.whole_numbers(wanted)])
        self._reshapes[out] = source, shape
        return out

    def drop_unused(self, outputs: Sequence[str]) -> None:
        """Forget nodes and constants that no output needs."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = {name: tensor for name, tensor in self.initializers.items() if name in needed}


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.numel() == 0:
        return ("empty", id(tensor))
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype


class OperatorTable(dict[str, Write]):
    """Functions that write an operator, by its name in torch: "aten.add.Tensor"."""

    def add(self, write: Write, *names: str) -> None:
        """One function for these operators of aten."""
        self.update({f"aten.{name}": write for name in names})

    def writes(self, *names: str) -> Callable[[W], W]:
        """Decorates the function for these operators of aten."""

        def register(write: W) -> W:
            self.add(write, *names)
            return write

        return register


def onnx_type(what: str, dtype: torch.dtype) -> int:
    """The ONNX element type of a torch one.

    Raises:
        Refused: a type the runtime cannot use.
    """
    if dtype not in _TYPES:
        raise Refused(what, expected="tensors of float32, float64, int64, int32 or bool", found=str(dtype),
                      what_to_do="convert the network to float32 (`.float()`) and save it again")
    return _TYPES[dtype]
