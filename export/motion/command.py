"""`exoactor motion`: from whatever holds a motion to what a controller tracks."""

from __future__ import annotations

import argparse

from export.jobs import Jobs, add_job_arguments, run_job

JOBS: Jobs = {
    "convert": ("export.motion.convert_command", "bring motions of any source to a clip or to SONIC's folders"),
    "stream": ("export.motion.stream_command", "send a clip as a live stream of SONIC's protocol"),
    "skeleton": ("export.motion.skeleton", "write the bones of a body model as a small file"),
    "check": ("export.motion.check_command", "say whether a motion can be followed, check by check; repair it"),
    "show": ("export.motion.show_command", "picture it: contact sheet, moving picture, plots with limits, viewer"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's name, and everything after it for the job itself."""
    add_job_arguments(parser, "motion", JOBS)


def run(args: argparse.Namespace) -> int:
    """One job; returns its exit code."""
    return run_job(args, "motion", JOBS)
