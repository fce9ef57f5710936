"""Where other people's policies and motions lie beside a checkout, when they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(path: str) -> Path:
    """A file of the shared data folder; skips the test where it is absent."""
    root = Path(os.environ.get("EXOACTOR_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    file = root / path
    if not file.exists():
        pytest.skip(f"shared data absent: {path}")
    return file
