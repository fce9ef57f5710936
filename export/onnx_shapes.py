"""Torch operators that move numbers about, as ONNX operators; sizes are fixed, so a change of shape is one Reshape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from export.onnx_writer import GraphWriter, OperatorTable, Value, onnx_type
from runtime.errors import Refused

SHAPES = OperatorTable()
_END = 2**62
"""Slice ends at or beyond this mean the end of the axis; torch writes 2**63 - 1."""


# ---- the same numbers


@SHAPES.writes("clone.default", "alias.default", "detach.default", "lift_fresh_copy.default", "contiguous.default")
def _same(w: GraphWriter, r: torch.Tensor, x: Value, **_: Any) -> str:
    return w.name(x)


@SHAPES.writes("_to_copy.default")
def _convert(w: GraphWriter, r: torch.Tensor, x: Value, **_: Any) -> str:
    return w.name(x, r.dtype)


@SHAPES.writes("copy.default")
def _copy(w: GraphWriter, r: torch.Tensor, onto: Value, source: Value, *_: Any) -> str:
    return _expanded(w, w.name(source, r.dtype), source.tensor.shape, r.shape)


# ---- shapes


@SHAPES.writes("view.default", "_unsafe_view.default", "reshape.default", "unsqueeze.default", "squeeze.default",
         "squeeze.dim", "squeeze.dims", "flatten.using_ints")
def _reshape(w: GraphWriter, r: torch.Tensor, x: Value, *_: Any) -> str:
    return w.reshaped(w.name(x), x.tensor.shape, r.shape)


@SHAPES.writes("permute.default")
def _permute(w: GraphWriter, r: torch.Tensor, x: Value, dims: Sequence[int]) -> str:
    return w.emit("Transpose", [w.name(x)], perm=[d % x.tensor.ndim for d in dims])


@SHAPES.writes("transpose.int")
def _transpose(w: GraphWriter, r: torch.Tensor, x: Value, first: int, second: int) -> str:
    order = list(range(x.tensor.ndim))
    order[first], order[second] = order[second], order[first]
    return w.emit("Transpose", [w.name(x)], perm=order)


@SHAPES.writes("t.default")
def _t(w: GraphWriter, r: torch.Tensor, x: Value) -> str:
    return w.name(x) if x.tensor.ndim < 2 else w.emit("Transpose", [w.name(x)], perm=[1, 0])


@SHAPES.writes("expand.default")
def _expand(w: GraphWriter, r: torch.Tensor, x: Value, size: Sequence[int], **_: Any) -> str:
    return _expanded(w, w.name(x), x.tensor.shape, r.shape)


def _expanded(w: GraphWriter, name: str, found: Sequence[int], wanted: Sequence[int]) -> str:
    return name if list(found) == list(wanted) else w.emit("Expand", [name, w.whole_numbers(wanted)])


@SHAPES.writes("repeat.default")
def _repeat(w: GraphWriter, r: torch.Tensor, x: Value, repeats: Sequence[int]) -> str:
    shape = [1] * (len(repeats) - x.tensor.ndim) + list(x.tensor.shape)
    return w.emit("Tile", [w.reshaped(w.name(x), x.tensor.shape, shape), w.whole_numbers(repeats)])


def _sliced(w: GraphWriter, name: str, axis: int, start: int, end: int, step: int = 1) -> str:
    return w.emit("Slice", [name, *(w.whole_numbers([n]) for n in (start, end, axis, step))])


def _bounds(size: int, start: int | None, end: int | None) -> tuple[int, int]:
    first, last, _ = slice(start, None if end is None or end >= _END else end).indices(size)
    return first, max(first, last)


@SHAPES.writes("slice.Tensor")
def _slice(
    w: GraphWriter, r: torch.Tensor, x: Value, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> str:
    if r.shape == x.tensor.shape:
        return w.name(x)
    axis = dim % x.tensor.ndim
    return _sliced(w, w.name(x), axis, *_bounds(x.tensor.shape[axis], start, end), step)


@SHAPES.writes("flip.default")
def _flip(w: GraphWriter, r: torch.Tensor, x: Value, dims: Sequence[int]) -> str:
    name = w.name(x)
    for dim in dims:
        name = _sliced(w, name, dim % x.tensor.ndim, -1, -_END, -1)
    return name


@SHAPES.writes("select.int")
def _select(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: int) -> str:
    return _row(w, w.name(x), x.tensor.shape, dim % x.tensor.ndim, index)


def _row(w: GraphWriter, name: str, shape: Sequence[int], axis: int, index: int) -> str:
    one = [1 if i == axis else size for i, size in enumerate(shape)]
    if shape[axis] > 1:
        index %= shape[axis]
        name = _sliced(w, name, axis, index, index + 1)
    return w.reshaped(name, one, one[:axis] + one[axis + 1 :])


@SHAPES.writes("unbind.int")
def _unbind(w: GraphWriter, r: Sequence[torch.Tensor], x: Value, dim: int = 0) -> list[str]:
    axis = dim % x.tensor.ndim
    return [_row(w, w.name(x), x.tensor.shape, axis, i) for i in range(x.tensor.shape[axis])]


@SHAPES.writes("split.Tensor", "unsafe_split.Tensor", "split_with_sizes.default")
def _split(w: GraphWriter, r: Sequence[torch.Tensor], x: Value, _: Any, dim: int = 0) -> list[str]:
    if len(r) == 1:
        return [w.name(x)]
    sizes = w.whole_numbers([part.shape[dim] for part in r])
    return w.emit_many("Split", [w.name(x), sizes], len(r), axis=dim % x.tensor.ndim)


@SHAPES.writes("cat.default")
def _cat(w: GraphWriter, r: torch.Tensor, parts: Sequence[Value], dim: int = 0) -> str:
    names = [w.name(part, r.dtype) for part in parts if part.tensor.numel() or part.tensor.ndim == r.ndim]
    return names[0] if len(names) == 1 else w.emit("Concat", names, axis=dim % r.ndim)


@SHAPES.writes("stack.default")
def _stack(w: GraphWriter, r: torch.Tensor, parts: Sequence[Value], dim: int = 0) -> str:
    shape = list(r.shape)
    shape[dim % r.ndim] = 1
    names = [w.reshaped(w.name(part, r.dtype), part.tensor.shape, shape) for part in parts]
    return names[0] if len(names) == 1 else w.emit("Concat", names, axis=dim % r.ndim)


@SHAPES.writes("slice_scatter.default")
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


@SHAPES.writes("select_scatter.default")
def _select_scatter(w: GraphWriter, r: torch.Tensor, x: Value, source: Value, dim: int, index: int) -> str:
    axis = dim % x.tensor.ndim
    index %= x.tensor.shape[axis]
    piece = source.tensor.unsqueeze(axis)
    row = Value(piece, w.reshaped(w.name(source), source.tensor.shape, piece.shape))
    return _slice_scatter(w, r, x, row, axis, index, index + 1)


# ---- picking by index


@SHAPES.writes("index_select.default")
def _index_select(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: Value) -> str:
    return w.emit("Gather", [w.name(x), w.name(index, torch.int64)], axis=dim % max(x.tensor.ndim, 1))


@SHAPES.writes("embedding.default")
def _embedding(w: GraphWriter, r: torch.Tensor, weight: Value, index: Value, *_: Any) -> str:
    return w.emit("Gather", [w.name(weight), w.name(index, torch.int64)], axis=0)


@SHAPES.writes("gather.default")
def _gather(w: GraphWriter, r: torch.Tensor, x: Value, dim: int, index: Value, **_: Any) -> str:
    return w.emit("GatherElements", [w.name(x), w.name(index, torch.int64)], axis=dim % x.tensor.ndim)


@SHAPES.writes("index.Tensor")
def _index(w: GraphWriter, r: torch.Tensor, x: Value, indices: Sequence[Value | None]) -> str:
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    (axis, index), *more = given
    if more or index.tensor.dtype == torch.bool:
        raise Refused(w.what, expected="picking by one list of whole numbers", found="several, or by true and false",
                      what_to_do="export the network to ONNX in its training code and give that file")
    return w.emit("Gather", [w.name(x), w.name(index, torch.int64)], axis=axis)


@SHAPES.writes("constant_pad_nd.default")
def _pad(w: GraphWriter, r: torch.Tensor, x: Value, pads: Sequence[int], value: float = 0) -> str:
    before = [0] * x.tensor.ndim
    after = [0] * x.tensor.ndim
    for i in range(len(pads) // 2):
        before[-1 - i], after[-1 - i] = pads[2 * i], pads[2 * i + 1]
    return w.emit("Pad", [w.name(x), w.whole_numbers([*before, *after]), w.name(value, r.dtype)])


@SHAPES.writes("zeros_like.default", "ones_like.default", "full_like.default", "new_zeros.default", "new_ones.default",
         "new_full.default")
def _filled(w: GraphWriter, r: torch.Tensor, *_: Any, **__: Any) -> str:
    onnx_type(w.what, r.dtype)
    return w.constant(r)
