"""What each torch operator becomes in ONNX: a table from its name to a function that writes it.

A function gets the writer, the operator's result on the example inputs (for shape and type) and its arguments, tensors
as `Value`; it returns the name of its output, or a list of names. Operators that are not here are taken apart by torch
(`torch_graph.py`) or refused.
"""

from __future__ import annotations

from export.onnx_convolution import CONVOLUTIONS
from export.onnx_maths import MATHS
from export.onnx_shapes import SHAPES
from export.onnx_writer import Write

OPERATORS: dict[str, Write] = {**MATHS, **SHAPES, **CONVOLUTIONS}
