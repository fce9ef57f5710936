"""`exoactor calibrate`: routines on a robot, and the file they keep."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timezone

from calibration import history
from calibration.armature import Armature
from calibration.backlash import Backlash
from calibration.bring_up import BringUp
from calibration.closed_chain import ClosedChain, ClosedChainHands
from calibration.contacts import Contacts
from calibration.friction import Friction
from calibration.gains import Gains
from calibration.gravity import Gravity
from calibration.hand_session import carry_out_hands
from calibration.hands import Hands
from calibration.identify import Identify
from calibration.imu import Imu
from calibration.jig import Pose
from calibration.joint_zero import JointZero
from calibration.latency import Latency
from calibration.mapping import Mapping
from calibration.options import add_robot_options, add_routine_options, order_of, resumed
from calibration.range_sweep import Range
from calibration.routine import Routine
from calibration.session import carry_out, dry_run
from calibration.thermal import Thermal
from runtime.errors import Refused
from runtime.hand import USUAL_HAND, load_hand

ROUTINES: dict[str, type[Routine]] = {kind.name: kind for kind in (
    BringUp, Mapping, Range, JointZero, Pose, Gravity, Imu, ClosedChain, ClosedChainHands, Contacts, Thermal, Friction,
    Armature, Latency, Backlash, Gains, Identify)}
KEEPING = {"list": "the versions of --file", "diff": "what its last version changed",
           "undo": "bring back the one before",
           "export": "what it knows of the plant, as a truth for the simulated robot"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor calibrate`."""
    names = "\n".join(f"  {name:<20}{summary}" for name, summary in _summaries().items())
    keeping = "\n".join(f"  {name:<20}{text}" for name, text in KEEPING.items())
    parser.epilog = (
        f"routines:\n{names}\nkeeping the file:\n{keeping}\n\nexamples:\n"
        "  exoactor calibrate joint-zero --joints left_knee_joint --truth TRUTH.json --yes --out runs/zero\n"
        "  exoactor calibrate imu --truth TRUTH.json --file cal.json --yes --out runs/imu\n"
        "  exoactor calibrate joint-zero --robot g1 --interface eth0 --deadman remote --serial G1-7 --file cal.json\n"
        "  exoactor calibrate --resume runs/zero\n"
        "  exoactor calibrate diff --file cal.json"
    )
    parser.add_argument("what", nargs="?", choices=[*_summaries(), *KEEPING], metavar="ROUTINE|list|diff|undo|export",
                        help="a routine, or what to do with a file")
    parser.add_argument("--hands", default=USUAL_HAND, metavar="NAME|FILE", help=f"for `hands` (default {USUAL_HAND})")
    parser.add_argument("--list", action="store_true", dest="lists", help="the routines, one a line")
    add_routine_options(parser)
    add_robot_options(parser.add_argument_group("robot"))
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """One routine, or one look at a file; returns the exit code."""
    if args.lists or (args.what is None and args.resume is None):
        for name, summary in _summaries().items():
            print(f"{name:<20} {summary}")
        return 0
    if args.what in KEEPING:
        return _keep(args)
    what, order = resumed(args).what, order_of(args)
    if args.dry_run:
        is_hands = what == Hands.name
        for line in Hands(load_hand(args.hands)).plan() if is_hands else dry_run(
                ROUTINES[what](**order.parameters), order):
            print(line)
        return 0
    say = (lambda line: print(line, file=sys.stderr)) if args.json else print

    def ask(text: str) -> bool:
        return bool(args.yes or _asked(text))

    if what == Hands.name:
        report = carry_out_hands(args.hands, order, say, ask)
    else:
        report = carry_out(ROUTINES[what](**order.parameters), order, say, ask)
    if args.json:
        print(json.dumps(report))
    else:
        for verdict in report.get("verdicts", []):
            if not verdict["ok"]:
                print(f"NOT OK {verdict['name']}: {verdict['measured']}, limit {verdict['limit']}: "
                      f"{verdict['what_to_do']}")
        why = f": {report['stopped']}" if report["stopped"] else ""
        print(f"{report['outcome']}{why}; {order.out / 'report.html'}")
        if report["outcome"] == "stopped" and what != Hands.name:
            print(f"to go on with it: exoactor calibrate --resume {order.out}")
    return 0 if report["outcome"] in ("written", "measured") else 1


def _summaries() -> dict[str, str]:
    """Every routine by name; the hands' own has no body in it."""
    return {**{name: kind.summary for name, kind in ROUTINES.items()}, Hands.name: Hands.summary}


def _asked(text: str) -> bool:
    if not sys.stdin.isatty():
        raise Refused("calibrate", expected="a terminal to answer in", found="none",
                      what_to_do="run it in a terminal, or give --yes for a simulated robot")
    return input(f"{text} [y/N] ").strip().lower() in ("y", "yes")


def _keep(args: argparse.Namespace) -> int:
    if args.file is None:
        raise Refused(f"calibrate {args.what}", expected="--file FILE", found="none", what_to_do="name the file")
    if args.what == "undo":
        print(f"version {history.undo(args.file, datetime.now(timezone.utc))} is in force again")
        return 0
    versions = history.open_data(args.file)["versions"]
    if args.what == "list":
        for number, version in enumerate(versions, 1):
            parts = " ".join(part for part in ("imu", "feet", "hands", "plant") if part in version)
            last = version.get("records", [{}])[-1].get("routine", "")
            text = f"brings back {version['undoes'] - 1}" if "undoes" in version else last
            print(f"{number:>3}  {version['created_utc']}  {len(version['joints']):>3} joints  "
                  f"{parts:<14}  {text}  {version.get('operator', '')}".rstrip())
    elif args.what == "diff":
        old = history.flat(versions[-2]) if len(versions) > 1 else {}
        for key, before, after in history.differences(old, history.flat(versions[-1])):
            shown = ["-" if value is None else f"{value:+.5f}" for value in (before, after)]
            print(f"{key:<55} {shown[0]:>10} -> {shown[1]:>10}")
    else:
        print(json.dumps(history.plant_truth(versions[-1]), indent=1))
    return 0
