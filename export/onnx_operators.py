"""What each torch operator becomes in ONNX (operator set 17): a table from its name to a function that writes it.

A function gets the writer, the operator's result on the example inputs (for shape and type) and its arguments, tensors
as `Value`; it returns the name of its output, or a list of names. Sizes are fixed, so every change of shape is one
Reshape to known numbers. Operators that are not here are taken apart by torch (`torch_graph.py`) or refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from export.onnx_writer import GraphWriter, Value, onnx_type
from runtime.errors import Refused

Write = Callable[..., Any]
OPERATORS: dict[str, Write] = {}
_END = 2**62
"""Slice ends at or beyond this mean the end of the axis; torch writes 2**63 - 1."""


def _writes(*names: str) -> Callable[[Write], Write]:
    def register(function: Write) -> Write:
        OPERATORS.update({f"aten.{name}": function for name in names})
        return function

    return register


# ---- one number in, one number out


def _unary(op: str, *names: str) -> None:
    OPERATORS.update({f"aten.{name}": lambda w, r, x: w.emit(op, [w.name(x, r.dtype)]) for name in names})


for _op, _name in {
    "Neg": "neg", "Abs": "abs", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "Sign": "sign", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Erf": "erf", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
    "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Not": "logical_not",
}.items():
    _unary(_op, f"{_name}.default")


@_writes("rsqrt.default")
def _rsqrt(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Reciprocal", [w.emit("Sqrt", [w.name(x, r.dtype)])])


@_writes("clone.default", "alias.default", "detach.default", "lift_fresh_copy.default", "contiguous.default")
def _same(w: GraphWriter, r: torch.Tensor, x: Value, **_: Any) -> str:
    return w.name(x)


@_writes("_to_copy.default")
def _convert(w: GraphWriter, r: torch.Tensor, x: Value, **_: Any) -> str:
    return w.name(x, r.dtype)


@_writes("copy.default")
def _copy(w: GraphWriter, r: torch.Tensor, onto: Value, source: Value, *_: Any) -> str:
    return _expanded(w, w.name(source, r.dtype), source.tensor.shape, r.shape)


# ---- activations


@_writes("elu.default")
def _elu(w: GraphWriter, r: torch.Tensor, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> str:
    name = w.name(x)
    if input_scale == 1:
        out = w.emit("Elu", [name], alpha=float(alpha))
        return out if scale == 1 else w.emit("Mul", [out, w.name(scale, r.dtype)])
    below = w.emit("Mul", [name, w.name(input_scale, r.dtype)])
    out = w.emit("Elu", [w.emit("Min", [below, w.name(0, r.dtype)])], alpha=float(alpha))
    out = w.emit("Add", [w.emit("Relu", [name]), out])
    return out if scale == 1 else w.emit("Mul", [out, w.name(scale, r.dtype)])


@_writes("leaky_relu.default")
def _leaky_relu(w: GraphWriter, r: torch.Tensor, x: Value, slope: float = 0.01) -> str:
    return w.emit("LeakyRelu", [w.name(x)], alpha=float(slope))


@_writes("silu.default")
def _silu(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Mul", [w.name(x), w.emit("Sigmoid", [w.name(x)])])


@_writes("gelu.default")
def _gelu(w: GraphWriter, r: torch.Tensor, x: Value, approximate: str = "none") -> str:
    name, half, one = w.name(x), w.name(0.5, r.dtype), w.name(1.0, r.dtype)
    if approximate == "none":
        inner = w.emit("Erf", [w.emit("Mul", [name, w.name(math.sqrt(0.5), r.dtype)])])
    else:
        cube = w.emit("Mul", [name, w.emit("Mul", [name, name])])
        inner = w.emit("Add", [name, w.emit("Mul", [cube, w.name(0.044715, r.dtype)])])
        inner = w.emit("Tanh", [w.emit("Mul", [inner, w.name(math.sqrt(2 / math.pi), r.dtype)])])
    return w.emit("Mul", [w.emit("Mul", [name, half]), w.emit("Add", [inner, one])])


@_writes("softplus.default")
def _softplus(w: GraphWriter, r: torch.Tensor, x: Value, beta: float = 1, threshold: float = 20) -> str:
    name, factor = w.name(x), w.name(beta, r.dtype)
    scaled = w.emit("Mul", [name, factor])
    soft = w.emit("Div", [w.emit("Softplus", [scaled]), factor])
    return w.emit("Where", [w.emit("Greater", [scaled, w.name(threshold, r.dtype)]), name, soft])


@_writes("mish.default")
def _mish(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Mul", [w.name(x), w.emit("Tanh", [w.emit("Softplus", [w.name(x)])])])


def _softmax(op: str, name: str) -> None:
    OPERATORS[f"aten.{name}"] = lambda w, r, x, dim, half: w.emit(op, [w.name(x, r.dtype)], axis=dim)


_softmax("Softmax", "_softmax.default")
_softmax("LogSoftmax", "_log_softmax.default")


@_writes("clamp.default", "clamp.Tensor", "hardtanh.default")
def _clamp(w: GraphWriter, r: torch.Tensor, x: Value, low: Any = None, high: Any = None) -> str:
    name = w.name(x, r.dtype)
    name = name if low is None else w.emit("Max", [name, w.name(low, r.dtype)])
    return name if high is None else w.emit("Min", [name, w.name(high, r.dtype)])


@_writes("clamp_min.default", "clamp_min.Tensor")
def _clamp_min(w: GraphWriter, r: torch.Tensor, x: Value, low: Any) -> str:
    return _clamp(w, r, x, low)


@_writes("clamp_max.default", "clamp_max.Tensor")
def _clamp_max(w: GraphWriter, r: torch.Tensor, x: Value, high: Any) -> str:
    return _clamp(w, r, x, None, high)


# ---- two tensors, or a tensor and a number


def _binary(op: str, *names: str) -> None:
    def write(w: GraphWriter, r: torch.Tensor, a: Any, b: Any) -> str:
        return w.emit(op, [w.name(a, r.dtype), w.name(b, r.dtype)])

    OPERATORS.update({f"aten.{name}": write for name in names})


_binary("Mul", "mul.Tensor", "mul.Scalar")
_binary("Div", "div.Tensor", "div.Scalar")
_binary("Pow", "pow.Tensor_Tensor", "pow.Tensor_Scalar", "pow.Scalar")
_binary("Max", "maximum.default")
_binary("Min", "minimum.default")
_binary("And", "logical_and.default", "bitwise_and.Tensor")
_binary("Or", "logical_or.default", "bitwise_or.Tensor")


def _scaled(w: GraphWriter, r: torch.Tensor, b: Any, alpha: float) -> str:
    name = w.name(b, r.dtype)
    return name if alpha == 1 else w.emit("Mul", [name, w.name(alpha, r.dtype)])


@_writes("add.Tensor", "add.Scalar")
def _add(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Add", [w.name(a, r.dtype), _scaled(w, r, b, alpha)])


@_writes("sub.Tensor", "sub.Scalar")
def _sub(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Sub", [w.name(a, r.dtype), _scaled(w, r, b, alpha)])


@_writes("rsub.Tensor", "rsub.Scalar")
def _rsub(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Sub", [w.name(b, r.dtype), _scaled(w, r, a, alpha)])


def _comparison(op: str, name: str, *, negated: bool = False) -> None:
    def write(w: GraphWriter, r: torch.Tensor, a: Value, b: Any) -> str:
        dtype = torch.result_type(a.tensor, b.tensor if isinstance(b, Value) else b)
        out = w.emit(op, [w.name(a, dtype), w.name(b, dtype)])
        return w.emit("Not", [out]) if negated else out

    OPERATORS.update({f"aten.{name}.{kind}": write for kind in ("Tensor", "Scalar")})


_comparison("Equal", "eq")
_comparison("Equal", "ne", negated=True)
_comparison("Less", "lt")
_comparison("LessOrEqual", "le")
_comparison("Greater", "gt")
_comparison("GreaterOrEqual", "ge")


@_writes("where.self")
def _where(w: GraphWriter, r: torch.Tensor, condition: Value, a: Any, b: Any) -> str:
    return w.emit("Where", [w.name(condition, torch.bool), w.name(a, r.dtype), w.name(b, r.dtype)])


# ---- matrices


@_writes("addmm.default")
def _addmm(
    w: GraphWriter, r: torch.Tensor, bias: Value, x: Value, weight: Value, beta: float = 1, alpha: float = 1
) -> str:
    transposed = weight.tensor.t()
    if weight.name is None and w.own_name(transposed) is not None:  # a Linear layer: its weight under its own name
        second, turn = w.constant(transposed), 1
    else:
        second, turn = w.name(weight), 0
    return w.emit("Gemm", [w.name(x), second, w.name(bias)], transB=turn, beta=float(beta), alpha=float(alpha))


@_writes("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default")
def _matmul(w: GraphWriter, r: torch.Tensor, a: Value, b: Value) -> str:
    return w.emit("MatMul", [w.name(a), w.name(b)])


@_writes("convolution.default")
def _convolution(
    w: GraphWriter, r: torch.Tensor, x: Value, weight: Value, bias: Value | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> str:
    if transposed:
        raise Refused(w.what, expected="convolutions", found="a transposed one",
                      what_to_do="export the network to ONNX in its training code and give that file")
    inputs = [w.name(x), w.name(weight), *([w.name(bias)] if bias is not None else [])]
    return w.emit("Conv", inputs, strides=list(stride), pads=[*padding, *padding], dilations=list(dilation),
                  group=groups)


@_writes("native_layer_norm.default")
def _layer_norm(
    w: GraphWriter, r: Sequence[torch.Tensor], x: Value, shape: Sequence[int], weight: Value | None,
    bias: Value | None, eps: float,
) -> list[str]:
    dtype = x.tensor.dtype
    scale = w.name(weight) if weight is not None else w.constant(torch.ones(list(shape), dtype=dtype))
    inputs = [w.name(x), scale, *([w.name(bias)] if bias is not None else [])]
    axis = x.tensor.ndim - len(shape)
    return w.emit_many("LayerNormalization", inputs, 3, axis=axis, epsilon=float(eps))


# ---- sums and extremes


def _axes(x: Value, dims: int | Sequence[int] | None) -> list[int]:
    given = [dims] if isinstance(dims, int) else list(dims or [])
    return [d % max(x.tensor.ndim, 1) for d in given] or list(range(x.tensor.ndim))


@_writes("sum.dim_IntList", "sum.default")
def _sum(w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> str:
    return w.emit("ReduceSum", [w.name(x, r.dtype), w.whole_numbers(_axes(x, dims))], keepdims=int(keepdim))


def _reduction(op: str, *names: str) -> None:
    def write(
        w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, keepdim: bool = False, **_: Any
    ) -> str:
        return w.emit(op, [w.name(x, r.dtype)], axes=_axes(x, dims), keepdims=int(keepdim))

    OPERATORS.update({f"aten.{name}": write for name in names})


_reduction("ReduceMean", "mean.dim", "mean.default")
_reduction("ReduceMax", "amax.default")
_reduction("ReduceMin", "amin.default")


def _place_of_extreme(op: str, name: str) -> None:
    def write(w: GraphWriter, r: torch.Tensor, x: Value, dim: int | None = None, keepdim: bool = False) -> str:
        found = w.name(x) if dim is not None else w.reshaped(w.name(x), x.tensor.shape, [x.tensor.numel()])
        return w.emit(op, [found], axis=dim or 0, keepdims=int(keepdim and dim is not None))

    OPERATORS[f"aten.{name}"] = write


_place_of_extreme("ArgMax", "argmax.default")
_place_of_extreme("ArgMin", "argmin.default")


# ---- shapes


@_writes("view.default", "_unsafe_view.default", "reshape.default", "unsqueeze.default", "squeeze.default",
         "squeeze.dim", "squeeze.dims", "flatten.using_ints")
def _reshape(w: GraphWriter, r: torch.Tensor, x: Value, *_: Any) -> str:
    return w.reshaped(w.name(x), x.tensor.shape, r.shape)


@_writes("permute.default")
def _permute(w: GraphWriter, r: torch.Tensor, x: Value, dims: Sequence[int]) -> str:
    return w.emit("Transpose", [w.name(x)], perm=[d % x.tensor.ndim for d in dims])


@_writes("transpose.int")
def _transpose(w: GraphWriter, r: torch.Tensor, x: Value, first: int, second: int) -> str:
    order = list(range(x.tensor.ndim))
    order[first], order[second] = order[second], order[first]
    return w.emit("Transpose", [w.name(x)], perm=order)


@_writes("t.default")
def _t(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.name(x) if x.tensor.ndim < 2 else w.emit("Transpose", [w.name(x)], perm=[1, 0])


@_writes("expand.default")
def _expand(w: GraphWriter, r: torch.Tensor, x: Value, size: Sequence[int], **_: Any) -> str:
    return _expanded(w, w.name(x), x.tensor.shape, r.shape)


def _expanded(w: GraphWriter, name: str, found: Sequence[int], wanted: Sequence[int]) -> str:
    return name if list(found) == list(wanted) else w.emit("Expand", [name, w.whole_numbers(wanted)])


@_writes("repeat.default")
def _repeat(w: GraphWriter, r: torch.Tensor, x: Value, repeats: Sequence[int]) -> str:
    shape = [1] * (len(repeats) - x.tensor.ndim) + list(x.tensor.shape)
    return w.emit("Tile", [w.reshaped(w.name(x), x.tensor.shape, shape), w.whole_numbers(repeats)])


def _sliced(w: GraphWriter, name: str, axis: int, start: int, end: int, step: int = 1) -> str:
    return w.emit("Slice", [name, *(w.whole_numbers([n]) for n in (start, end, axis, step))])


def _bounds(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    first, last, _ = slice(start, None if end is None or end >= _END else end).indices(size)
    return first, max(first, last)


@_writes("slice.Tensor")
def _slice(
    w: GraphWriter, r: torch.Tensor, x: Value, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> str:
    if r.shape == x.tensor.shape:
        return w.name(x)
    axis = dim % x.tensor.ndim
    return _sliced(w, w.name(x), axis, *_bounds(x.tensor.shape[axis], start, end), step)


@_writes("select.int")
def _select(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: int) -> str:
    return _row(w, w.name(x), x.tensor.shape, dim % x.tensor.ndim, index)


def _row(w: GraphWriter, name: str, shape: Sequence[int], axis: int, index: int) -> str:
    one = [1 if i == axis else size for i, size in enumerate(shape)]
    if shape[axis] > 1:
        index %= shape[axis]
        name = _sliced(w, name, axis, index, index + 1)
    return w.reshaped(name, one, one[:axis] + one[axis + 1 :])


@_writes("unbind.int")
def _unbind(w: GraphWriter, r: Sequence[torch.Tensor], x: Value, dim: int = 0) -> list[str]:
    axis = dim % x.tensor.ndim
    return [_row(w, w.name(x), x.tensor.shape, axis, i) for i in range(x.tensor.shape[axis])]


@_writes("split.Tensor", "unsafe_split.Tensor", "split_with_sizes.default", "unsafe_chunk.default", "chunk.default")
def _split(w: GraphWriter, r: Sequence[torch.Tensor], x: Value, _: Any, dim: int = 0) -> list[str]:
    if len(r) == 1:
        return [w.name(x)]
    sizes = w.whole_numbers([part.shape[dim] for part in r])
    return w.emit_many("Split", [w.name(x), sizes], len(r), axis=dim % x.tensor.ndim)


@_writes("cat.default")
def _cat(w: GraphWriter, r: torch.Tensor, parts: Sequence[Value], dim: int = 0) -> str:
    names = [w.name(part, r.dtype) for part in parts if part.tensor.numel() or part.tensor.ndim == r.ndim]
    return names[0] if len(names) == 1 else w.emit("Concat", names, axis=dim % r.ndim)


@_writes("stack.default")
def _stack(w: GraphWriter, r: torch.Tensor, parts: Sequence[Value], dim: int = 0) -> str:
    shape = list(r.shape)
    shape[dim % r.ndim] = 1
    names = [w.reshaped(w.name(part, r.dtype), part.tensor.shape, shape) for part in parts]
    return names[0] if len(names) == 1 else w.emit("Concat", names, axis=dim % r.ndim)


@_writes("slice_scatter.default")
def _slice_scatter(
    w: GraphWriter, r: torch.Tensor, x: Value, source: Value, dim: int = 0, start: int | None = None,
    end: int | None = None, step: int = 1,
) -> str:
    axis = dim % x.tensor.ndim
    size = x.tensor.shape[axis]
    first, last = _bounds(size, start, end)
    if step != 1:
        raise Refused(w.what, expected="hidden state written in one piece", found=f"every {step}th entry of it",
                      what_to_do="export the network to ONNX in its training code and give that file")
    middle = w.name(source, r.dtype)
    if (first, last) == (0, size):
        return middle
    before = [_sliced(w, w.name(x), axis, 0, first)] if first else []
    after = [_sliced(w, w.name(x), axis, last, size)] if last < size else []
    return w.emit("Concat", [*before, middle, *after], axis=axis)


@_writes("select_scatter.default")
def _select_scatter(w: GraphWriter, r: torch.Tensor, x: Value, source: Value, dim: int, index: int) -> str:
    axis = dim % x.tensor.ndim
    index %= x.tensor.shape[axis]
    piece = source.tensor.unsqueeze(axis)
    row = Value(piece, w.reshaped(w.name(source), source.tensor.shape, piece.shape))
    return _slice_scatter(w, r, x, row, axis, index, index + 1)


# ---- picking by index


@_writes("index_select.default")
def _index_select(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: Value) -> str:
    return w.emit("Gather", [w.name(x), w.name(index, torch.int64)], axis=dim % max(x.tensor.ndim, 1))


@_writes("embedding.default")
def _embedding(w: GraphWriter, r: torch.Tensor, weight: Value, index: Value, *_: Any) -> str:
    return w.emit("Gather", [w.name(weight), w.name(index, torch.int64)], axis=0)


@_writes("gather.default")
def _gather(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: Value, **_: Any) -> str:
    return w.emit("GatherElements", [w.name(x), w.name(index, torch.int64)], axis=dim % x.tensor.ndim)


@_writes("index.Tensor")
def _index(w: GraphWriter, r: torch.Tensor, x: Value, indices: Sequence[Value | None]) -> str:
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    (axis, index), *more = given
    if more or index.tensor.dtype == torch.bool:
        raise Refused(w.what, expected="picking by one list of whole numbers", found="several, or by true and false",
                      what_to_do="export the network to ONNX in its training code and give that file")
    return w.emit("Gather", [w.name(x), w.name(index, torch.int64)], axis=axis)


@_writes("constant_pad_nd.default")
def _pad(w: GraphWriter, r: torch.Tensor, x: Value, pads: Sequence[int], value: float = 0) -> str:
    before = [0] * x.tensor.ndim
    after = [0] * x.tensor.ndim
    for i in range(len(pads) // 2):
        before[-1 - i], after[-1 - i] = pads[2 * i], pads[2 * i + 1]
    return w.emit("Pad", [w.name(x), w.whole_numbers([*before, *after]), w.name(value, r.dtype)])


@_writes("zeros_like.default", "ones_like.default", "full_like.default", "new_zeros.default", "new_ones.default",
         "new_full.default")
def _filled(w: GraphWriter, r: torch.Tensor, *_: Any, **__: Any) -> str:
    onnx_type(w.what, r.dtype)
    return w.constant(r)
