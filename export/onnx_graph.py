"""A recorded torch graph (`torch_graph.py`) as an ONNX model: fixed sizes, float weights under their own names."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper
from torch.fx import GraphModule, Node

from export.onnx_operators import OPERATORS
from export.onnx_writer import IR_VERSION, OPSET, GraphWriter, Value, onnx_type
from runtime.errors import Refused


def write_onnx(
    what: str, graph: GraphModule, examples: Mapping[str, torch.Tensor], outputs: Sequence[str],
    constants: Mapping[str, torch.Tensor],
) -> onnx.ModelProto:
    """An ONNX model of a recorded graph.

    Args:
        what: the network, for refusals.
        examples: name and example of each input, in the order of the graph's arguments.
        outputs: names of what the graph returns, in order.
        constants: parameters and buffers, which keep their names.

    Raises:
        Refused: an operator that is not known here.
    """
    writer = GraphWriter(what, constants, (*examples, *outputs))
    returned = _write_nodes(writer, graph, examples)
    named = _name_outputs(writer, returned, outputs, set(examples))
    writer.drop_unused(outputs)
    model = helper.make_model(
        helper.make_graph(
            writer.nodes, "controller",
            [_info(what, name, tensor) for name, tensor in examples.items()],
            [_info(what, name, value.tensor) for name, value in named.items()],
            list(writer.initializers.values()),
        ),
        producer_name="exoactor", opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model.ir_version = IR_VERSION
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises ValidationError and InferenceError, without a common base
        raise Refused(what, expected="operators that fit together in ONNX", found=str(error).strip()[:300],
                      what_to_do="export the network to ONNX in its training code and give that file") from error
    return model


def _info(what: str, name: str, tensor: torch.Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_type(what, tensor.dtype), list(tensor.shape))


def _write_nodes(writer: GraphWriter, graph: GraphModule, examples: Mapping[str, torch.Tensor]) -> list[Value]:
    """Every node in order; what the graph returns."""
    values: dict[Node, Any] = {}
    inputs = iter(examples.items())
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            name, tensor = next(inputs)
            values[node] = Value(tensor, name)
        elif node.op == "get_attr":
            values[node] = Value(_attribute(graph, str(node.target)), None)
        elif node.op == "call_function":
            writer.begin(node.name)
            values[node] = _write_node(writer, node, values)
        elif node.op == "output":
            returned = torch.fx.node.map_arg(node.args[0], lambda n: values[n])
            return [returned] if isinstance(returned, Value) else list(returned)
    raise Refused(writer.what, expected="a network with outputs", found="none", what_to_do="return the action")


def _attribute(graph: GraphModule, path: str) -> torch.Tensor:
    found: Any = graph
    for part in path.split("."):
        found = getattr(found, part)
    return torch.as_tensor(found)


def _write_node(writer: GraphWriter, node: Node, values: dict[Node, Any]) -> Any:
    arguments: Any = torch.fx.node.map_arg(node.args, lambda n: values[n])
    options: Any = torch.fx.node.map_arg(node.kwargs, lambda n: values[n])
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    operation: Any = node.target
    with torch.no_grad():
        result = operation(*_tensors(arguments), **_tensors(options))
    if not any(value.name for value in _all_values((arguments, options))):
        return _values(result, None)
    write = OPERATORS.get(str(node.target))
    if write is None:
        raise Refused(writer.what, expected="operators that this exporter can write as ONNX", found=str(operation),
                      what_to_do="export the network to ONNX in its training code and give that file")
    return _values(result, write(writer, result, *arguments, **options))


def _all_values(found: Any) -> list[Value]:
    if isinstance(found, Value):
        return [found]
    if isinstance(found, dict):
        return _all_values(list(found.values()))
    return [value for part in found for value in _all_values(part)] if isinstance(found, list | tuple) else []


def _tensors(found: Any) -> Any:
    """Arguments as torch takes them."""
    if isinstance(found, Value):
        return found.tensor
    if isinstance(found, dict):
        return {key: _tensors(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_tensors(part) for part in found]
    return found


def _values(result: Any, names: Any) -> Any:
    """What an operator returned, with its names in the ONNX graph; None for a constant."""
    if isinstance(result, torch.Tensor):
        return Value(result, names)
    every = names if names is not None else [None] * len(result)
    return tuple(Value(tensor, name) for tensor, name in zip(result, every, strict=True))


def _name_outputs(
    writer: GraphWriter, returned: list[Value], outputs: Sequence[str], inputs: set[str]
) -> dict[str, Value]:
    """Give each returned value its output name, in the node that makes it where that is possible."""
    writer.begin("")
    renamed: dict[str, str] = {}
    for value, name in zip(returned, outputs, strict=True):
        source = writer.name(value)
        if source in renamed or source in inputs or source in writer.initializers:
            writer.nodes.append(helper.make_node("Identity", [source], [name], name=writer.fresh(f"Identity_{name}")))
        else:
            renamed[source] = name
    for node in writer.nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
    return dict(zip(outputs, returned, strict=True))
