"""Says whether every wheel the robot's computer needs exists for aarch64 Linux, on any machine.

Reads the requirements from setup.py, evaluates their markers as a Jetson would, and lets pip resolve binary
wheels only, installing nothing. Limit: pip evaluates the markers of *transitive* requirements for the machine
it runs on.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
# Tags do not imply lower ones. JetPack 6 is Ubuntu 22.04: glibc 2.35.
GLIBC_MINORS = (17, 26, 27, 28, 31, 34, 35)
PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC_MINORS)]
# JetPack 6 has Python 3.10, JetPack 7 has 3.12.
CASES = [("3.10", "robot"), ("3.10", "sim"), ("3.12", "robot"), ("3.12", "sim"), ("3.12", "gpu")]


def read_setup() -> dict[str, Any]:
    """The arguments that setup.py gives to setuptools, which itself need not be installed."""
    arguments: dict[str, Any] = {}
    stand_in = types.ModuleType("setuptools")
    stand_in.setup = lambda **kwargs: arguments.update(kwargs)  # type: ignore[attr-defined]
    stand_in.find_packages = lambda **_: []  # type: ignore[attr-defined]
    sys.modules["setuptools"] = stand_in
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def requirements_on_jetson(lines: list[str], python: str) -> list[str]:
    """The requirements whose markers hold on aarch64 Linux with this Python, without the markers."""
    jetson = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "aarch64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate(jetson):
            requirement.marker = None
            kept.append(str(requirement))
    return kept


def resolve(requirements: list[str], python: str) -> bool:
    """Whether pip finds binary wheels for all of them; its complaint goes to stderr."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "-qq", "--ignore-installed"]
        command += ["--target", target, "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", python]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        return subprocess.run([*command, *requirements], check=False).returncode == 0


def main() -> int:
    """Prints one line a case; 0 when all resolve."""
    settings = read_setup()
    failed = 0
    for python, extra in CASES:
        lines = [*settings["install_requires"], *settings["extras_require"][extra]]
        requirements = requirements_on_jetson(lines, python)
        resolved = resolve(requirements, python)
        failed += not resolved
        verdict = "resolves" if resolved else "DOES NOT RESOLVE"
        print(f"aarch64, Python {python}, extra {extra}: {verdict}: {', '.join(requirements)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
