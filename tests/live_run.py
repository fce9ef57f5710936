"""`exoactor run` as a process, for tests that watch and harm it from outside: the campaign's own."""

from __future__ import annotations

from pathlib import Path

from runtime.campaign.live_run import MOTORS, ROOT, LiveRun, await_, has_fifo, is_running, resident_mb
from runtime.preflight_machine import check_machine, read_machine

__all__ = ["MOTORS", "ROOT", "LiveRun", "await_", "has_fifo", "is_running", "resident_mb"]


def lacks_for_a_robot() -> str:
    """What this computer lacks to be let near a real robot, e.g. in a container; empty when nothing."""
    checks = check_machine(read_machine(Path.cwd(), None), strict=True)
    return ", ".join(check.check for check in checks if check.is_red)
