"""A student's manifest: what of its teacher's observation it sees. Needs no torch."""

from __future__ import annotations

import json
from typing import Any

HISTORY = 4
"""Past frames: with them 0.5 million parameters follow the teacher; the teacher itself sees ten."""


def student_manifest(teacher: dict[str, Any], name: str, history: int = HISTORY) -> dict[str, Any]:
    """A manifest for a student of a teacher: the teacher's terms, each once, and `history` past frames of them.

    Everything else (joints, gains, action mapping, gait clock, ranges) is the teacher's.

    Args:
        teacher: content of the teacher's controller.json.
        name: of the student.
        history: past frames; the oldest first, the first one repeated at the start.
    """
    terms: dict[str, dict[str, Any]] = {}
    for entry in teacher["inputs"]:
        for block in entry["blocks"]:
            for term in block.get("terms", []):
                own = {key: value for key, value in term.items() if key not in ("history", "label")}
                terms.setdefault(json.dumps(own, sort_keys=True), own)
    frame: list[dict[str, Any]] = [{"name": "frame", "terms": list(terms.values())}]
    if history:
        frame.append({"past_of": "frame", "length": history, "order": "oldest_first", "fill": "repeat"})
    keep = ("schema", "kind", "robot", "rate_hz", "joints", "default_pose", "gains", "held", "action", "phase",
            "command", "reference")
    return {
        **{key: teacher[key] for key in keep if key in teacher},
        "name": name,
        "description": f"A small student distilled from {teacher['name']}",
        "model": {"file": "policy.onnx"},
        "inputs": [{"blocks": frame}],
    }
