"""From a function over torch tensors to a flat graph of pure operators, ready to be written as ONNX (`onnx_graph.py`).

The function is run once on example inputs while every operator that reaches torch's dispatcher is recorded, TorchScript
included. So sizes are fixed, what depends on no input becomes a constant, and a decision that depends on an input
cannot be recorded: it is refused here, not baked in.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch._decomp import core_aten_decompositions
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from export.onnx_operators import OPERATORS
from runtime.errors import Refused


def trace(what: str, function: Callable[..., Any], examples: Sequence[Any]) -> GraphModule:
    """The operators of `function`, without any that writes in place.

    Recorded twice: the first record keeps views and in-place writes as they are, the second, made from running the
    first, turns them into pure operators. What `OPERATORS` lacks is taken apart where torch knows how.

    Args:
        what: the network, for refusals.
        function: tensors to tensors; must not write to its inputs.
        examples: one tensor an argument; their sizes are the sizes of the graph.

    Raises:
        Refused: a decision depends on an input, state outside of `function` is written, or numbers are drawn at random.
    """
    known: Any = core_aten_decompositions()
    table = {op: how for op, how in known.items() if str(op) not in OPERATORS}
    with torch.no_grad(), _plain_kernels():
        try:
            recorded = make_fx(function)(*examples)
            graph = make_fx(functionalize(recorded), decomposition_table=table)(*examples)
        except Exception as error:  # torch raises RuntimeError, torch.jit.Error and families of its own
            raise _untraceable(what, error) from error
    graph.graph.eliminate_dead_code()
    for node in graph.graph.nodes:
        _check_node(what, node)
    return graph


def _plain_kernels() -> ExitStack:
    """No fused kernels and no TorchScript optimiser: only operators that have a written definition."""
    stack, jit = ExitStack(), cast(Any, torch.jit)
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # torch warns about flags of GPUs that it reads while it sets this one
    stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    stack.enter_context(jit.optimized_execution(False))
    return stack


def _check_node(what: str, node: torch.fx.Node) -> None:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return
    if torch.Tag.nondeterministic_seeded in node.target.tags:
        raise Refused(what, expected="a network whose output is decided by its inputs",
                      found=f"{node.target}, which draws random numbers",
                      what_to_do="export the mean action (act_inference, deterministic=True), not a sample")
    if node.target._schema.is_mutable:
        raise Refused(what, expected="operators that write to nothing but their result", found=str(node.target),
                      what_to_do="export the network to ONNX in its training code and give that file")


def _untraceable(what: str, error: Exception) -> Refused:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "functional tensor is not allowed" in str(error):
        return Refused(what, expected="hidden state in attributes of the module",
                       found="memory that is written in place and is no attribute of it",
                       what_to_do="export it with its state as inputs and outputs (ONNX)")
    return Refused(what, expected="a network whose steps do not depend on the values of its inputs",
                   found=f"{type(error).__name__}: {' '.join(lines[-4:])[-300:]}",
                   what_to_do="take branches on data out of `forward`, or export the network to ONNX in its training "
                   "code and give that file")
