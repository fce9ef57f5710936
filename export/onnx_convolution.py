"""Convolutions of torch in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from export.onnx_writer import GraphWriter, Value, Write
from runtime.errors import Refused


def _convolution(
    w: GraphWriter, out: torch.Tensor, x: Value, weight: Value, bias: Value | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> str:
    if transposed:
        raise Refused(w.what, expected="convolutions that are not transposed", found="a transposed one",
                      what_to_do="export the network to ONNX in its training code and give that file")
    inputs = [w.name(value) for value in (x, weight, bias) if value is not None]
    return w.emit("Conv", inputs, strides=list(stride), pads=[*padding, *padding], dilations=list(dilation),
                  group=groups, kernel_shape=list(weight.tensor.shape[2:]))


CONVOLUTIONS: dict[str, Write] = {"aten.convolution.default": _convolution}
