"""`exoactor campaign`: every fault of the table injected, and the answers measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from runtime.admission import admit
from runtime.clip import clip_names
from runtime.errors import Refused
from runtime.fault_table import FAULTS
from runtime.manifest import OWN_CONTROLLER
from runtime.settings import RunSettings

MOTIONS = ("walk", "squat", "wave", "walk_turning", "reach", "walk_sideways", "turn_in_place", "sway", "walk_fast",
           "walk_backwards", "bow", "twist", "arms_up")
"""Shipped motions in the order in which `--motions` takes them: unlike ones first."""
VELOCITY = (0.4, 0.0, 0.0)
"""What a velocity controller is told to do: m/s, m/s, rad/s, within what it was trained for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor campaign`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor campaign --seeds 2 --motions 1 --json OUT.json\n"
        "  exoactor campaign --seeds 20 --motions 3 --html campaign.html     every fault, on all cores\n"
        "  exoactor campaign --only STATE_LOST,14 --seeds 5\n"
        "  exoactor campaign --process --repeats 5 --json OUT.json           real processes, killed and starved\n"
        "exit code 1 when an answer was wrong"
    )
    parser.add_argument("--controller", default=OWN_CONTROLLER,
                        help=f"name, manifest or bundle folder (default: {OWN_CONTROLLER})")
    parser.add_argument("--model", help="ONNX file, when the controller does not bring its own")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each fault on each motion (default 2)")
    parser.add_argument("--motions", type=int, default=1, metavar="N",
                        help=f"how many shipped motions, of {', '.join(MOTIONS)} (default 1)")
    parser.add_argument("--only", metavar="FLAG|ROW,...", help="only these faults, or kinds of --process")
    parser.add_argument("--nominal", type=float, default=0.0, metavar="HOURS",
                        help="also run healthy for so many simulated hours, with losses and jitter: nothing may trip")
    parser.add_argument("--process", action="store_true", help="harm real processes instead of simulated time")
    parser.add_argument("--repeats", type=int, default=5, help="of each kind with --process (default 5)")
    parser.add_argument("--domain", type=int, default=51, help="first of two DDS domains for --process (default 51)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)),
                        help="worker processes (default: cores)")
    parser.add_argument("--allow-unsigned", action="store_true", help="take a bundle that no trusted key has signed")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the report there")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the report there as a page")


def run(args: argparse.Namespace) -> int:
    """Run the campaign; 0 when every answer was right."""
    _check(args)
    if args.process:
        from runtime.campaign.process import run_process_campaign

        report = run_process_campaign(args)
    else:
        report = _lockstep_campaign(args)
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{report['runs']} runs, {report['wrong']} wrong")
    return 0 if report["wrong"] == 0 else 1


def _check(args: argparse.Namespace) -> None:
    for name, value, high in (("seeds", args.seeds, 10_000), ("motions", args.motions, len(MOTIONS)),
                              ("repeats", args.repeats, 10_000), ("jobs", args.jobs, 1024)):
        if not 1 <= value <= high:
            raise Refused(f"--{name}", expected=f"from 1 to {high}", found=f"{value}",
                          what_to_do="give a whole number in that range")
    if not 0 <= args.nominal <= 1000:
        raise Refused("--nominal", expected="hours from 0 to 1000", found=f"{args.nominal}",
                      what_to_do="give a number in that range")
    for path in (args.json, args.html):
        if path is not None and not path.absolute().parent.is_dir():
            raise Refused("report", expected="an existing folder", found=str(path.absolute().parent),
                          what_to_do="make the folder first")
    known = {fault.flag for fault in FAULTS} | {str(row) for row in range(65)}
    unknown = [] if args.only is None or args.process else [one for one in args.only.split(",") if one not in known]
    if unknown:
        raise Refused("--only", expected="flags of docs/faults.md, or their row numbers", found=", ".join(unknown),
                      what_to_do="choose among them")


def _lockstep_campaign(args: argparse.Namespace) -> dict[str, Any]:
    from runtime.campaign.nominal import nominal_hours
    from runtime.campaign.report import make_report, table, write_page
    from runtime.campaign.runner import as_rows, jobs_of, run_jobs, unanswered

    settings, motions = settings_of(args)
    jobs = jobs_of(settings, motions, args.seeds, args.only)
    progress = Progress("runs", sum(job.runs for job in jobs))
    start = time.monotonic()
    outcomes = run_jobs(jobs, args.jobs, lambda done: progress.add(len(done), sum(not one.ok for one in done)))
    outcomes += unanswered(args.only)
    progress.end()
    nominal = None
    if args.nominal:
        hours = Progress("simulated hours", args.nominal)
        nominal = nominal_hours(settings, motions, args.nominal, args.jobs, hours.set)
        hours.end()
    names = [motion or "command" for motion in motions]
    report = make_report(args.controller, names, args.seeds, as_rows(outcomes), time.monotonic() - start, nominal)
    print(table(report))
    if nominal is not None:
        print(f"nominal: {nominal['hours']} h, {nominal['false_trips']} false trips, {nominal['falls']} falls")
    if args.html is not None:
        write_page(args.html, report)
    return report


def settings_of(args: argparse.Namespace) -> tuple[RunSettings, list[str | None]]:
    """What each run does, and the motions it does it to (None: a velocity command, or the motion in the network)."""
    manifest = admit(args.controller, allow_unsigned=args.allow_unsigned).manifest
    moves = manifest.kind == "tracker" and manifest.embedded is None
    shipped = [name for name in MOTIONS if name in clip_names()]
    settings = RunSettings(
        controller=args.controller, robot=manifest.robot_file, model=args.model, clip=None,
        command=(0.0, 0.0, 0.0) if manifest.kind == "tracker" else VELOCITY, duration_s=None, target="sim", domain=0,
        interface=None, peers=(), out="", rate_hz=manifest.rate_hz, allow_unsigned=args.allow_unsigned,
        teleop="network",
    )
    return settings, list(shipped[: args.motions]) if moves else [None]


class Progress:
    """How far it is, on standard error: a bar on a terminal, else a line a tenth."""

    WIDTH = 30

    def __init__(self, what: str, total: float) -> None:
        self._what, self._total, self._done, self._wrong = what, total, 0.0, 0
        self._is_terminal = sys.stderr.isatty()
        self._said = 0

    def add(self, done: float, wrong: int = 0) -> None:
        """So much more is done."""
        self._wrong += wrong
        self.set(self._done + done)

    def set(self, done: float) -> None:
        """So much is done."""
        self._done = done
        share = min(1.0, done / self._total) if self._total else 1.0
        line = f"{done:g} of {self._total:g} {self._what}" + (f", {self._wrong} wrong" if self._wrong else "")
        if self._is_terminal:
            bar = "#" * int(share * self.WIDTH)
            print(f"\r[{bar:<{self.WIDTH}}] {line} ", end="", file=sys.stderr, flush=True)
        elif int(10 * share) > self._said:
            self._said = int(10 * share)
            print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            print(file=sys.stderr)
