"""Torch operators that compute, as ONNX operators (operator set 17); `onnx_operators.py` says how to read the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from export.onnx_writer import GraphWriter, OperatorTable, Value, onnx_type
from runtime.errors import Refused

MATHS = OperatorTable()


# ---- one number in, one number out


def _unary(op: str, name: str) -> None:
    MATHS.add(lambda w, r, x: w.emit(op, [w.name(x, r.dtype)]), name)


for _op, _name in {
    "Neg": "neg", "Abs": "abs", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "Sign": "sign", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Erf": "erf", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
    "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Not": "logical_not",
}.items():
    _unary(_op, f"{_name}.default")


@MATHS.writes("rsqrt.default")
def _rsqrt(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Reciprocal", [w.emit("Sqrt", [w.name(x, r.dtype)])])


@MATHS.writes("expm1.default")
def _expm1(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Sub", [w.emit("Exp", [w.name(x, r.dtype)]), w.name(1, r.dtype)])


@MATHS.writes("log1p.default")
def _log1p(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Log", [w.emit("Add", [w.name(x, r.dtype), w.name(1, r.dtype)])])


# ---- activations


@MATHS.writes("elu.default")
def _elu(w: GraphWriter, r: torch.Tensor, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> str:
    name = w.name(x)
    if input_scale == 1:
        out = w.emit("Elu", [name], alpha=float(alpha))
        return out if scale == 1 else w.emit("Mul", [out, w.name(scale, r.dtype)])
    below = w.emit("Mul", [name, w.name(input_scale, r.dtype)])
    out = w.emit("Elu", [w.emit("Min", [below, w.name(0, r.dtype)])], alpha=float(alpha))
    out = w.emit("Add", [w.emit("Relu", [name]), out])
    return out if scale == 1 else w.emit("Mul", [out, w.name(scale, r.dtype)])


@MATHS.writes("celu.default")
def _celu(w: GraphWriter, r: torch.Tensor, x: Value, alpha: float = 1.0) -> str:
    return w.emit("Celu", [w.name(x)], alpha=float(alpha))


@MATHS.writes("leaky_relu.default")
def _leaky_relu(w: GraphWriter, r: torch.Tensor, x: Value, slope: float = 0.01) -> str:
    return w.emit("LeakyRelu", [w.name(x)], alpha=float(slope))


@MATHS.writes("silu.default")
def _silu(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Mul", [w.name(x), w.emit("Sigmoid", [w.name(x)])])


@MATHS.writes("gelu.default")
def _gelu(w: GraphWriter, r: torch.Tensor, x: Value, approximate: str = "none") -> str:
    name, half, one = w.name(x), w.name(0.5, r.dtype), w.name(1.0, r.dtype)
    if approximate == "none":
        inner = w.emit("Erf", [w.emit("Mul", [name, w.name(math.sqrt(0.5), r.dtype)])])
    else:
        cube = w.emit("Mul", [name, w.emit("Mul", [name, name])])
        inner = w.emit("Add", [name, w.emit("Mul", [cube, w.name(0.044715, r.dtype)])])
        inner = w.emit("Tanh", [w.emit("Mul", [inner, w.name(math.sqrt(2 / math.pi), r.dtype)])])
    return w.emit("Mul", [w.emit("Mul", [name, half]), w.emit("Add", [inner, one])])


@MATHS.writes("softplus.default")
def _softplus(w: GraphWriter, r: torch.Tensor, x: Value, beta: float = 1, threshold: float = 20) -> str:
    name, factor = w.name(x), w.name(beta, r.dtype)
    scaled = w.emit("Mul", [name, factor])
    soft = w.emit("Div", [w.emit("Softplus", [scaled]), factor])
    return w.emit("Where", [w.emit("Greater", [scaled, w.name(threshold, r.dtype)]), name, soft])


@MATHS.writes("mish.default")
def _mish(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.emit("Mul", [w.name(x), w.emit("Tanh", [w.emit("Softplus", [w.name(x)])])])


def _softmax(op: str, name: str) -> None:
    MATHS.add(lambda w, r, x, dim, half: w.emit(op, [w.name(x, r.dtype)], axis=dim), name)


_softmax("Softmax", "_softmax.default")
_softmax("LogSoftmax", "_log_softmax.default")


@MATHS.writes("clamp.default", "clamp.Tensor", "hardtanh.default")
def _clamp(w: GraphWriter, r: torch.Tensor, x: Value, low: Any = None, high: Any = None) -> str:
    name = w.name(x, r.dtype)
    name = name if low is None else w.emit("Max", [name, w.name(low, r.dtype)])
    return name if high is None else w.emit("Min", [name, w.name(high, r.dtype)])


@MATHS.writes("clamp_min.default", "clamp_min.Tensor")
def _clamp_min(w: GraphWriter, r: torch.Tensor, x: Value, low: Any) -> str:
    return _clamp(w, r, x, low)


@MATHS.writes("clamp_max.default", "clamp_max.Tensor")
def _clamp_max(w: GraphWriter, r: torch.Tensor, x: Value, high: Any) -> str:
    return _clamp(w, r, x, None, high)


# ---- two tensors, or a tensor and a number


def _binary(op: str, *names: str) -> None:
    def write(w: GraphWriter, r: torch.Tensor, a: Any, b: Any) -> str:
        return w.emit(op, [w.name(a, r.dtype), w.name(b, r.dtype)])

    MATHS.add(write, *names)


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


@MATHS.writes("add.Tensor", "add.Scalar")
def _add(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Add", [w.name(a, r.dtype), _scaled(w, r, b, alpha)])


@MATHS.writes("sub.Tensor", "sub.Scalar")
def _sub(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Sub", [w.name(a, r.dtype), _scaled(w, r, b, alpha)])


@MATHS.writes("rsub.Tensor", "rsub.Scalar")
def _rsub(w: GraphWriter, r: torch.Tensor, a: Any, b: Any, alpha: float = 1) -> str:
    return w.emit("Sub", [w.name(b, r.dtype), _scaled(w, r, a, alpha)])


def _comparison(op: str, name: str, *, negated: bool = False) -> None:
    def write(w: GraphWriter, r: torch.Tensor, a: Value, b: Any) -> str:
        dtype = torch.result_type(a.tensor, b.tensor if isinstance(b, Value) else b)
        out = w.emit(op, [w.name(a, dtype), w.name(b, dtype)])
        return w.emit("Not", [out]) if negated else out

    MATHS.add(write, f"{name}.Tensor", f"{name}.Scalar")


_comparison("Equal", "eq")
_comparison("Equal", "ne", negated=True)
_comparison("Less", "lt")
_comparison("LessOrEqual", "le")
_comparison("Greater", "gt")
_comparison("GreaterOrEqual", "ge")


@MATHS.writes("where.self")
def _where(w: GraphWriter, r: torch.Tensor, condition: Value, a: Any, b: Any) -> str:
    return w.emit("Where", [w.name(condition, torch.bool), w.name(a, r.dtype), w.name(b, r.dtype)])


# ---- matrices


@MATHS.writes("addmm.default")
def _addmm(
    w: GraphWriter, r: torch.Tensor, bias: Value, x: Value, weight: Value, beta: float = 1, alpha: float = 1
) -> str:
    transposed = weight.tensor.t()
    if weight.name is None and w.own_name(transposed) is not None:  # a Linear layer: its weight under its own name
        second, turn = w.constant(transposed), 1
    else:
        second, turn = w.name(weight), 0
    return w.emit("Gemm", [w.name(x), second, w.name(bias)], transB=turn, beta=float(beta), alpha=float(alpha))


@MATHS.writes("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default")
def _matmul(w: GraphWriter, r: torch.Tensor, a: Value, b: Value) -> str:
    return w.emit("MatMul", [w.name(a), w.name(b)])


@MATHS.writes("convolution.default")
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


@MATHS.writes("native_layer_norm.default")
def _layer_norm(
    w: GraphWriter, r: Sequence[torch.Tensor], x: Value, shape: Sequence[int], weight: Value | None,
    bias: Value | None, eps: float,
) -> list[str]:
    dtype = x.tensor.dtype
    scale = w.name(weight) if weight is not None else w.constant(torch.ones(list(shape), dtype=dtype))
    inputs = [w.name(x), scale, *([w.name(bias)] if bias is not None else [])]
    axis = x.tensor.ndim - len(shape)
    return w.emit_many("LayerNormalization", inputs, 3, axis=axis, epsilon=float(eps))


@MATHS.writes("native_batch_norm.default")
def _batch_norm(
    w: GraphWriter, r: Sequence[torch.Tensor], x: Value, weight: Value | None, bias: Value | None, mean: Value,
    variance: Value, training: bool, momentum: float, eps: float,
) -> list[str]:
    if training:
        raise Refused(w.what, expected="batch norm that uses what it has learned", found="one in training mode",
                      what_to_do="call .eval() before the network is saved")
    size = [x.tensor.shape[1]]
    scale = w.name(weight) if weight is not None else w.constant(torch.ones(size))
    shift = w.name(bias) if bias is not None else w.constant(torch.zeros(size))
    out = w.emit("BatchNormalization", [w.name(x), scale, shift, w.name(mean), w.name(variance)], epsilon=float(eps))
    return [out, *(w.constant(part) for part in r[1:])]


# ---- sums and extremes


def _axes(x: Value, dims: int | Sequence[int] | None) -> list[int]:
    given = [dims] if isinstance(dims, int) else list(dims or [])
    return [d % max(x.tensor.ndim, 1) for d in given] or list(range(x.tensor.ndim))


@MATHS.writes("sum.dim_IntList", "sum.default")
def _sum(w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> str:
    return w.emit("ReduceSum", [w.name(x, r.dtype), w.whole_numbers(_axes(x, dims))], keepdims=int(keepdim))


def _reduction(op: str, *names: str) -> None:
    def write(
        w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, keepdim: bool = False, **_: Any
    ) -> str:
        return w.emit(op, [w.name(x, r.dtype)], axes=_axes(x, dims), keepdims=int(keepdim))

    MATHS.add(write, *names)


_reduction("ReduceMean", "mean.dim", "mean.default")
_reduction("ReduceMax", "amax.default")
_reduction("ReduceMin", "amin.default")


@MATHS.writes("any.dim", "any.dims", "any.default")
def _any(w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, keepdim: bool = False) -> str:
    ones = w.emit("Cast", [w.name(x, torch.bool)], to=onnx_type(w.what, torch.float32))
    found = w.emit("ReduceMax", [ones], axes=_axes(x, dims), keepdims=int(keepdim))
    return w.emit("Cast", [found], to=onnx_type(w.what, torch.bool))


@MATHS.writes("linalg_vector_norm.default")
def _norm(
    w: GraphWriter, r: torch.Tensor, x: Value, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> str:
    if order not in (1, 2):
        raise Refused(w.what, expected="norms of order 1 or 2", found=f"{order}",
                      what_to_do="export the network to ONNX in its training code and give that file")
    return w.emit(f"ReduceL{int(order)}", [w.name(x, r.dtype)], axes=_axes(x, dims), keepdims=int(keepdim))


@MATHS.writes("var.correction")
def _var(
    w: GraphWriter, r: torch.Tensor, x: Value, dims: Any = None, *, correction: float = 1, keepdim: bool = False
) -> str:
    axes = _axes(x, dims)
    count = math.prod(x.tensor.shape[axis] for axis in axes) - correction
    away = w.emit("Sub", [w.name(x), w.emit("ReduceMean", [w.name(x)], axes=axes, keepdims=1)])
    total = w.emit("ReduceSum", [w.emit("Mul", [away, away]), w.whole_numbers(axes)], keepdims=int(keepdim))
    return w.emit("Div", [total, w.name(count, r.dtype)])


def _place_of_extreme(op: str, name: str) -> None:
    def write(w: GraphWriter, r: torch.Tensor, x: Value, dim: int | None = None, keepdim: bool = False) -> str:
        found = w.name(x) if dim is not None else w.reshaped(w.name(x), x.tensor.shape, [x.tensor.numel()])
        return w.emit(op, [found], axis=dim or 0, keepdims=int(keepdim and dim is not None))

    MATHS.add(write, name)


_place_of_extreme("ArgMax", "argmax.default")
_place_of_extreme("ArgMin", "argmin.default")
