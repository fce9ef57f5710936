"""A command that is a table of jobs, each imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping

Jobs = Mapping[str, tuple[str, str]]
"""name: (module offering `add_arguments(parser)` and `run(args) -> int`, one line of help)."""


def add_job_arguments(parser: argparse.ArgumentParser, command: str, jobs: Jobs) -> None:
    """The job's name, and everything after it for the job itself."""
    width = max(len(name) for name in jobs)
    table = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in jobs.items())
    parser.usage = f"exoactor {command} [--help] JOB ..."
    parser.epilog = f"jobs:\n{table}\n\n`exoactor {command} JOB --help` shows one job's options."
    parser.add_argument("job", choices=jobs, metavar="JOB", help="what to do")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run_job(args: argparse.Namespace, command: str, jobs: Jobs) -> int:
    """One job; returns its exit code."""
    module, summary = jobs[args.job]
    job = importlib.import_module(module)
    parser = argparse.ArgumentParser(
        prog=f"exoactor {command} {args.job}", description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    job.add_arguments(parser)
    return int(job.run(parser.parse_args(args.rest)))
