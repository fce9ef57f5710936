"""`exoactor motion convert`: motions of any source to clips or SONIC's folders, one or many."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from export.motion.content import PICKLED
from export.motion.convert import TARGETS, Wish, convert
from export.motion.formats import FORMATS, format_module
from firmware_bridge.errors import BridgeError
from runtime.errors import Refused

SUFFIXES = (".npz", ".npy", ".csv", ".bvh", *PICKLED)
Job = tuple[Path, Path, Wish]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor motion convert`."""
    known = "\n".join(f"  {name:<13} {format_module(name).SUMMARY}" for name in FORMATS)
    parser.epilog = (
        f"formats, told apart by what a file holds:\n{known}\n\n"
        "examples:\n"
        "  exoactor motion convert walk.bvh walk.npz --retarget         for controllers that follow joints\n"
        "  exoactor motion convert hmr4d_results.pt human.npz           for SONIC's smpl mode: channels and wrists\n"
        "  exoactor motion convert walk.npz walk/ --to sonic            a folder for SONIC's own program\n"
        "  exoactor motion convert lafan1/ clips/ --retarget            every file of a folder, on all cores"
    )
    parser.add_argument("source", metavar="IN", help="a file, one of SONIC's folders, or a folder of files")
    parser.add_argument("out", metavar="OUT", help="file (npz) or folder")
    parser.add_argument("--from", dest="format", choices=FORMATS, metavar="FORMAT",
                        help="where the content fits several")
    parser.add_argument("--to", choices=TARGETS, default="npz", help="npz: a clip (default); sonic: its reference "
                        "folder; human: the human's motion as such")
    parser.add_argument("--retarget", action="store_true", help="give a human's motion the robot's joints")
    parser.add_argument("--robot", default="g1_29dof", help="whose joints (default g1_29dof)")
    parser.add_argument("--fps", type=float, help="the source's rate, where it keeps none or a wrong one")
    parser.add_argument("--rate", type=float, help="of the result (default: a robot's own, 50 for a human's)")
    parser.add_argument("--track", help="which person or motion of several")
    parser.add_argument("--up", choices=("y", "z"), help="the source's axis upwards, where it cannot be seen")
    parser.add_argument("--smpl-models", metavar="DIR", help="folder of body models, for the bones of a shape")
    parser.add_argument("--hands", metavar="FILE", help="hand tracks of the same frames")
    parser.add_argument("--jobs", type=int, help="processes for many files (default: all cores)")
    parser.add_argument("--cluster", metavar="ADDRESS",
                        help="tcp://HOST:PORT of Dask or ray://HOST:PORT, for many files")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--json", action="store_true", help="one JSON object a file")


def run(args: argparse.Namespace) -> int:
    """Convert; 2 when any file was refused, the others are converted."""
    wish = Wish(robot=args.robot, source=args.format, target=args.to, retarget=args.retarget, rate=args.rate,
                force=args.force, fps=args.fps, track=args.track, up=args.up, smpl_models=args.smpl_models,
                hands=args.hands)
    jobs = list(_jobs(Path(args.source), Path(args.out), wish))
    if len(jobs) == 1 and jobs[0][0] == Path(args.source):
        _say(convert(*jobs[0]), as_json=args.json)
        return 0
    refused = 0
    for fact in _all(jobs, args):
        refused += "refused" in fact
        _say(fact, as_json=args.json)
    if not args.json:
        print(f"{len(jobs) - refused} of {len(jobs)} converted")
    return 2 if refused else 0


def _jobs(source: Path, out: Path, wish: Wish) -> Iterator[Job]:
    """What to convert, and to where.

    Raises:
        Refused: a folder without motions.
    """
    if not source.is_dir() or (source / "joint_pos.csv").is_file():
        yield source, out, wish
        return
    folders = sorted(path.parent for path in source.rglob("joint_pos.csv"))
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
                   and not any(folder in path.parents for folder in folders))
    if not files and not folders:
        raise Refused("motions", expected=f"files ending in {', '.join(SUFFIXES)}, or SONIC's folders",
                      found=f"none in {source}", what_to_do="check the path")
    ending = ".npz" if wish.target != "sonic" else ""
    names: dict[Path, Path] = {}
    for path in [*files, *folders]:
        target = out / path.relative_to(source).with_suffix(ending) if path.is_file() else \
            out / path.relative_to(source).parent / (path.name + ending)
        if target in names:
            target = target.with_name(f"{target.stem}_{path.suffix[1:]}{ending}")
        names[target] = path
        yield path, target, wish


def _attempt(job: Job) -> dict[str, Any]:
    """A conversion whose refusal is an answer."""
    try:
        return convert(*job)
    except BridgeError as error:
        return {"source": str(job[0]), "refused": str(error)}


def _all(jobs: list[Job], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Answers in the order of the files."""
    from tqdm import tqdm

    with _mapper(args) as spread:
        yield from tqdm(spread(_attempt, jobs), total=len(jobs), disable=args.json or not sys.stderr.isatty())


@contextlib.contextmanager
def _mapper(args: argparse.Namespace) -> Iterator[Callable[[Callable[[Job], dict[str, Any]], list[Job]], Any]]:
    """What maps a function over jobs: processes here, or those of a cluster."""
    if args.cluster is None:
        with ProcessPoolExecutor(args.jobs) as pool:
            yield lambda function, jobs: pool.map(function, jobs)
    elif args.cluster.startswith("ray://"):
        import ray

        ray.init(args.cluster)
        try:
            yield lambda function, jobs: map(ray.get, [ray.remote(function).remote(job) for job in jobs])
        finally:
            ray.shutdown()
    else:
        import distributed

        with distributed.Client(args.cluster) as client:
            yield lambda function, jobs: (future.result() for future in client.map(function, jobs, pure=False))


def _say(fact: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(fact), flush=True)
        return
    if "refused" in fact:
        print(f"REFUSED {fact['source']}: {fact['refused']}", file=sys.stderr)
        return
    print(f"{fact['out']}: {fact['frames']} frames at {fact['fps']:g} Hz, {fact['duration_s']} s")
    for note in fact["notes"]:
        print(f"  {note}")
    if "retarget" in fact:
        report = fact["retarget"]
        print(f"  retargeted: feet skate {report['skate_mm_s']:.0f} mm/s (the human's "
              f"{report['human_skate_mm_s']:.0f}), fastest joint {report['fastest_rad_s']:.1f} rad/s, "
              f"{report['limit_hits']} limit hits")
