"""Networks with SONIC's signatures and random weights, for everything that can be tested without the released ones.

Structure as published (NVlabs/GR00T-WholeBodyControl @ 1983e88): one MLP a mode over the observations that count in it,
the mode's id selects one, finite scalar quantisation to k/16; a decoder MLP. SiLU in between. A random network falls.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.sonic import ACTION, TENSOR, SonicConfig
from export.sonic_names import TOKEN, TOKEN_SIZE, terms_of_name

OPSET, IR_VERSION = 13, 8
LEVELS = 32
FULL_ENCODER, FULL_DECODER = (2048, 1024, 512, 512), (2048, 2048, 1024, 1024, 512, 512)
SMALL_ENCODER, SMALL_DECODER = (64, 64), (96, 64)
JOINTS = 29
ACTION_GAIN = 0.3
"""Keeps random actions near the default pose: a robot that sways, then falls, rather than one that is thrown."""


class _Graph:
    """Nodes and weights of a network being put together."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._rng, self._count = np.random.default_rng(seed), 0

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """A node; returns its output's name."""
        self._count += 1
        out = f"{kind.lower()}_{self._count}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(self, values: npt.NDArray[Any]) -> str:
        """An initialiser; returns its name."""
        self._count += 1
        name = f"weight_{self._count}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def linear(self, source: str, size_in: int, size_out: int, gain: float = 1.0) -> str:
        """A layer of random weights that keeps the size of its input."""
        weight = self._rng.normal(0, gain / math.sqrt(size_in), (size_in, size_out)).astype(np.float32)
        bias = self._rng.normal(0, 0.1 * gain, size_out).astype(np.float32)
        return self.add("Gemm", [source, self.constant(weight), self.constant(bias)])

    def mlp(self, source: str, size: int, hidden: tuple[int, ...], size_out: int, gain: float = 1.0) -> str:
        """Layers with SiLU between them."""
        for width in hidden:
            source = self.linear(source, size, width, gain=1.7)
            source = self.add("Mul", [source, self.add("Sigmoid", [source])])
            size = width
        return self.linear(source, size, size_out, gain)

    def model(self, size_in: int, out: str, name_out: str, size_out: int) -> bytes:
        """The finished file: `obs_dict` [1, size_in] -> `name_out` [1, size_out], the same bytes for the same seed."""
        self.nodes.append(helper.make_node("Identity", [out], [name_out]))
        graph = helper.make_graph(
            self.nodes, "synthetic_sonic",
            [helper.make_tensor_value_info(TENSOR, TensorProto.FLOAT, [1, size_in])],
            [helper.make_tensor_value_info(name_out, TensorProto.FLOAT, [1, size_out])], self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="exoactor")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def _levels() -> tuple[float, float]:
    """Half the range and the shift of finite scalar quantisation, even number of levels (Mentzer et al. 2023)."""
    half = (LEVELS - 1) * (1 + 1e-3) / 2
    return half, math.atanh(0.5 / half)


def synthetic_encoder(config: SonicConfig, seed: int, hidden: tuple[int, ...] = SMALL_ENCODER) -> bytes:
    """`obs_dict` [1, n] -> `encoded_tokens` [1, 64] as k/16; reads only the observations that count in the mode."""
    graph, places, start = _Graph(seed), dict[str, npt.NDArray[np.int64]](), 0
    for name in config.encoder:
        size = terms_of_name(name)[1]
        places[name] = np.arange(start, start + size)
        start += size
    mode = graph.add("Gather", [TENSOR, graph.constant(np.array([0]))], axis=1)
    half, shift = (graph.constant(np.array([x], np.float32)) for x in _levels())
    tokens = ""
    for number, required in config.modes.values():
        index = np.concatenate([places[name] for name in config.encoder if name in required and places[name][0] != 0])
        part = graph.add("Gather", [TENSOR, graph.constant(index)], axis=1)
        z = graph.add("Tanh", [graph.add("Add", [graph.mlp(part, len(index), hidden, TOKEN_SIZE), shift])])
        level = graph.add("Sub", [graph.add("Mul", [z, half]), graph.constant(np.array([0.5], np.float32))])
        token = graph.add("Mul", [graph.add("Round", [level]), graph.constant(np.array([2 / LEVELS], np.float32))])
        chosen = graph.add("Equal", [mode, graph.constant(np.array([[number]], np.float32))])
        token = graph.add("Mul", [token, graph.add("Cast", [chosen], to=TensorProto.FLOAT)])
        tokens = graph.add("Add", [tokens, token]) if tokens else token
    return graph.model(start, tokens, TOKEN, TOKEN_SIZE)


def synthetic_decoder(config: SonicConfig, seed: int, hidden: tuple[int, ...] = SMALL_DECODER) -> bytes:
    """`obs_dict` [1, 994] -> `action` [1, 29]."""
    graph, size = _Graph(seed + 1), config.sizes()[1]
    return graph.model(size, graph.mlp(TENSOR, size, hidden, JOINTS, ACTION_GAIN), ACTION, JOINTS)
