"""An actor rebuilt from the tensors of a checkpoint: recurrent part and layers, of the sizes that the weights have."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from export.checkpoint import Family, Tensors, below
from runtime.errors import Refused

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "elu": torch.nn.ELU, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU,
    "selu": torch.nn.SELU, "silu": torch.nn.SiLU, "gelu": torch.nn.GELU, "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus, "mish": torch.nn.Mish, "softsign": torch.nn.Softsign, "none": torch.nn.Identity,
}
ELSEWHERE = "export the policy as TorchScript or ONNX in its training code and give that file"
_GATES = {4: torch.nn.LSTM, 3: torch.nn.GRU}
"""Rows of the first weight for each hidden unit."""


@dataclass
class Actor:
    """The rebuilt network.

    Attributes:
        mlp: a Sequential.
        constants: every tensor it is made of, under its path in the checkpoint.
        memory: LSTM or GRU before it, or None.
        normalise: applied to the observation first, or None.
    """

    mlp: Any
    constants: Tensors = field(default_factory=dict)
    memory: Any = None
    normalise: Callable[[Any], Any] | None = None

    @property
    def inputs(self) -> int:
        """Numbers of the observation."""
        return int(self.memory.input_size if self.memory is not None else linear_layers(self.mlp)[0].in_features)

    @property
    def zeros(self) -> list[Any]:
        """Hidden state at the start, (layers, 1, hidden) each."""
        if self.memory is None:
            return []
        count = 2 if isinstance(self.memory, torch.nn.LSTM) else 1
        return [torch.zeros(self.memory.num_layers, 1, self.memory.hidden_size) for _ in range(count)]

    def step(self, observation: Any, *hidden: Any) -> list[Any]:
        """(1, size) to the action and the next hidden state."""
        x = observation if self.normalise is None else self.normalise(observation)
        if self.memory is None:
            return [self.mlp(x)]
        x, after = self.memory(x.unsqueeze(0), hidden if len(hidden) == 2 else hidden[0])
        return [self.mlp(x.squeeze(0)), *(after if isinstance(after, tuple) else (after,))]


def linear_layers(mlp: Any) -> list[Any]:
    """The linear layers of a Sequential."""
    return [layer for layer in mlp if isinstance(layer, torch.nn.Linear)]


def rebuild(what: str, tensors: Tensors, family: Family, activation: str, output_activation: str) -> Actor:
    """The layers of a checkpoint's actor, and its recurrent part where it has one.

    Args:
        activation: between two linear layers, a key of `ACTIVATIONS`.
        output_activation: after the last.

    Raises:
        Refused: anything but linear layers, layer norms and a plain LSTM or GRU, or sizes that do not follow.
    """
    layers: list[tuple[str, Any]] = []
    for number, prefix in enumerate(family.layers):
        part = below(tensors, prefix)
        if not part and number:
            continue
        if layers and isinstance(layers[-1][1], torch.nn.Linear):
            layers.append(("", ACTIVATIONS[activation]()))
        head = [(prefix, _linear(what, prefix, part))] if number else []
        layers += head or _sequential(what, prefix, part, activation)
    layers.append(("", ACTIVATIONS[output_activation]()))
    actor = Actor(torch.nn.Sequential(*(layer for _, layer in layers)).eval())
    for first, second in itertools.pairwise(linear_layers(actor.mlp)):
        if first.out_features != second.in_features:
            raise Refused(what, expected="layers that follow one another",
                          found=f"{first.out_features} into {second.in_features}", what_to_do=ELSEWHERE)
    for name, layer in layers:
        actor.constants.update({f"{name}.{key}": value for key, value in layer.named_parameters()})
    if family.memory is not None and below(tensors, family.memory):
        _add_memory(what, family.memory, below(tensors, family.memory), actor)
    return actor


def _sequential(what: str, prefix: str, part: Tensors, activation: str) -> list[tuple[str, Any]]:
    """Layers of a Sequential by their numbers: one number without weights between two layers is the activation."""
    place = f"{what}, {prefix or 'layers'}"
    own = {path: tensor for path, tensor in part.items() if path.partition(".")[0].isdigit()}
    odd = [path for path in own if path.partition(".")[2] not in ("weight", "bias")]
    odd += [path for path in part if prefix and path not in own]
    if odd:
        raise Refused(place, expected="keys such as 0.weight and 0.bias", found=", ".join(sorted(odd)[:10]),
                      what_to_do=ELSEWHERE)
    numbers = sorted({int(path.partition(".")[0]) for path in own})
    start = f"{prefix}." if prefix else ""
    rows: list[tuple[str, Any]] = []
    width, gap = 0, 0
    for number in numbers:
        empty = number - numbers[numbers.index(number) - 1] - 1 if rows else 0
        if empty > 1:
            raise Refused(place, expected="one layer without weights, the activation, between two",
                          found=f"{empty} before {number}", what_to_do=ELSEWHERE)
        rows += [("", ACTIVATIONS[activation]())] * empty
        gap += empty
        layer = _layer(what, f"{start}{number}", below(own, str(number)), width)
        if isinstance(layer, torch.nn.Linear):
            if width and gap != 1:
                raise Refused(place, expected="one activation between two linear layers",
                              found=f"{gap} before {number}", what_to_do=ELSEWHERE)
            width, gap = layer.out_features, 0
        rows.append((f"{start}{number}", layer))
    return rows


def _layer(what: str, name: str, part: Tensors, width: int) -> Any:
    """A linear layer, or the layer norm of one."""
    weight = part.get("weight")
    if weight is None or weight.ndim != 1 or len(weight) != width or "bias" not in part:
        return _linear(what, name, part)
    layer = torch.nn.LayerNorm(width)
    layer.load_state_dict(part)
    return layer


def _linear(what: str, name: str, part: Tensors) -> Any:
    weight, bias = part.get("weight"), part.get("bias")
    fits = weight is not None and weight.ndim == 2 and set(part) <= {"weight", "bias"}
    if weight is None or not fits or (bias is not None and bias.shape != weight.shape[:1]):
        raise Refused(f"{what}, {name}", expected="a linear layer: weight (out, in), bias (out)", found=_shapes(part),
                      what_to_do=ELSEWHERE)
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict(part)
    return layer


def _add_memory(what: str, prefix: str, part: Tensors, actor: Actor) -> None:
    first, hidden = part.get("weight_ih_l0"), part.get("weight_hh_l0")
    gates = 0 if first is None or hidden is None else first.shape[0] // max(hidden.shape[-1], 1)
    make = _GATES.get(gates)
    if first is None or hidden is None or make is None:
        raise Refused(f"{what}, {prefix}", expected="the weights of an LSTM or a GRU", found=_shapes(part),
                      what_to_do=ELSEWHERE)
    count = sum(key.startswith("weight_ih_l") for key in part)
    memory = make(first.shape[1], hidden.shape[1], count, bias="bias_ih_l0" in part)
    try:
        memory.load_state_dict(part)
    except RuntimeError as error:
        raise Refused(f"{what}, {prefix}", expected=f"the weights of a plain {make.__name__} of {count} layers",
                      found=" ".join(str(error).split())[:300], what_to_do=ELSEWHERE) from error
    width = linear_layers(actor.mlp)[0].in_features
    if memory.hidden_size != width:
        raise Refused(what, expected=f"layers that take the hidden state, {memory.hidden_size}", found=f"{width}",
                      what_to_do=ELSEWHERE)
    actor.memory = memory.eval()
    actor.constants.update({f"{prefix}.{key}": value for key, value in memory.named_parameters()})


def _shapes(part: Tensors) -> str:
    return ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in part.items())[:300] or "nothing"
