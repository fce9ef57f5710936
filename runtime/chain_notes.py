"""What a followed chain has to say for a run's report, as a file that is whole at every moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NAME = "chain.json"


def write_chain_notes(out: Path, notes: dict[str, Any]) -> None:
    """Into the run's folder."""
    fresh = out / f"{NAME}.tmp"
    fresh.write_text(json.dumps(notes, indent=1), encoding="utf-8")
    os.replace(fresh, out / NAME)


def read_chain_notes(out: Path) -> dict[str, Any]:
    """What was written last; empty where nothing was."""
    try:
        notes = json.loads((out / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
