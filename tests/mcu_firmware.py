"""The C far end of our link, built with the compiler at hand, for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MCU = Path(__file__).resolve().parents[1] / "firmware_bridge" / "mcu"
STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion"]


def build(source: Path, folder: Path, *flags: str) -> Path:
    """A program of the link and one more file; any warning is an error."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("missing dependency: gcc")
    program = folder / source.stem
    sources = [str(MCU / "exo_link.c"), str(source)]
    subprocess.run([compiler, *STRICT, *flags, f"-I{MCU}", *sources, "-o", str(program)], check=True)
    return program
