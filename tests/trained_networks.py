"""Small policies as people train and save them, and a manifest for each: 12 legs of a G1, 47 numbers in."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from runtime.manifest import CONTROLLERS

OBSERVATION, ACTION = 47, 12
LEGS = [
    f"{side}_{joint}_joint"
    for side in ("left", "right")
    for joint in ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
]
TERMS: list[dict[str, Any]] = [
    {"term": "base_ang_vel", "scale": 0.25}, {"term": "projected_gravity"},
    {"term": "velocity_command", "scale": [2.0, 2.0, 0.25]}, {"term": "joint_pos_rel"},
    {"term": "joint_vel", "scale": 0.05}, {"term": "last_action"}, {"term": "phase_sin"}, {"term": "phase_cos"},
]


def manifest(**changes: Any) -> dict[str, Any]:
    """A `controller.json` for the legs, everything else held."""
    whole = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
    rest = [name for name in whole["joints"] if name not in LEGS]
    data: dict[str, Any] = {
        "schema": "exoactor-controller/1", "name": "legs", "kind": "velocity", "robot": "g1_29dof", "rate_hz": 50,
        "joints": LEGS, "default_pose": [-0.1, 0, 0, 0.3, -0.2, 0] * 2,
        "gains": {"kp": [100, 100, 100, 150, 40, 40] * 2, "kd": [2, 2, 2, 4, 2, 2] * 2},
        "held": {name: {"q": 0, "kp": 60, "kd": 2} for name in rest},
        "inputs": [{"blocks": [{"terms": TERMS}]}], "action": {"scale": 0.25},
        "phase": {"period_s": 0.8, "offsets_rad": [0.0]},
        "command": {"vx": [-0.8, 0.8], "vy": [-0.5, 0.5], "yaw_rate": [-1, 1]},
    }
    data.update(changes)
    return {key: value for key, value in data.items() if value is not None}


def write_manifest(folder: Path, **changes: Any) -> Path:
    """The same as a file."""
    path = folder / "legs.json"
    path.write_text(json.dumps(manifest(**changes)), encoding="utf-8")
    return path


def state_dict(torch: Any, prefix: str, sizes: list[int], seed: int = 0) -> dict[str, Any]:
    """Linear layers with an activation between any two: prefix.0.weight, prefix.0.bias, prefix.2.weight, ..."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        name = ".".join(part for part in (prefix, str(2 * i)) if part)
        out[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        out[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    return out


def words(text: str) -> str:
    """Without line breaks and runs of spaces."""
    return re.sub(r"\s+", " ", text)
