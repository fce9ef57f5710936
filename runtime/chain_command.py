"""`exoactor chain`: write chains of actions, also while a run follows them, and look at their seams."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.chain import CHAINS, FORMAT, action_clip, chain_clip, find_chain, parse_chain, read_chain
from runtime.clip import find_clip, is_file
from runtime.errors import Refused
from runtime.robot import load_robot

ROBOT = "g1_29dof"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor chain`."""
    parser.epilog = ("examples:\n"
                     "  exoactor chain append day.json walk            begins a file, or goes on in it\n"
                     "  exoactor run --chain day.json --follow\n"
                     "  exoactor chain append day.json reach.npz --end 4.0 --done\n"
                     "  exoactor chain show day.json")
    verbs = parser.add_subparsers(dest="verb", required=True)
    append = verbs.add_parser("append", help="one more action, whole or not at all; a run that follows takes it")
    append.add_argument("file", metavar="FILE")
    append.add_argument("clip", metavar="CLIP", help="a file, or a shipped clip's name")
    append.add_argument("--repeats", type=int, metavar="N", help="how many times in a row (default: 1)")
    append.add_argument("--start", type=float, metavar="S", help="the part of the clip to take (default: all of it)")
    append.add_argument("--end", type=float, metavar="S")
    append.add_argument("--blend", type=float, metavar="S", help="how long the seam before it takes")
    append.add_argument("--done", action="store_true", help="nothing comes after it: a run that follows ends behind it")
    done = verbs.add_parser("done", help="say that nothing more comes: a run that follows ends, standing")
    done.add_argument("file", metavar="FILE")
    show = verbs.add_parser("show", help="how long it is and where its seams are; what a run would refuse is refused")
    show.add_argument("file", metavar="FILE|NAME")
    for verb in (append, show):
        verb.add_argument("--robot", default=ROBOT, metavar="NAME|FILE", help=f"for which robot (default: {ROBOT})")
    for verb in (append, done, show):
        verb.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """One verb; returns the exit code."""
    if args.verb == "show":
        return _show(args)
    path = Path(args.file)
    if args.verb == "append":
        entry = {key: value for key, value in (
            ("clip", _name_of(args.clip, path)), ("repeats", args.repeats), ("start_s", args.start),
            ("end_s", args.end), ("blend_s", args.blend)) if value is not None}
        actions = append_to(path, entry, is_done=args.done, robot=args.robot)
    else:
        actions = append_to(path, None, is_done=True)
    _say(args, {"file": str(path), "actions": actions, "done": read_chain(path).is_done},
         f"{path}: {actions} actions{', done' if args.verb == 'done' or args.done else ''}")
    return 0


def append_to(path: Path, entry: dict[str, Any] | None, *, is_done: bool = False, robot: str = ROBOT) -> int:
    """Puts an action behind those of a file, which begins to be where it was not: how many it has then.

    The file is replaced as a whole, so that whoever reads it sees it before or after; writers wait for each other.

    Raises:
        Refused: what is there is no chain, the action is none, or its clip does not load.
    """
    with _locked(path):
        if entry is not None and not path.exists():
            data: dict[str, Any] = {"format": FORMAT, "actions": []}
        else:
            if read_chain(path).is_done and entry is not None:
                raise Refused(f"chain {path.name}", expected="one that may still grow", found='"done": true',
                              what_to_do="begin another file, or take the mark out where no run follows it")
            data = json.loads(path.read_bytes())
        if entry is not None:
            data["actions"].append(entry)
        if is_done:
            data["done"] = True
        text = json.dumps(data, indent=1).encode()
        chain = parse_chain(text, path)
        if entry is not None:
            action_clip(chain.actions[-1], f"chain {path.name}, actions[{len(chain.actions) - 1}]", load_robot(robot))
        _replace(path, text)
    return len(chain.actions)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among those who write chains in this folder."""
    if CHAINS.resolve() == path.parent.resolve() or not path.parent.is_dir():
        raise Refused("chain", expected="a file in a folder of yours", found=f"{path}", what_to_do="name another place")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, text: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with fresh.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            fresh.chmod(path.stat().st_mode & 0o7777)
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise Refused(f"chain {path.name}", expected="a folder that can be written to", found=f"{error.strerror}",
                      what_to_do="choose another place, or make room") from error


def _name_of(clip: str, chain: Path) -> str:
    """As the file is to name it: from the chain's folder on, or a shipped one's name."""
    if is_file(Path(clip)):
        return os.path.relpath(Path(clip).resolve(), chain.parent.resolve())
    if is_file(find_clip(clip)) or is_file(chain.parent / clip):
        return clip
    raise Refused("clip", expected="a file, or a shipped clip's name", found=clip[:200], what_to_do="check the path")


def _show(args: argparse.Namespace) -> int:
    path = find_chain(args.file)
    clip, seams = chain_clip(path, load_robot(args.robot))
    facts = {"file": str(path), "duration_s": round(clip.duration_s, 3), "done": read_chain(path).is_done, "seams": [
        {"first": seam.first, "second": seam.second, "time_s": round(seam.time_s, 3), "blend_s": seam.blend_s,
         "cut_s": [round(cut, 3) for cut in seam.cut_s], "same_contacts": seam.same_contacts} for seam in seams]}
    lines = [f"{path}: {clip.duration_s:.2f} s, {len(seams)} seams"]
    for seam in seams:
        feet = "the same feet stand" if seam.same_contacts else "other feet stand"
        lines.append(f"{seam.time_s:8.2f} s  {seam.first} -> {seam.second}, blend {seam.blend_s:g} s, {feet}")
    _say(args, facts, "\n".join(lines))
    return 0


def _say(args: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    print(json.dumps(facts) if args.json else text)
