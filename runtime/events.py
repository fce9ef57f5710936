"""What child processes tell the supervisor: one JSON object a line on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any


def emit(event: str, **details: Any) -> None:
    """Tell the supervisor; a vanished one is no error of ours."""
    line = json.dumps({"event": event, **details}) + "\n"
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), line.encode())


def emit_refusal(error: Any) -> None:
    """A refusal with its parts (`BridgeError` family)."""
    emit("refused", what=error.what, expected=error.expected, found=error.found, what_to_do=error.what_to_do)
