"""`exoactor export motion-estimator`: render, learn, judge and bundle; each goes on where it was put down."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.errors import Refused


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export motion-estimator`."""
    parser.epilog = ("example:\n  exoactor export motion-estimator --work DIR --out BUNDLE --minutes 60 --threads 2"
                     "\nstopped or killed, the same line goes on; --stop-after render only renders")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="takes, checkpoints and curves, kept")
    parser.add_argument("--out", type=Path, metavar="BUNDLE", help="the bundle to write")
    parser.add_argument("--takes", type=int, default=700, help="to learn from, 32 frames each (default 700)")
    parser.add_argument("--held-out", type=int, default=24, metavar="N", help="videos to be judged by (default 24)")
    parser.add_argument("--minutes", type=float, default=60.0, help="of learning on two cores (default 60)")
    parser.add_argument("--threads", type=int, default=1, help="to render and learn with (default 1)")
    parser.add_argument("--stop-after", choices=("render", "learn"), help="and no further")
    parser.add_argument("--exact", action="store_true", help="multiply in float32 also while learning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Everything that is not done yet; returns the exit code."""
    if args.out is None and args.stop_after is None:
        raise Refused("--out", expected="a bundle to write", found="none", what_to_do="name one, or --stop-after")
    if min(args.takes, args.held_out, args.threads) < 1 or not 0 < args.minutes <= 6000:
        raise Refused("--takes, --held-out, --threads, --minutes", expected="positive numbers", found="others",
                      what_to_do="correct them")
    from export.imagine.motion_estimator.whole_course import carry_out  # torch and mujoco only now

    return carry_out(args)
