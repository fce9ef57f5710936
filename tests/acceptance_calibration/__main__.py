"""python -m tests.acceptance_calibration [--only sysid,imu] [--seeds 20] [--first 0] [--jobs 1] [--json FILE]

Not a test of the suite: parts take minutes to hours, at nice 19. Exit code 1 when something falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.acceptance_calibration.figures import rows

HERE = Path(__file__).parent


def parts() -> dict[str, str]:
    """Part -> its module."""
    names = [info.name for info in pkgutil.iter_modules([str(HERE)])]
    rest = ("__main__", "figures", "hidden")
    return {name.replace("_", "-"): f"{__package__}.{name}" for name in names if name not in rest}


def one_trial(work: tuple[str, int]) -> list[Any]:
    """What a trial of a module found."""
    module, seed = work
    with tempfile.TemporaryDirectory() as folder:
        return list(import_module(module).trial(seed, Path(folder)))


def main() -> int:
    """All parts asked for; the exit code."""
    known = parts()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(known), help=f"of {', '.join(known)}")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="every value found")
    args = parser.parse_args()
    os.nice(19)
    is_met, kept = True, {}
    for part in filter(None, args.only.split(",")):
        module = import_module(known[part])
        work = [(known[part], args.first + seed) for seed in range(args.seeds)]
        began, found = time.monotonic(), []
        with ProcessPoolExecutor(args.jobs) as pool:
            for done, values in enumerate(pool.map(one_trial, work), 1):
                found += values
                print(f"{part}: {done} of {len(work)}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        print(f"\n| {part}, {args.seeds} seeds | asked | measured | intervals hold the truth | ok |")
        print("|---|---|---|---|---|")
        for row in rows(module.ASKED, found):
            is_met = is_met and row.is_met
            print(f"| {row.quantity} | {row.asked} | {row.measured} | {row.covered} | "
                  f"{'yes' if row.is_met else '**no**'} |", flush=True)
        kept[part] = [asdict(value) for value in found]
    if args.json:
        args.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
