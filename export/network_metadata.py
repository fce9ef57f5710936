"""What exporters write into ONNX networks, as values of a manifest: three dialects in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.errors import Refused
from runtime.model_metadata import parse_list

_GAINS = {"kp": ("joint_stiffness", "kp", "stiffness", "joint_kp", "kps"),
          "kd": ("joint_damping", "kd", "damping", "joint_kd", "kds")}
_POSE = ("default_joint_pos", "default_joint_positions", "default_angles", "default_dof_pos", "default_pose")
_SCALE = ("action_scale", "action_scales")
# our value -> its keys in each dialect, the usual one first: amazon-far/holosoma (JSON text);
# HybridRobotics/whole_body_tracking and mjlab (comma-separated); huggingface/lerobot's SONIC decoder
DIALECTS: dict[str, dict[str, tuple[str, ...]]] = {
    "holosoma": {"joints": ("dof_names",), **_GAINS, "default_pose": _POSE, "action_scale": _SCALE},
    "BeyondMimic": {"joints": ("joint_names",), **_GAINS, "default_pose": _POSE, "action_scale": _SCALE},
    "lerobot": {"kp": ("kp",), "kd": ("kd",), "default_pose": ("default_angles",), "action_scale": ("action_scale",)},
}
KNOWN_KEYS = {key for dialect in DIALECTS.values() for keys in dialect.values() for key in keys} | {
    "command_ranges", "observation_names", "observation_history_lengths", "observation_terms_scale",
    "observation_terms_clip", "observation_terms_history_length", "observation_terms_flatten_history_dim",
    "command_names", "anchor_body_name", "body_names", "neutral_token",
}
_AT = {"kp": ("gains", "kp"), "kd": ("gains", "kd"), "default_pose": ("default_pose",),
       "action_scale": ("action", "scale")}
"""Where each number stands in a manifest."""


@dataclass(frozen=True)
class Completed:
    """A manifest with the numbers of its network written in.

    Attributes:
        data: content of `controller.json`; of `model.metadata` only what is no number of the controller is left.
        taken: which values came from the network, and from which key.
        differing: values the manifest has that the network's metadata contradict; the manifest's count.
    """

    data: dict[str, Any]
    taken: dict[str, str]
    differing: list[str]


def complete_manifest(what: str, data: dict[str, Any], metadata: dict[str, str]) -> Completed:
    """Write a network's own numbers into a manifest.

    Those that the manifest's `model.metadata` names replace its own; those it lacks altogether are filled in by the
    dialect the network is written in. Numbers go by joint name, so a manifest for some of the joints takes theirs.

    Args:
        what: the network, for refusals.
        data: parsed manifest; not changed.

    Raises:
        Refused: metadata that are not lists of names or numbers, or the manifest's joints in another order.
    """
    data = json.loads(json.dumps(data))
    named = _take_named(data)
    usual = DIALECTS.get(_dialect(metadata) or "", {})
    keys = {**{field: written_key(metadata, field_keys) for field, field_keys in usual.items()}, **named}
    completed = Completed(data, {}, [])
    order = _joints(what, completed, keys, metadata)
    motor_order = _look_up(data, ("gains", "order")) == "motor"
    for field, place in _AT.items():
        key = keys.get(field, "")
        if key not in metadata:
            continue
        values = _numbers(f"{what}, metadata {key}", metadata[key], order, data.get("joints"))
        present = _look_up(data, place)
        if present is None or field in named:
            _write(data, place, values)
            completed.taken[".".join(place)] = key
        elif not (motor_order and place[0] == "gains") and not _equal(present, values):
            completed.differing.append(f"{'.'.join(place)} is not what the network's own `{key}` says")
    _settle_order(completed)
    return completed


def _take_named(data: dict[str, Any]) -> dict[str, str]:
    """The keys of numbers and joints that `model.metadata` names; they leave it."""
    model = data.get("model")
    named = model.get("metadata") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(named, dict):
        return {}
    taken = {field: str(named.pop(field)) for field in ("joints", *_AT) if field in named}
    if not named:
        del model["metadata"]
    return taken


def _dialect(metadata: dict[str, str]) -> str | None:
    for name, keys in DIALECTS.items():
        if written_key(metadata, keys.get("joints", keys["default_pose"])):
            return name
    return None


def written_key(metadata: Mapping[str, str], keys: Sequence[str]) -> str:
    """The first of several spellings of a key that a network has; "" for none."""
    return next((key for key in keys if key in metadata), "")


def _joints(what: str, completed: Completed, keys: dict[str, str], metadata: dict[str, str]) -> list[str] | None:
    """The joints that the network's numbers belong to, in their order; fills in the manifest's where it has none."""
    key = keys.get("joints", "")
    if key not in metadata:
        return None
    order = [str(name) for name in parse_list(metadata[key])]
    own = completed.data.get("joints")
    if own is None:
        completed.data["joints"] = order
        completed.taken["joints"] = key
    elif isinstance(own, list) and own != order and (len(own) >= len(order) or not set(map(str, own)) <= set(order)):
        raise Refused(f"{what}, metadata {key}", expected=f"the manifest's joints, {', '.join(map(str, own))}",
                      found=", ".join(order)[:2000],
                      what_to_do="this network was trained for other joints or another order: correct the manifest")
    return order


def _numbers(what: str, text: str, order: list[str] | None, joints: Any) -> Any:
    """One number, or one a joint of the manifest."""
    try:
        numbers = [float(part) for part in parse_list(text)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if not numbers or (order is not None and len(numbers) != len(order)):
        raise Refused(what, expected=f"a number, or {len(order) if order else 'one a joint'}", found=text[:200],
                      what_to_do="export the network again, or write these numbers in the manifest")
    if order is not None and isinstance(joints, list) and joints != order:
        return [numbers[order.index(name)] for name in joints]
    return numbers


def _look_up(data: dict[str, Any], place: tuple[str, ...]) -> Any:
    found: Any = data
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _write(data: Any, place: tuple[str, ...], values: Any) -> None:
    for key in place[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):  # `manifest_reader` says what is wrong with it
            return
    data[place[-1]] = values


def _equal(a: Any, b: Any) -> bool:
    """The same numbers, however written: one for all or a list."""
    if not isinstance(a, list | int | float) or not isinstance(b, list | int | float):
        return True  # by joint name, or of another kind: `manifest_reader` judges it
    first, second = (x if isinstance(x, list) else [x] for x in (a, b))
    size = max(len(first), len(second))
    first, second = (x * size if len(x) == 1 else x for x in (first, second))
    return len(first) == len(second) and all(
        x == y or (isinstance(x, int | float) and isinstance(y, int | float) and abs(x - y) <= 1e-6 * max(1, abs(y)))
        for x, y in zip(first, second, strict=True)
    )


def _settle_order(completed: Completed) -> None:
    """Numbers of the network are in policy order; a manifest's own lists may be in motor order."""
    gains = completed.data.get("gains")
    if not isinstance(gains, dict) or not any(f"gains.{key}" in completed.taken for key in ("kp", "kd")):
        return
    left = [key for key in ("kp", "kd") if f"gains.{key}" not in completed.taken and isinstance(gains.get(key), list)]
    if gains.pop("order", "policy") == "motor" and left:
        raise Refused(f"manifest, gains.{left[0]}", expected="both gains from the network, or both in the manifest",
                      found="one of each, in different orders", what_to_do="name both in `model.metadata`, or neither")
