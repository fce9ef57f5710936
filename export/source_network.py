"""A trained network as it came, before conversion: what the converted one is compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
_LAYERS = frozenset({"Gemm", "MatMul", "Conv", "LSTM", "GRU", "RNN"})


class SourceNetwork(Protocol):
    """Runs the original, tick by tick, with its own hidden state."""

    def reset(self) -> None:
        """Hidden state to zero, as at the start of a run."""

    def step(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """One tick: inputs by name (hidden state excepted) to outputs by name (hidden state excepted)."""


@dataclass
class Conversion:
    """A network turned into ONNX.

    Attributes:
        kind: what the file was, for people ("TorchScript").
        model: the ONNX model; fixed sizes, no paths of the machine it came from.
        source: the original, to compare with.
        recurrent: pairs (input, output) of hidden state.
        facts: what was found and what was decided, a line each, for people and for the bundle's provenance.
        assumed: what the file does not say and was taken from elsewhere: warnings.
    """

    kind: str
    model: onnx.ModelProto
    source: SourceNetwork
    recurrent: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def layers(model: onnx.ModelProto) -> list[str]:
    """Every weight matrix of a model in the order of use: "actor.0.weight 256 x 47"."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) > 1}
    makers = [node for node in model.graph.node if node.op_type in _LAYERS]
    used = [name for node in makers for name in node.input if name in shapes]
    return [f"{name} {' x '.join(map(str, shapes[name]))}" for name in dict.fromkeys(used)]

