"""Writes small ONNX files byte by byte, so that tests of the runtime need no `onnx`.

Field numbers: onnx/onnx `onnx/onnx.proto`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FLOAT, STRING, INT64, DOUBLE = 1, 8, 7, 11
Shape = tuple["int | str", ...]
Value = tuple[str, int, Shape]
"""Name, element type, shape; a text is a symbolic dimension."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _value(name: str, kind: int, shape: Shape) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims)))


def node(op: str, inputs: list[str], outputs: list[str], **whole: int) -> bytes:
    """A node; keyword arguments are its whole-number attributes."""
    out = b"".join(_field(1, name) for name in inputs) + b"".join(_field(2, name) for name in outputs) + _field(4, op)
    return out + b"".join(_field(5, _field(1, key) + _field(3, i) + _field(20, 2)) for key, i in whole.items())


def write(
    path: Path,
    nodes: list[bytes],
    inputs: list[Value],
    outputs: list[Value],
    constants: dict[str, np.ndarray] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A model of operator set 17, IR version 8."""
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, "tiny")
    for name, array in (constants or {}).items():
        dims = b"".join(_field(1, size) for size in array.shape)
        kind, form = (INT64, "<i8") if array.dtype.kind == "i" else (FLOAT, "<f4")
        graph += _field(5, dims + _field(2, kind) + _field(8, name) + _field(9, array.astype(form).tobytes()))
    graph += b"".join(_field(11, _value(*value)) for value in inputs)
    graph += b"".join(_field(12, _value(*value)) for value in outputs)
    about = b"".join(_field(14, _field(1, key) + _field(2, value)) for key, value in (metadata or {}).items())
    path.write_bytes(_field(1, 8) + _field(8, _field(1, "") + _field(2, 17)) + _field(7, graph) + about)
    return path
