"""Options of `exoactor calibrate` about where the robot is and who holds what, and the order that they make."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from calibration import parts
from calibration.order import SIMULATED_SERIAL, Order
from runtime.deadman import KINDS, parse_deadman
from runtime.errors import Refused
from runtime.operator_options import BIND, operator_settings, own_terminal
from runtime.run_command import check_interface
from runtime.targets import TARGETS, named_target, target_among

KNOWN = tuple(name for name in TARGETS if name != "unitree-mujoco")
"""That simulator has neither CRC nor counter, nothing that an envelope could rest on."""


def add_routine_options(parser: argparse.ArgumentParser) -> None:
    """What a routine is for."""
    parser.add_argument("--table", default="g1_29dof", metavar="NAME|FILE", help="robot table (default: g1_29dof)")
    parser.add_argument("--truth", metavar="FILE", help="in what the simulated robot differs from a perfect one")
    parser.add_argument("--joints", metavar="A,B", default="", help="only these (default: all)")
    parser.add_argument("--file", type=Path, metavar="FILE", help="the robot's calibration file, to be added to")
    parser.add_argument("--serial", default=SIMULATED_SERIAL, help="number on the robot's label")
    parser.add_argument("--operator", default="", metavar="NAME", help="who does it, for the file")
    parser.add_argument("--valid-days", type=float, default=90.0, metavar="DAYS", help="default 90")
    parser.add_argument("--gears", metavar="JOINT=N,...", default="", help="of `range`: reductions behind encoders "
                        "that read one turn; * for all joints")
    parser.add_argument("--pose", metavar="JOINT=RAD,...", default="", help="of `pose`: where the jig holds joints "
                        "(default: zero)")
    parser.add_argument("--multiple-rad", type=float, default=0.0, metavar="RAD", help="of `pose`: the jig holds every "
                        "joint at a multiple of this")
    parser.set_defaults(parameters=None)
    parser.add_argument("--out", type=Path, metavar="DIR", help="for report and recording (default: runs/<time>); what "
                        "was interrupted there goes on")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with what was interrupted there, as ordered")


def add_robot_options(group: argparse._ArgumentGroup) -> None:
    """Where the robot is, and what a hand has to hold."""
    group.add_argument("--robot", type=target_among(KNOWN), default="sim", metavar="TARGET",
                       help="sim: a simulated one, hanging; dds: one on the network; g1: a real one; FILE.json: motors "
                       "on serial ports")
    group.add_argument("--yes", action="store_true", help="nobody is asked, nothing is held, and time is simulated; "
                       "with --robot sim only")
    group.add_argument("--lockstep", action=argparse.BooleanOptionalAction, default=None,
                       help="simulated time, in one process (default: with --yes), or real time and processes")
    group.add_argument("--dry-run", action="store_true", help="say what would move, how far and how hard, and end")
    forms = ", ".join(kind + form for kind, (form, _) in KINDS.items())
    group.add_argument("--deadman", metavar="SPEC", help=f"what is held while the robot moves: {forms}")
    group.add_argument("--domain", type=int, help="DDS domain (default 1, with --robot g1 0)")
    group.add_argument("--interface", help="network interface (default: loopback)")
    group.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    group.add_argument("--estop", action="append", default=[], metavar="SPEC",
                       help="an emergency-stop source that has to stay alive, as of `exoactor run`; repeatable")
    group.add_argument("--teleop-bind", default=BIND, metavar="HOST:PORT", help="where a network stop is listened for")
    group.add_argument("--teleop-key", metavar="FILE", help="key of that link")
    group.add_argument("--no-realtime", action="store_true", help="do not ask for SCHED_FIFO and locked memory")
    group.set_defaults(teleop=None)


def resumed(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments with what was ordered in --resume's folder.

    Raises:
        Refused: nothing goes on there.
    """
    if args.resume is None:
        return args
    order = parts.order_in(args.resume)
    args.what, args.out, args.table = order["routine"], args.resume, order["table"]
    args.joints, args.truth, args.serial = ",".join(order["joints"]), order["truth"], order["serial"]
    args.file = None if order["file"] is None else Path(order["file"])
    args.robot = order["wiring"] or order["target"]
    args.domain, args.interface, args.lockstep = order["domain"], order["interface"], order["lockstep"]
    args.parameters = order["parameters"]
    return args


def order_of(args: argparse.Namespace) -> Order:
    """The order of a command line.

    Raises:
        Refused: what cannot be, a real robot that nobody holds above all.
    """
    is_simulated = args.robot == "sim"
    lockstep = (is_simulated and args.yes) if args.lockstep is None else args.lockstep
    _check(args, is_simulated=is_simulated, lockstep=lockstep)
    args.lockstep = lockstep
    target, wiring = named_target(args.robot)
    return Order(
        args.table, args.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S"),
        tuple(filter(None, args.joints.split(","))), args.truth, args.file, args.serial, args.operator,
        args.valid_days, args.yes,
        domain=args.domain if args.domain is not None else (0 if args.robot == "g1" else 1),
        interface=args.interface, peers=tuple(args.peer), lockstep=lockstep, deadman=args.deadman,
        real_time=not args.no_realtime, target=target, wiring=wiring, **_operator(args),
        parameters=parameters_of(args),
    )


def parameters_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the routine's constructor is given.

    Raises:
        Refused: words that are no numbers of joints, or of another routine.
    """
    if args.parameters is not None:
        return dict(args.parameters)
    found: dict[str, Any] = {}
    for routine, key, text in (("range", "gears", args.gears), ("pose", "places", args.pose)):
        if text:
            found[key] = _of_joints(f"--{'gears' if key == 'gears' else 'pose'}", text)
            _check_routine(args.what, routine)
    if args.multiple_rad:
        found["multiple_rad"] = args.multiple_rad
        _check_routine(args.what, "pose")
    return found


def _check_routine(given: str, wanted: str) -> None:
    if given != wanted:
        raise Refused("options", expected=f"those of `{given}`", found=f"one of `{wanted}`",
                      what_to_do="see `exoactor calibrate --help`")


def _of_joints(option: str, text: str) -> dict[str, float]:
    """`NAME=NUMBER,...`."""
    try:
        return {name: float(value) for name, value in (pair.split("=") for pair in text.split(","))}
    except ValueError:
        raise Refused(option, expected="JOINT=NUMBER,JOINT=NUMBER", found=text[:200],
                      what_to_do="as in left_elbow_joint=1.57") from None


def _operator(args: argparse.Namespace) -> dict[str, Any]:
    settings = operator_settings(args)
    if args.deadman is not None and parse_deadman(args.deadman)[0] == "keyboard":
        if "keyboard" in settings["estops"]:
            raise Refused("--deadman keyboard", expected="another --estop than keyboard", found="both",
                          what_to_do="the same keys cannot hold and stop: any key but space and Enter stops anyway")
        settings["terminal"] = own_terminal()
    return {name: settings[name] for name in ("estops", "operator_bind", "operator_key", "terminal")}


def _check(args: argparse.Namespace, *, is_simulated: bool, lockstep: bool) -> None:
    check_interface(args.robot, args.interface)
    if lockstep and not is_simulated:
        raise Refused("--lockstep", expected="--robot sim", found=f"--robot {args.robot}",
                      what_to_do="simulated time needs our own simulated robot: leave one of the two out")
    if args.yes and not is_simulated:
        raise Refused("--yes", expected="--robot sim", found=f"--robot {args.robot}",
                      what_to_do="a robot that may be real moves only while somebody answers and holds a dead-man")
    if args.deadman is None and not is_simulated and not args.dry_run:
        raise Refused("--deadman", expected=", ".join(kind + form for kind, (form, _) in KINDS.items()), found="none",
                      what_to_do="say what is held while the robot moves")
    if args.deadman is not None:
        parse_deadman(args.deadman)
        if lockstep:
            raise Refused("--deadman", expected="real time", found="--lockstep, or --yes",
                          what_to_do="simulated time knows no hand: add --no-lockstep, or leave it out")
    if args.truth is not None and not is_simulated:
        raise Refused("--truth", expected="--robot sim", found=f"--robot {args.robot}",
                      what_to_do="give it to the simulated robot itself")
