"""PyTorch checkpoints: read as plain tensors, never as Python objects, and the actor found in them.

`torch.load(weights_only=True)` builds tensors, numbers, texts and containers and refuses everything else that a pickle
can name; numpy scalars, which training loops leave in (a mean reward), are let through. Which keys belong to the actor
is a table, `FAMILIES`, from the public source of each library.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runtime.errors import Refused

Tensors = dict[str, Any]
"""Tensors by path: the keys of nested dictionaries and the state dict's own, joined by dots."""


@dataclass(frozen=True)
class Normaliser:
    """How a library normalises observations: (x - mean) / spread, then clipped.

    Attributes:
        name: of the library.
        mean: key of the mean.
        std: key of the standard deviation, or None where only a variance is kept.
        variance: key of the variance.
        epsilon: added to the standard deviation, or to the variance before its root with `inside`.
        clip: bound of the result on both sides, or None.
    """

    name: str
    mean: str
    std: str | None
    variance: str
    epsilon: float
    inside: bool = False
    clip: float | None = None


# leggedrobotics/rsl_rl rsl_rl/modules/normalization.py @ 2491afa: (x - mean) / (std + eps), eps 1e-2
RSL_RL = Normaliser("rsl_rl", "_mean", "_std", "_var", 1e-2)
# Denys88/rl_games rl_games/algos_torch/running_mean_std.py @ 0dc6b91: eps 1e-5 inside the root, then +-5
RL_GAMES = Normaliser("rl_games", "running_mean", None, "running_var", 1e-5, inside=True, clip=5.0)
# Toni-SM/skrl skrl/resources/preprocessors/torch/running_standard_scaler.py @ 11fc538: eps 1e-8, then +-5
SKRL = Normaliser("skrl", "running_mean", None, "running_variance", 1e-8, clip=5.0)


@dataclass(frozen=True)
class Family:
    """Where a library keeps its actor.

    Attributes:
        name: for people.
        layers: prefixes of the actor's parts in order; those after the first hold one linear layer, and may be absent.
        memory: prefix of the recurrent part before them.
        normaliser: how observations are normalised; None: never in the checkpoint.
        normaliser_at: prefixes where it may stand.
        activation: what the library's own code falls back to; None: it has no such default.
    """

    name: str
    layers: tuple[str, ...]
    memory: str | None = None
    normaliser: Normaliser | None = None
    normaliser_at: tuple[str, ...] = ()
    activation: str | None = None


_RSL, _RSL5 = "model_state_dict", "actor_state_dict"
_SKRL_AT = ("state_preprocessor", "observation_preprocessor")
FAMILIES = (
    # leggedrobotics/rsl_rl rsl_rl/modules/actor_critic.py @ 0bb2390 and its student; obs_norm_state_dict until 2.x
    Family("rsl_rl", (f"{_RSL}.actor",), f"{_RSL}.memory_a.rnn", RSL_RL,
           (f"{_RSL}.actor_obs_normalizer", "obs_norm_state_dict"), "elu"),
    Family("rsl_rl student", (f"{_RSL}.student",), f"{_RSL}.memory_s.rnn", RSL_RL,
           (f"{_RSL}.student_obs_normalizer", "obs_norm_state_dict"), "elu"),
    # rsl_rl from 4: one state dict a model, rsl_rl/models/mlp_model.py @ 11d5bbe, rnn_model.py @ 14d428d
    Family("rsl_rl", (f"{_RSL5}.mlp",), f"{_RSL5}.rnn.rnn", RSL_RL, (f"{_RSL5}.obs_normalizer",), "elu"),
    Family("rsl_rl student", ("student_state_dict.mlp",), "student_state_dict.rnn.rnn", RSL_RL,
           ("student_state_dict.obs_normalizer",), "elu"),
    # Denys88/rl_games rl_games/algos_torch/network_builder.py @ 005ec17
    Family("rl_games", ("model.a2c_network.actor_mlp", "model.a2c_network.mu"), None, RL_GAMES,
           ("model.running_mean_std", "running_mean_std")),
    # Toni-SM/skrl model instantiators
    Family("skrl", ("policy.net_container", "policy.policy_layer"), None, SKRL, _SKRL_AT),
    Family("skrl", ("policy.net", "policy.policy_layer"), None, SKRL, _SKRL_AT),
    # DLR-RM/stable-baselines3 ActorCriticPolicy: its own default is Tanh
    Family("stable-baselines3", ("mlp_extractor.policy_net", "action_net"), activation="tanh"),
    # vwxyzjn/cleanrl ppo_continuous_action.py: Tanh throughout
    Family("cleanrl", ("actor_mean",), activation="tanh"),
    # LeCAR-Lab/HumanoidVerse and amazon-far/holosoma
    Family("holosoma", ("actor_model_state_dict.actor_module.module",), None, RSL_RL,
           ("actor_obs_normalizer_state_dict",)),
    Family("actor without its library", ("actor",), "memory_a.rnn", RSL_RL, ("actor_obs_normalizer",)),
    Family("plain layers", ("",)),
    Family("plain layers", ("model_state_dict",)),
    Family("plain layers", ("state_dict",)),
)


def load_checkpoint(path: Path) -> Tensors:
    """Every tensor of a checkpoint, by path.

    Raises:
        Refused: damaged, or it holds Python objects.
    """
    what = f"checkpoint {path.name}"
    _refuse_other_archives(what, path)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old formats that it reads all the same
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile, torch and struct each have their own
        objects = _foreign_objects(path)
        if objects:
            raise Refused(what, expected="tensors, numbers and texts", found=f"Python objects: {', '.join(objects)}",
                          what_to_do="such a file can run code and is not opened; where it was trained, save weights "
                          "alone: torch.save({'model_state_dict': policy.state_dict()}, 'weights.pt')") from error
        raise Refused(what, expected="a file of torch.save", found=f"{type(error).__name__}: {str(error)[:200]}",
                      what_to_do="the file is damaged, cut short or of another kind: save it again") from error
    tensors = _flat(found)
    if not tensors:
        raise Refused(what, expected="a state dict", found=f"{type(found).__name__} without tensors",
                      what_to_do="save policy.state_dict()")
    return tensors


def _refuse_other_archives(what: str, path: Path) -> None:
    """Zip files that are no checkpoint but hold one, or hold a program."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "policy.pth" in names:
        raise Refused(what, expected="a state dict", found="an archive of stable-baselines3, with policy.pth in it",
                      what_to_do=f"unpack it (unzip {path.name} policy.pth) and give policy.pth")
    if any(name.endswith(("archive_format", "archive_version")) for name in names):
        raise Refused(what, expected="TorchScript, a checkpoint or ONNX", found="a program of torch.export (.pt2)",
                      what_to_do="export the policy to ONNX from there: torch.onnx.export")


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy number names; each only makes a number."""
    kinds = [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]
    scalar = np.float64(0).__reduce__()[0]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _foreign_objects(path: Path) -> list[str]:
    """Names of the classes and functions a pickle asks for beyond tensors, without loading it."""
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged, or an old format that cannot be looked into: the first error says enough
        return []
    return sorted(names)[:20]


def _flat(found: Any, path: str = "") -> Tensors:
    if isinstance(found, torch.Tensor):
        return {path: found}
    out: Tensors = {}
    if isinstance(found, dict):
        for key, value in found.items():
            if isinstance(key, str) and key != "optimizer_state_dict":
                out.update(_flat(value, f"{path}.{key}" if path else key))
    return out


def below(tensors: Tensors, prefix: str) -> Tensors:
    """Tensors under a prefix, by the rest of their path."""
    start = f"{prefix}." if prefix else ""
    return {path[len(start) :]: tensor for path, tensor in tensors.items() if path.startswith(start)}


def has_layers(tensors: Tensors, prefix: str) -> bool:
    """Whether a Sequential stands under a prefix: keys such as 0.weight."""
    return any(path.partition(".")[0].isdigit() and path.endswith(".weight") for path in below(tensors, prefix))


def find_family(what: str, tensors: Tensors, actor: str | None) -> Family:
    """The library a checkpoint comes from, or a family made of the prefixes that were given.

    Args:
        actor: prefixes of the actor's parts, separated by commas, or None to look for them.

    Raises:
        Refused: none or several fit.
    """
    prefixes = sorted({path.rsplit(".", 2)[0] for path in tensors if path.endswith(".weight") and path.count(".") > 1})
    if actor is not None:
        parts = tuple(part.strip() for part in actor.split(","))
        missing = [part for part in parts if not below(tensors, part)]
        if missing:
            raise Refused(f"{what}, --checkpoint-actor", expected=f"a prefix of its keys: {', '.join(prefixes[:40])}",
                          found=", ".join(missing), what_to_do="give the part that holds the actor's layers")
        known = [family for family in FAMILIES if family.layers[: len(parts)] == parts]
        return known[0] if known else Family("as given", parts)
    fitting = [family for family in FAMILIES if has_layers(tensors, family.layers[0])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Refused(what, expected="one actor", found=", ".join(family.layers[0] for family in fitting),
                      what_to_do=f"say which: --checkpoint-actor {fitting[0].layers[0]}")
    raise Refused(what, expected="an actor as " + _names(FAMILIES) + " save it",
                  found=f"layers under {', '.join(prefixes[:40]) or 'no prefix'}",
                  what_to_do="name the actor's part with --checkpoint-actor PREFIX (several: PREFIX,PREFIX), or export "
                  "the policy as TorchScript or ONNX")


def _names(families: Sequence[Family]) -> str:
    return ", ".join(dict.fromkeys(family.name for family in families))
