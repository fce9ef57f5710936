"""torch, where it is tested: one release, with a CPU build for Python 3.11 and newer."""

from __future__ import annotations

import sys
from typing import Any

import pytest


def torch_or_skip() -> Any:
    """The module torch, on one thread; skips the test file where it is not tested; in CI fails where it is missing."""
    if sys.version_info < (3, 11):
        pytest.skip("torch is tested on Python 3.11 and newer", allow_module_level=True)
    torch = pytest.importorskip("torch", reason="missing dependency: torch")
    torch.set_num_threads(1)
    return torch
