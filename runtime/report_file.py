"""A run's `report.json`: there as a whole, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

NAME = "report.json"


def write_report(out: Path, report: dict[str, Any]) -> None:
    """Put it into a run's folder in one go, so that a full disk leaves no empty or cut report.

    Raises:
        OSError: it could not be written; nothing is left of it then.
    """
    fresh = out / f".{NAME}.new"
    try:
        fresh.write_text(json.dumps(report, indent=1), encoding="utf-8")
        os.replace(fresh, out / NAME)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
