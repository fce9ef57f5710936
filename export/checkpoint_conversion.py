"""A checkpoint's actor as ONNX: normaliser in front, activation from where it is known, what is left over looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export.actor import ACTIVATIONS, ELSEWHERE, Actor, rebuild
from export.checkpoint import Family, Normaliser, Tensors, below, find_family, load_checkpoint
from export.onnx_graph import write_onnx
from export.source_network import Array, Conversion
from export.torch_graph import trace
from export.training_config import find_activation
from runtime.errors import Refused

_SYNONYMS = {"swish": "silu", "lrelu": "leaky_relu", "leakyrelu": "leaky_relu", "identity": "none", "linear": "none"}
_NOT_THE_ACTOR = ("critic", "memory_c", "value", "teacher", "memory_t", "c_rnn", "privileged", "optimizer", "rnd")
"""Words in paths of what is trained along with an actor."""


@dataclass
class Choices:
    """What a checkpoint does not hold.

    Attributes:
        activation: between the layers; None: from the training configuration, or the library's own default.
        output_activation: after the last layer.
        actor: prefixes of the actor's parts; None: look for a known library.
        normaliser: use the one in the file; False leaves it out.
    """

    activation: str | None = None
    output_activation: str = "none"
    actor: str | None = None
    normaliser: bool = True


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
    activation, origin = _activation(what, path, family, choices.activation)
    actor = rebuild(what, tensors, family, activation, _known(what, choices.output_activation))
    normaliser = _add_normaliser(what, tensors, family, actor, choices.normaliser)
    rest = set(tensors) - set(actor.constants)
    _refuse_other_memory(what, rest)
    pairs = _pairs(what, actor, wanted)
    examples = {observation: torch.randn(1, actor.inputs, generator=torch.Generator().manual_seed(7)),
                **dict(zip((name for name, _ in pairs), actor.zeros, strict=True))}
    graph = trace(what, actor.step, list(examples.values()))
    model = write_onnx(what, graph, examples, [action, *(name for _, name in pairs)], actor.constants)
    memory = "none" if actor.memory is None else f"{type(actor.memory).__name__} of {actor.memory.num_layers}"
    facts = {
        "activation": f"{activation} ({origin})", "normaliser": normaliser, "hidden state": memory,
        "left out": ", ".join(_groups(rest)) or "nothing",
    }
    source = ActorSource(actor, observation, action)
    assumed = _assumed(family, activation, origin)
    return Conversion(f"PyTorch checkpoint ({family.name})", model, source, pairs, facts, assumed)


def _activation(what: str, path: Path, family: Family, given: str | None) -> tuple[str, str]:
    """The activation's name, and where it was taken from."""
    if given is not None:
        return _known(what, given), "as given"
    found = find_activation(path)
    if found is not None:
        return _known(what, found), "training configuration"
    if family.activation is None:
        raise Refused(f"{what}, activation", expected=f"one of {', '.join(ACTIVATIONS)}",
                      found="nothing that says it: weights do not",
                      what_to_do="give --activation, as in the training configuration")
    return family.activation, f"the default of {family.name}"


def _known(what: str, name: str) -> str:
    found = _SYNONYMS.get(name.lower(), name.lower())
    if found not in ACTIVATIONS:
        raise Refused(f"{what}, activation", expected=f"one of {', '.join(ACTIVATIONS)}", found=name,
                      what_to_do="give one of these; " + ELSEWHERE + " for another")
    return found


def _assumed(family: Family, activation: str, origin: str) -> list[str]:
    lines = []
    if origin.startswith("the default"):
        lines.append(
            f"the file does not say which activation its layers have: {activation} is {origin}. Another one would make "
            "a wrong network that no check here can see: look it up, and give --activation"
        )
    if family.name == "rl_games":
        lines.append("rl_games clips actions to [-1, 1] unless trained with clip_actions False: see to `action.clip`")
    return lines


def _add_normaliser(what: str, tensors: Tensors, family: Family, actor: Actor, wanted: bool) -> str:
    """Put the normaliser of the file in front of the actor; says which."""
    found = [prefix for prefix in family.normaliser_at if below(tensors, prefix)] if family.normaliser else []
    if not wanted:
        return "left out, as asked" if found else "none"
    if family.normaliser is None or not found:
        _refuse_unknown_normaliser(what, tensors, actor)
        return "none"
    prefix, kind = found[0], family.normaliser
    part = below(tensors, prefix)
    mean = part.get(kind.mean)
    spread = part.get(kind.std, part.get(kind.variance)) if kind.std else part.get(kind.variance)
    if mean is None or spread is None or not mean.numel() == spread.numel() == actor.inputs:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in part.items())
        raise Refused(f"{what}, {prefix}", expected=f"mean and spread of {actor.inputs} numbers, the network's input",
                      found=shapes, what_to_do="this normaliser is another network's; --no-normaliser leaves it out")
    if kind.std not in part:
        spread = torch.sqrt(spread + kind.epsilon) if kind.inside else torch.sqrt(spread)
    spread = spread if kind.inside else spread + kind.epsilon
    mean, spread = mean.reshape(1, -1), spread.reshape(1, -1)
    actor.normalise = _normalise(mean, spread, kind.clip)
    actor.constants.update({**{f"{prefix}.{key}": tensor for key, tensor in part.items()},
                            "normaliser.mean": mean, "normaliser.spread": spread})
    return _describe(kind)


def _normalise(mean: Any, spread: Any, clip: float | None) -> Callable[[Any], Any]:
    def apply(x: Any) -> Any:
        out = (x - mean) / spread
        return out if clip is None else torch.clamp(out, -clip, clip)

    return apply


def _describe(kind: Normaliser) -> str:
    root = f"sqrt(variance + {kind.epsilon:g})" if kind.inside else f"(std + {kind.epsilon:g})"
    return f"(x - mean) / {root}" + (f", clipped to +-{kind.clip:g}" if kind.clip else "") + f" ({kind.name})"


def _refuse_unknown_normaliser(what: str, tensors: Tensors, actor: Actor) -> None:
    """Statistics of the input's size where no known library keeps them: refused rather than left out."""
    suspects = sorted(
        path for path in set(tensors) - set(actor.constants)
        if tensors[path].numel() == actor.inputs and any(word in path.lower() for word in ("mean", "var", "rms", "std"))
        and not any(word in path.lower() for word in (*_NOT_THE_ACTOR, "log_std"))
    )
    if len(suspects) > 1:
        raise Refused(f"{what}, normaliser", expected="one as a known library keeps it", found=", ".join(suspects[:6]),
                      what_to_do="add --no-normaliser if the policy was trained without one; else " + ELSEWHERE)


def _refuse_other_memory(what: str, rest: set[str]) -> None:
    """Recurrent weights that are left over and are not those of the critic."""
    left = sorted(path for path in rest if "weight_ih_l" in path and not any(word in path for word in _NOT_THE_ACTOR))
    if left:
        raise Refused(what, expected="a recurrent part where a known library keeps it", found=", ".join(left[:4]),
                      what_to_do=ELSEWHERE)


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
