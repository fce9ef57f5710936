"""`exoactor bridge watchdog`: after which silence drives let go."""

from __future__ import annotations

import argparse
import json

from firmware_bridge.bridge_port import add_port_arguments, nobody, open_for, parse_ids, upkeep_of
from firmware_bridge.bridge_scan import watchdog
from firmware_bridge.drives.maintenance import WATCHDOG_S
from firmware_bridge.errors import BridgeError

OFF = 1
EPILOG = """a run sets each drive's watchdog itself (`watchdog_s` of the wiring file) and reads it back
exit codes: 0 done, 1 one of them is off, 2 refused
example: exoactor bridge watchdog --port /dev/ttyACM0 --protocol damiao-slcan --ids 1-8 --seconds 0.05"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = EPILOG
    add_port_arguments(parser)
    parser.add_argument("--ids", type=parse_ids, required=True, metavar="1-8,12", help="whose")
    parser.add_argument("--seconds", type=float, metavar="S", help="set it (default: read it)")


def run(args: argparse.Namespace) -> int:
    """Read or set, and tell; 1 when one is off."""
    low, high = WATCHDOG_S
    if args.seconds is not None and not low <= args.seconds <= high:
        raise BridgeError("--seconds", expected=f"{low:g} to {high:g}", found=f"{args.seconds:g}",
                          what_to_do="0.05 serves most; none is ever switched off here, since arming asks for it")
    upkeep = upkeep_of(args.protocol)
    told: dict[int, float | None] = {}
    with open_for(args, upkeep) as exchange:
        there = {found.id: found for found in upkeep.scan(exchange, args.ids)}
        for id_ in args.ids:
            if id_ not in there:
                raise nobody(upkeep, id_, exchange)
        for id_ in args.ids:
            told[id_] = (there[id_].watchdog_s if args.seconds is None
                         else upkeep.set_watchdog(exchange, id_, args.seconds))
    if args.json:
        print(json.dumps({"outcome": "done", "watchdog_s": {str(id_): seconds for id_, seconds in told.items()}}))
    else:
        print("\n".join(f"id {id_}: {watchdog(seconds)}" for id_, seconds in told.items()))
    return OFF if any(seconds == 0 for seconds in told.values()) else 0
