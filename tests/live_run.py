"""`exoactor run` as a process, for tests that watch and harm it from outside: the campaign's own."""

from runtime.campaign.live_run import MOTORS, ROOT, LiveRun, await_, has_fifo, is_running, resident_mb

__all__ = ["MOTORS", "ROOT", "LiveRun", "await_", "has_fifo", "is_running", "resident_mb"]
