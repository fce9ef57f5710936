"""What a training run wrote beside its checkpoints: Isaac Lab and its kin keep `params/agent.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
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


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values; what a tag would turn into a Python object becomes its plain content."""


def _content(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _content)


def find_activation(checkpoint: Path) -> str | None:
    """The activation that the training configuration of a checkpoint names; None where there is none to be read."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        path = folder / "params" / "agent.yaml"
        if path.is_file():
            try:
                data = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
            except (OSError, ValueError, yaml.YAMLError):
                return None
            found = (_look_up(data, place) for place in _ACTIVATION_AT)
            return next((text for text in found if isinstance(text, str)), None)
    return None


def _look_up(data: Any, place: Sequence[str | int]) -> Any:
    for key in place:
        if isinstance(data, list) and isinstance(key, int) and key < len(data):
            data = data[key]
        else:
            data = data.get(key) if isinstance(data, dict) else None
    return data
