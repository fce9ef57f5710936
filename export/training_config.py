"""What a training run wrote beside its checkpoints: Isaac Lab and its kin keep `params/agent.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# where each library's agent configuration names the activation of its actor
_ACTIVATION_AT: tuple[tuple[str | int, ...], ...] = (
    ("actor", "activation"),  # rsl_rl from 4
    ("policy", "activation"),  # rsl_rl
    ("params", "network", "mlp", "activation"),  # rl_games
    ("models", "policy", "network", 0, "activations"),  # skrl
)


@dataclass(frozen=True)
class TrainingConfig:
    """What is of use here.

    Attributes:
        path: the file, or None when there is none.
        activation: of the actor's hidden layers, as the library names it.
    """

    path: Path | None = None
    activation: str | None = None


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; what a tag would turn into a Python object becomes its plain content."""


def _content(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _content)


def find_training_config(checkpoint: Path) -> TrainingConfig:
    """The configuration that belongs to a checkpoint; an empty one where there is none or it cannot be read."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        path = folder / "params" / "agent.yaml"
        if path.is_file():
            try:
                data = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
            except (OSError, ValueError, yaml.YAMLError):
                return TrainingConfig()
            return TrainingConfig(path, _text(data, _ACTIVATION_AT))
    return TrainingConfig()


def _text(data: Any, places: Sequence[tuple[str | int, ...]]) -> str | None:
    for place in places:
        found = data
        for key in place:
            inside = isinstance(found, dict) and key in found
            inside = inside or (isinstance(found, list) and isinstance(key, int) and key < len(found))
            found = found[key] if inside else None
        if isinstance(found, str):
            return found
    return None
