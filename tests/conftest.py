"""What every test shares: the environment of child processes, and no silent skips in CI."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator

import pytest
from hypothesis import Phase, settings

# Set before numpy is imported, and inherited by child processes: tests share few cores and have no display.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch
os.environ.setdefault("MUJOCO_GL", "osmesa")

# Keys that tests make or trust are never those of whoever runs them.
os.environ["EXOACTOR_CONFIG"] = tempfile.mkdtemp(prefix="exoactor-test-config-")
atexit.register(shutil.rmtree, os.environ["EXOACTOR_CONFIG"], ignore_errors=True)

# CI draws the same examples every time: a find of chance belongs to a developer's run, not to somebody's submission.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("developer", deadline=None)
settings.register_profile("mutants", derandomize=True, deadline=None, database=None, max_examples=30,
                          phases=(Phase.explicit, Phase.generate))
settings.load_profile("ci" if os.environ.get("CI") == "true" else "developer")

# CI installs every dependency, so there such a skip is a hole. The second reason is importorskip's own.
MISSING_DEPENDENCY = ("Skipped: missing dependency:", "Skipped: could not import")


def _fail_missing_dependency(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip for a missing dependency into a failure when CI=true; leaves every other report alone."""
    if os.environ.get("CI") != "true" or not report.skipped or not isinstance(report.longrepr, tuple):
        return
    path, line, reason = report.longrepr
    if reason.startswith(MISSING_DEPENDENCY):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: not skippable in CI: {reason.removeprefix('Skipped: ')}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_missing_dependency(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_missing_dependency(report)
    return report
