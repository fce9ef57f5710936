"""`exoactor bridge set-id`: another id for a drive."""

from __future__ import annotations

import argparse
import json
import sys

from firmware_bridge.bridge_port import add_port_arguments, nobody, open_for, parse_id, upkeep_of
from firmware_bridge.errors import BridgeError

EPILOG = """best with this one drive on the bus: two drives of one id answer at once, and neither can be told apart
exit codes: 0 done, 2 refused (nobody there, the new id is taken, not confirmed, not taken by the drive)
example: exoactor bridge set-id --port /dev/ttyACM0 --protocol damiao-slcan --id 1 --new-id 7"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = EPILOG
    add_port_arguments(parser)
    parser.add_argument("--id", type=parse_id, required=True, metavar="N", help="its id now")
    parser.add_argument("--new-id", type=parse_id, required=True, metavar="N", help="its id then")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def run(args: argparse.Namespace) -> int:
    """Look, ask, change, look again."""
    old, new = args.id, args.new_id
    upkeep = upkeep_of(args.protocol)
    if new == old or new not in upkeep.ids:
        raise BridgeError("--new-id", expected=f"another id than {old}, from {min(upkeep.ids)} to {max(upkeep.ids)}",
                          found=str(new), what_to_do="choose one that is free (exoactor bridge scan)")
    with open_for(args, upkeep) as exchange:
        there = {found.id: found for found in upkeep.scan(exchange, sorted({old, new}))}
        if new in there:
            taken = sorted(found.id for found in upkeep.scan(exchange, upkeep.ids))
            free = next((number for number in upkeep.ids if number not in taken), None)
            raise BridgeError(f"id {new}", expected="no answer: an id for one drive alone", found="it answers already",
                              what_to_do=f"choose a free one, e.g. --new-id {free}, or unplug that drive")
        if old not in there:
            raise nobody(upkeep, old, exchange)
        if there[old].is_driving:
            raise BridgeError(f"id {old}", expected="a drive without torque", found="it has torque",
                              what_to_do="stop whatever drives it first")
        _confirm(args, f"drive {old} ({there[old].model or 'unknown model'}) on {args.port} becomes {new}")
        remains = upkeep.set_id(exchange, old, new)
    if args.json:
        print(json.dumps({"outcome": "done", "id": new, "was": old, "what_remains": remains}))
    else:
        print(f"drive {old} is {new} now" + (f"; {remains}" if remains else ""))
    return 0


def _confirm(args: argparse.Namespace, what: str) -> None:
    """Ask a person.

    Raises:
        BridgeError: no person to ask, or another answer.
    """
    if args.yes:
        return
    if not sys.stdin.isatty():
        raise BridgeError("confirmation", expected="a person at a terminal, or --yes", found="neither",
                          what_to_do=f"add --yes if this is meant: {what}")
    print(f"{what}. Type the new id to go on: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if answer != str(args.new_id):
        raise BridgeError("confirmation", expected=str(args.new_id), found=answer or "nothing",
                          what_to_do="nothing was changed; run it again and type the new id")
