"""An actor rebuilt from the tensors of a checkpoint: normaliser, recurrent part, layers; sizes come from the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from export.checkpoint import Family, Normaliser, Tensors, below, find_family, load_checkpoint
from export.onnx_graph import write_onnx
from export.source_network import Array, Conversion
from export.torch_graph import trace
from export.training_config import find_training_config
from runtime.errors import Refused

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "elu": torch.nn.ELU, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "leaky_relu": torch.nn.LeakyReLU,
    "selu": torch.nn.SELU, "silu": torch.nn.SiLU, "gelu": torch.nn.GELU, "sigmoid": torch.nn.Sigmoid,
    "softplus": torch.nn.Softplus, "mish": torch.nn.Mish, "softsign": torch.nn.Softsign, "none": torch.nn.Identity,
}
SYNONYMS = {"swish": "silu", "lrelu": "leaky_relu", "leakyrelu": "leaky_relu", "identity": "none", "linear": "none"}
_ELSEWHERE = "export the policy as TorchScript or ONNX in its training code and give that file"
_GATES = {4: torch.nn.LSTM, 3: torch.nn.GRU}


@dataclass
class Choices:
    """What a checkpoint does not hold.

    Attributes:
        activation: between the layers; None: from the training configuration, or the library's default.
        output_activation: after the last layer.
        actor: prefixes of the actor's parts; None: look for a known library.
        normaliser: use the one in the file; False leaves it out.
    """

    activation: str | None = None
    output_activation: str = "none"
    actor: str | None = None
    normaliser: bool = True


@dataclass
class Actor:
    """The rebuilt network.

    Attributes:
        mlp: a Sequential, its keys those of the checkpoint.
        memory: LSTM or GRU before it, or None.
        normalise: applied to the observation first, or None.
        constants: every weight under its path in the checkpoint, for the names in the ONNX graph.
    """

    mlp: Any
    memory: Any | None = None
    normalise: Callable[[Any], Any] | None = None
    constants: Tensors = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Numbers of the observation."""
        first = next(layer for layer in self.mlp if isinstance(layer, torch.nn.Linear))
        return int(self.memory.input_size if self.memory is not None else first.in_features)

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


class ActorSource:
    """The actor in torch, keeping its state by itself (`export.source_network.SourceNetwork`)."""

    def __init__(self, actor: Actor, observation: str, action: str) -> None:
        self._actor, self._observation, self._action = actor, observation, action
        self._hidden = actor.zeros

    def reset(self) -> None:
        """Zero the hidden state."""
        self._hidden = self._actor.zeros

    def step(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """One tick."""
        with torch.no_grad():
            action, *self._hidden = self._actor.step(torch.tensor(inputs[self._observation]), *self._hidden)
        return {self._action: action.numpy().copy()}


def convert_checkpoint(
    path: Path, observation: str, action: str, wanted: Sequence[tuple[str, str]], choices: Choices
) -> Conversion:
    """A checkpoint's actor as ONNX.

    Args:
        observation, action: names in the ONNX graph.
        wanted: names for hidden state, pairs (input, output); empty: h_in, h_out, c_in, c_out as rsl_rl names them.

    Raises:
        Refused: no actor that can be rebuilt without guessing.
    """
    what = f"checkpoint {path.name}"
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor
               for name, tensor in load_checkpoint(path).items()}
    family = find_family(what, tensors, choices.actor)
    activation, origin = _activation(what, path, family, choices)
    actor, used = _rebuild(what, tensors, family, activation, choices)
    pairs = _pairs(what, actor, wanted)
    examples = {observation: torch.randn(1, actor.inputs, generator=torch.Generator().manual_seed(7)),
                **dict(zip((name for name, _ in pairs), actor.zeros, strict=True))}
    graph = trace(what, actor.step, list(examples.values()))
    model = write_onnx(what, graph, examples, [action, *(name for _, name in pairs)], actor.constants)
    facts = {
        "library": family.name, "activation": f"{activation} ({origin})",
        "normaliser": "none" if actor.normalise is None else _describe(family.normaliser),
        "hidden state": "none" if actor.memory is None else type(actor.memory).__name__ + f" x {actor.memory.num_layers}",
        "left out": ", ".join(_groups(set(tensors) - used)) or "nothing",
    }
    assumed = [] if origin in ("as given", "training configuration") else [
        f"the file does not say which activation its layers have: {activation} is {origin}; another one would be a wrong "
        f"network that no check here can see. Make sure, and give --activation"
    ]
    if family.name == "rl_games":
        assumed.append("rl_games clips actions to [-1, 1] unless trained with clip_actions False: `action.clip` must say so")
    return Conversion(f"PyTorch checkpoint ({family.name})", model, ActorSource(actor, observation, action), pairs, facts,
                      assumed)


def _activation(what: str, path: Path, family: Family, choices: Choices) -> tuple[str, str]:
    """The activation's name, and where it was taken from."""
    given, origin = choices.activation, "as given"
    if given is None:
        given, origin = find_training_config(path).activation, "training configuration"
    if given is None:
        given, origin = family.activation, f"the default of {family.name}"
    name = SYNONYMS.get(str(given).lower(), str(given).lower())
    if given is None or name not in ACTIVATIONS:
        raise Refused(f"{what}, activation", expected=f"one of {', '.join(ACTIVATIONS)}",
                      found=f"{given}" if given else "nothing that says it: weights do not",
                      what_to_do="give --activation, as in the training configuration")
    return name, origin


def _rebuild(
    what: str, tensors: Tensors, family: Family, activation: str, choices: Choices
) -> tuple[Actor, set[str]]:
    """The actor, and the paths of the tensors it is made of."""
    layers: list[tuple[str, Any]] = []
    for number, prefix in enumerate(family.layers):
        part = below(tensors, prefix)
        if not part and number:
            continue
        rows = _sequential(what, prefix, part, activation) if number == 0 else [(prefix, _linear(what, prefix, part))]
        if layers and isinstance(layers[-1][1], torch.nn.Linear):
            layers.append((f"{prefix}.activation", ACTIVATIONS[activation]()))
        layers += rows
    layers.append(("output", ACTIVATIONS[SYNONYMS.get(choices.output_activation, choices.output_activation)]()))
    actor = Actor(torch.nn.Sequential(*(layer for _, layer in layers)).eval())
    sizes = [layer for layer in actor.mlp if isinstance(layer, torch.nn.Linear)]
    for a, b in zip(sizes, sizes[1:], strict=False):
        if a.out_features != b.in_features:
            raise Refused(what, expected="layers that follow one another", found=f"{a.out_features} into {b.in_features}",
                          what_to_do=_ELSEWHERE)
    used = {path for prefix in family.layers for path in tensors if path.startswith(f"{prefix}." if prefix else "")}
    for name, layer in layers:
        actor.constants.update({f"{name}.{key}": value for key, value in layer.named_parameters()})
    if family.memory is not None and below(tensors, family.memory):
        actor.memory = _memory(what, below(tensors, family.memory))
        used |= {path for path in tensors if path.startswith(f"{family.memory}.")}
        actor.constants.update({f"{family.memory}.{key}": value for key, value in actor.memory.named_parameters()})
        if actor.memory.hidden_size != sizes[0].in_features:
            raise Refused(what, expected=f"layers that take the hidden state, {actor.memory.hidden_size}",
                          found=f"{sizes[0].in_features}", what_to_do=_ELSEWHERE)
    used |= _add_normaliser(what, tensors, family, actor, choices, used)
    _refuse_other_memory(what, set(tensors) - used)
    return actor, used


def _sequential(what: str, prefix: str, part: Tensors, activation: str) -> list[tuple[str, Any]]:
    """Layers of a Sequential by their numbers: a number without weights between two linear layers is the activation."""
    own = {path: tensor for path, tensor in part.items() if path.partition(".")[0].isdigit()}
    others = sorted(path for path in set(part) - set(own)) if prefix else []
    odd = sorted(path for path in own if path.partition(".")[2] not in ("weight", "bias"))
    if odd or others:
        raise Refused(f"{what}, {prefix or 'layers'}", expected="keys such as 0.weight and 0.bias",
                      found=", ".join([*odd, *others][:10]), what_to_do=_ELSEWHERE)
    numbers = sorted({int(path.partition(".")[0]) for path in own})
    start = f"{prefix}." if prefix else ""
    rows: list[tuple[str, Any]] = []
    width = 0
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        layer = _layer(what, f"{start}{number}", below(own, str(number)), width)
        width = layer.out_features if isinstance(layer, torch.nn.Linear) else width
        rows.append((f"{start}{number}", layer))
        if following is None:
            break
        if following == number + 2:
            rows.append((f"{start}{number + 1}", ACTIVATIONS[activation]()))
        elif following != number + 1:
            raise Refused(f"{what}, {prefix or 'layers'}", expected="one layer without weights, the activation, between two",
                          found=f"{following - number - 1} between {number} and {following}", what_to_do=_ELSEWHERE)
    _check_activations(what, prefix, rows)
    return rows


def _check_activations(what: str, prefix: str, rows: list[tuple[str, Any]]) -> None:
    """One activation between any two linear layers."""
    known = (torch.nn.Linear, torch.nn.LayerNorm)
    since = None
    for name, layer in rows:
        if isinstance(layer, torch.nn.Linear):
            if since not in (None, 1):
                raise Refused(f"{what}, {prefix or 'layers'}", expected="one activation between two linear layers",
                              found=f"{since} before {name}", what_to_do=_ELSEWHERE)
            since = 0
        elif not isinstance(layer, known) and since is not None:
            since += 1


def _layer(what: str, name: str, part: Tensors, width: int) -> Any:
    weight = part.get("weight")
    if weight is not None and weight.ndim == 1 and len(weight) == width and "bias" in part:
        layer = torch.nn.LayerNorm(width)
        layer.load_state_dict(part)
        return layer
    return _linear(what, name, part)


def _linear(what: str, name: str, part: Tensors) -> Any:
    weight, bias = part.get("weight"), part.get("bias")
    fits = weight is not None and weight.ndim == 2 and set(part) <= {"weight", "bias"}
    if weight is None or not fits or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in part.items())
        raise Refused(f"{what}, {name}", expected="a linear layer: weight (out, in), bias (out)", found=shapes or "nothing",
                      what_to_do=_ELSEWHERE)
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict(part)
    return layer


def _memory(what: str, part: Tensors) -> Any:
    count = sum(key.startswith("weight_ih_l") for key in part)
    first, hidden = part.get("weight_ih_l0"), part.get("weight_hh_l0")
    gates = None if first is None or hidden is None else first.shape[0] // hidden.shape[1]
    make = _GATES.get(gates or 0)
    if first is None or hidden is None or make is None:
        raise Refused(f"{what}, recurrent part", expected="an LSTM or a GRU",
                      found=", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in part.items()), what_to_do=_ELSEWHERE)
    memory = make(first.shape[1], hidden.shape[1], count, bias="bias_ih_l0" in part)
    try:
        memory.load_state_dict(part)
    except RuntimeError as error:
        raise Refused(f"{what}, recurrent part", expected=f"the weights of a plain {make.__name__} of {count} layers",
                      found=str(error).replace("\n", " ")[:300], what_to_do=_ELSEWHERE) from error
    return memory.eval()


def _add_normaliser(
    what: str, tensors: Tensors, family: Family, actor: Actor, choices: Choices, used: set[str]
) -> set[str]:
    """Put the normaliser of the file in front; returns the paths it was read from."""
    found = [prefix for prefix in family.normaliser_at if below(tensors, prefix)] if family.normaliser else []
    if not choices.normaliser:
        return set()
    if not found:
        _refuse_unknown_normaliser(what, tensors, actor, used)
        return set()
    kind, part = family.normaliser, below(tensors, found[0])
    assert kind is not None
    mean, variance = part.get(kind.mean), part.get(kind.variance)
    std = part.get(kind.std) if kind.std else None
    spread = std if std is not None else variance
    if mean is None or spread is None or mean.numel() != actor.inputs or spread.numel() != actor.inputs:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in part.items())
        raise Refused(f"{what}, {found[0]}", expected=f"mean and spread of {actor.inputs} numbers, the network's input",
                      found=shapes, what_to_do="this normaliser belongs to another network; --no-normaliser leaves it out")
    if std is None:
        spread = torch.sqrt(spread + kind.epsilon) if kind.inside else torch.sqrt(spread)
    if not kind.inside:
        spread = spread + kind.epsilon
    actor.normalise = _normalise(mean.reshape(1, -1), spread.reshape(1, -1), kind.clip)
    return {path for path in tensors if path.startswith(f"{found[0]}.")}


def _normalise(mean: Any, spread: Any, clip: float | None) -> Callable[[Any], Any]:
    def apply(x: Any) -> Any:
        out = (x - mean) / spread
        return out if clip is None else torch.clamp(out, -clip, clip)

    return apply


def _describe(kind: Normaliser | None) -> str:
    assert kind is not None
    root = f"sqrt(variance + {kind.epsilon:g})" if kind.inside else f"(std + {kind.epsilon:g})"
    return f"(x - mean) / {root}" + (f", clipped to +-{kind.clip:g}" if kind.clip else "") + f" ({kind.name})"


def _refuse_unknown_normaliser(what: str, tensors: Tensors, actor: Actor, used: set[str]) -> None:
    """Statistics of the network's input size that no known library keeps there: refused rather than left out."""
    suspects = sorted(
        path for path in set(tensors) - used
        if tensors[path].numel() == actor.inputs and any(word in path.lower() for word in ("mean", "var", "std", "rms"))
        and not any(word in path.lower() for word in ("critic", "value", "privileged", "log_std", "optimizer"))
    )
    if len(suspects) > 1:
        raise Refused(f"{what}, normaliser", expected="one as a known library keeps it", found=", ".join(suspects[:6]),
                      what_to_do="add --no-normaliser if the policy was trained without it; " + _ELSEWHERE)


def _refuse_other_memory(what: str, rest: set[str]) -> None:
    """Recurrent weights that are left over and are not the critic's."""
    words = ("critic", "memory_c", "value", "teacher", "memory_t", "c_rnn")
    left = sorted(path for path in rest if "weight_ih_l" in path and not any(word in path for word in words))
    if left:
        raise Refused(what, expected="a recurrent part where a known library keeps it", found=", ".join(left[:4]),
                      what_to_do=_ELSEWHERE)


def _pairs(what: str, actor: Actor, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    names = [("h_in", "h_out"), ("c_in", "c_out")][: len(actor.zeros)]
    if wanted and len(wanted) != len(names):
        raise Refused(f"{what}, hidden state", expected=f"{len(wanted)} tensors, as the manifest's `recurrent` has",
                      found=f"{len(names)}", what_to_do="correct `recurrent`, or leave it out: the export fills it in")
    return list(wanted) or names


def _groups(paths: set[str]) -> list[str]:
    """Paths by their first two parts, with how many there are."""
    groups: dict[str, int] = {}
    for path in sorted(paths):
        group = ".".join(path.split(".")[:2])
        groups[group] = groups.get(group, 0) + 1
    return [f"{group}.* ({count})" if count > 1 else group for group, count in groups.items()]
