"""A bundle small enough to make and to harm in every test: a velocity controller of one matrix."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.bundle_signing import json_bytes
from export.bundle_writer import write_bundle
from runtime.manifest import CONTROLLERS
from tests import tiny_onnx
from tests.tiny_onnx import FLOAT, node

N = 29
TERMS = [{"term": "joint_pos_rel"}, {"term": "joint_vel"}, {"term": "last_action"}, {"term": "velocity_command"}]
SIZE = 3 * N + 3


def network(path: Path, seed: int = 0) -> Path:
    """action = tanh(obs @ W)."""
    weights = 0.1 * np.random.default_rng(seed).standard_normal((SIZE, N))
    return tiny_onnx.write(
        path, [node("MatMul", ["obs", "W"], ["h"]), node("Tanh", ["h"], ["action"])], [("obs", FLOAT, (1, SIZE))],
        [("action", FLOAT, (1, N))], {"W": weights},
    )


def manifest(**changes: Any) -> dict[str, Any]:
    """Its `controller.json`."""
    data: dict[str, Any] = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
    data.update(name="tiny", inputs=[{"blocks": [{"terms": [dict(term) for term in TERMS]}]}],
                model={"file": "policy.onnx"}, **changes)
    data.pop("phase", None)
    return data


def make(
    folder: Path, data: dict[str, Any] | None = None, more: dict[str, bytes] | None = None, **how: Any
) -> Path:
    """The bundle as `folder`/tiny, `more` files in it; its network also lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"policy.onnx": network(folder / "policy.onnx"), **(more or {})}
    return write_bundle(folder / "tiny", data or manifest(), files, **how)


def edit(bundle: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file of a bundle; its hash in the listing stays."""
    data = json.loads((bundle / name).read_text("utf-8"))
    change(data)
    (bundle / name).write_bytes(json_bytes(data))


def rehash(bundle: Path) -> None:
    """Let the listing agree with the files; the signature stays."""

    def change(listing: dict[str, Any]) -> None:
        for name, row in listing["files"].items():
            data = (bundle / name).read_bytes()
            row.update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    edit(bundle, "bundle.json", change)
