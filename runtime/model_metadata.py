"""What an exporter wrote into a network, where the manifest says it counts: joint names, gains, scales, default pose.

Published networks carry these as text, either JSON (amazon-far/holosoma) or comma-separated (whole_body_tracking,
mjlab). Two checkpoints of a family may differ in them, so a manifest that names the keys fits both.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.errors import Refused
from runtime.manifest import Manifest

FIELDS = {"kp": "kp", "kd": "kd", "action_scale": "action_scale", "default_pose": "default_pose"}


def adopt_metadata(manifest: Manifest, metadata: dict[str, str]) -> Manifest:
    """The manifest with the values the model itself carries under the keys of `model.metadata`.

    A key that the model lacks leaves the manifest's own value.

    Raises:
        Refused: other joint names or another order, wrong lengths, values out of the robot's limits.
    """
    what = f"metadata of the model of {manifest.name}"
    keys = manifest.metadata_keys
    names = metadata.get(keys.get("joints", ""))
    if names is not None and tuple(parse_list(names)) != manifest.order.names:
        raise Refused(what, expected=f"joints {', '.join(manifest.order.names)}", found=names[:2000],
                      what_to_do="this model was trained for other joints or another order: write a manifest for it")
    changes: dict[str, Any] = {}
    for field, attribute in FIELDS.items():
        text = metadata.get(keys.get(field, ""))
        if text is not None:
            changes[attribute] = _numbers(what, keys[field], text, len(manifest.order))
    for attribute, factor in (("kp", manifest.kp_factor), ("kd", manifest.kd_factor)):
        if attribute in changes and factor is not None:
            changes[attribute] = changes[attribute] * factor
    for attribute, limit in (("kp", manifest.robot.kp_max), ("kd", manifest.robot.kd_max)):
        values = changes.get(attribute)
        if values is not None and not (values.min() >= 0 and values.max() <= limit):
            found = f"{values.min()} to {values.max()}"
            raise Refused(f"{what}, {attribute}", expected=f"from 0 to {limit}", found=found,
                          what_to_do="this model does not belong to this robot")
    changes.update(_reference_bodies(what, manifest, metadata))
    if "default_pose" in changes and (manifest.action_offset == manifest.default_pose).all():
        changes["action_offset"] = changes["default_pose"]
    return replace(manifest, **changes)


def _reference_bodies(what: str, manifest: Manifest, metadata: dict[str, str]) -> dict[str, Any]:
    """The anchor of a reference inside the network, and the bodies its outputs list."""
    changes: dict[str, Any] = {}
    body, bodies = (metadata.get(manifest.metadata_keys.get(key, "")) for key in ("body", "bodies"))
    if body is not None:
        if body.strip('"') not in manifest.robot.bodies:
            raise Refused(f"{what}, {manifest.metadata_keys['body']}",
                          expected=f"a body of {manifest.robot.name}: {', '.join(manifest.robot.bodies)}", found=body,
                          what_to_do="add its chain to `bodies` in the robot's file (docs/robots.md)")
        changes["anchor"] = body.strip('"')
    if bodies is not None and manifest.embedded is not None:
        changes["embedded"] = replace(manifest.embedded, bodies=tuple(str(name) for name in parse_list(bodies)))
    return changes


def parse_list(text: str) -> list[Any]:
    """A list written as JSON, as Python or numpy print one, or comma-separated; one value is a list of one."""
    try:
        value = json.loads(text)
    except ValueError:
        inner = text.strip()
        printed = inner[:1] in ("[", "(") and inner[-1:] in ("]", ")")
        inner = inner[1:-1] if printed else inner
        value = [part.strip().strip("'\"") for part in inner.split("," if "," in inner or not printed else None)]
        if len(value) > 1 and not value[-1]:  # a comma at the end
            value.pop()
    return value if isinstance(value, list) else [value]


def _numbers(what: str, key: str, text: str, size: int) -> np.ndarray:
    try:
        values = np.asarray([float(part) for part in parse_list(text)], np.float32)
    except (TypeError, ValueError):
        values = np.zeros(0, np.float32)
    if len(values) == 1:
        values = np.repeat(values, size)
    if len(values) != size or not np.isfinite(values).all():
        raise Refused(f"{what}, {key}", expected=f"{size} finite numbers", found=text[:200],
                      what_to_do="export the model again, or leave this key out of `model.metadata`")
    return values
