"""Options of a run about its operator: what commands it and what stops it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.estop_sources import KINDS, parse_estops
from runtime.operator_key import check_bind, parse_address, read_key
from runtime.settings import RunSettings
from runtime.teleop_sources import KINDS as TELEOP_KINDS

BIND = RunSettings.operator_bind


def add_operator_options(group: argparse._ArgumentGroup) -> None:
    """`--teleop`, `--estop` and where their link listens."""
    forms = ", ".join(kind + form for kind, (form, _, _) in KINDS.items())
    group.add_argument("--teleop", choices=TELEOP_KINDS, help="what commands: this terminal's keys, a USB gamepad, or "
                       "whoever takes the lease with `exoactor teleop`")
    group.add_argument("--estop", action="append", default=[], metavar="SPEC",
                       help=f"an emergency-stop source that has to stay alive; repeatable: {forms}")
    group.add_argument("--teleop-bind", default=BIND, metavar="HOST:PORT",
                       help=f"where the network sources listen (default {BIND}; others need a key)")
    group.add_argument("--teleop-key", metavar="FILE", help="key of the link: `exoactor teleop keygen FILE`")


def operator_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `RunSettings` that these options fill, checked.

    Raises:
        Refused: anything that cannot work in this run.
    """
    estops = with_wired_button(args.robot, tuple(args.estop))
    specs = parse_estops(estops)
    kinds = {args.teleop, *(spec.kind for spec in specs)} - {None}
    if kinds and args.lockstep:
        raise Refused("--lockstep", expected="no operator", found=f"--teleop or --estop {', '.join(sorted(kinds))}",
                      what_to_do="simulated time knows no operator: leave one of the two out")
    key = read_key(Path(args.teleop_key)) if args.teleop_key else None
    if args.teleop == "network" or any(spec.kind == "network" and not spec.where for spec in specs):
        check_bind(parse_address(args.teleop_bind, "--teleop-bind"), key, "--teleop-bind")
    for spec in specs:
        if spec.kind == "network" and spec.where:
            check_bind(parse_address(spec.where, "--estop network"), key, "--estop network")
    return {"teleop": args.teleop, "estops": estops, "operator_bind": args.teleop_bind,
            "operator_key": args.teleop_key, "terminal": own_terminal() if "keyboard" in kinds else None}


def with_wired_button(robot: str, typed: tuple[str, ...]) -> tuple[str, ...]:
    """The sources typed and, of a robot on serial ports, the stop button of its wiring file: that cannot be left out.

    Raises:
        BridgeError: the wiring file cannot be read.
    """
    from firmware_bridge.wiring import read_wiring, wiring_path

    path = wiring_path(robot)
    if not robot.endswith(".json") and not path.is_file():
        return typed
    estop = read_wiring(path).estop
    return typed if estop is None else tuple(dict.fromkeys((*typed, f"{estop.protocol}:{estop.port}")))


def own_terminal() -> str:
    """Path of the terminal this command was started in.

    Raises:
        Refused: none.
    """
    try:
        return os.ttyname(sys.stdin.fileno())
    except (OSError, ValueError) as error:
        raise Refused("keyboard", expected="a run started in a terminal", found="none",
                      what_to_do="start it in one, or use another source") from error
