"""Every job of `exoactor export` shows its help without torch, which takes seconds to import and may be absent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from export.command import JOBS

WITHOUT_TORCH = """
import importlib, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_no_job_needs_torch_to_be_described():
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    modules = [module for module, _ in JOBS.values()]
    result = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *modules], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
