"""`exoactor bridge`: motors on serial ports. One table of jobs, each imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib

JOBS: dict[str, tuple[str, str]] = {
    "scan": ("firmware_bridge.bridge_scan", "say who answers on a port, and what each says of itself"),
    "ping": ("firmware_bridge.bridge_ping", "ask one drive again and again: answers, losses, round trip"),
    "set-id": ("firmware_bridge.bridge_set_id", "give a drive another id, where its protocol can"),
    "watchdog": ("firmware_bridge.bridge_watchdog", "read or set after which silence a drive lets go"),
    "monitor": ("firmware_bridge.bridge_monitor", "watch every drive of a robot, without torque: rates, faults"),
    "run": ("firmware_bridge.bridge_run", "serve a serial robot on DDS, as a Unitree robot is"),
    "emulate": ("firmware_bridge.bridge_emulate", "open a pseudo-terminal for each port, with drives at its far end"),
}
"""name: (module offering `add_arguments(parser)` and `run(args) -> int`, one line of help)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's name, and everything after it for the job itself."""
    width = max(len(name) for name in JOBS)
    table = "\n".join(f"  {name:<{width}}  {summary}" for name, (_, summary) in JOBS.items())
    parser.usage = "exoactor bridge [--help] JOB ..."
    parser.epilog = f"jobs:\n{table}\n\n`exoactor bridge JOB --help` shows one job's options."
    parser.add_argument("job", choices=JOBS, metavar="JOB", help="what to do")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """One job; returns its exit code."""
    module, summary = JOBS[args.job]
    job = importlib.import_module(module)
    parser = argparse.ArgumentParser(prog=f"exoactor bridge {args.job}", description=summary,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    job.add_arguments(parser)
    return int(job.run(parser.parse_args(args.rest)))
