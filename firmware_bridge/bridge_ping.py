"""`exoactor bridge ping`: one drive, asked again and again."""

from __future__ import annotations

import argparse
import json
import statistics
import time

from firmware_bridge.bridge_port import add_port_arguments, nobody, open_for, parse_id, upkeep_of
from firmware_bridge.errors import BridgeError

LOST = 1
EPILOG = """exit codes: 0 every question was answered, 1 some were not, 2 refused (nobody there)
example: exoactor bridge ping --port /dev/ttyACM0 --protocol damiao-slcan --id 3 --count 1000"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = EPILOG
    add_port_arguments(parser)
    parser.add_argument("--id", type=parse_id, required=True, metavar="N", help="whom to ask")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="questions (default: 100)")


def run(args: argparse.Namespace) -> int:
    """Ask, and tell; 1 when an answer was lost."""
    if not 1 <= args.count <= 1_000_000:
        raise BridgeError("--count", expected="1 to 1000000", found=str(args.count), what_to_do="give another number")
    upkeep = upkeep_of(args.protocol)
    with open_for(args, upkeep) as exchange:
        if not upkeep.scan(exchange, [args.id]):
            raise nobody(upkeep, args.id, exchange)
        times_us = []
        for _ in range(args.count):
            begin = time.perf_counter_ns()
            if upkeep.ping(exchange, args.id):
                times_us.append((time.perf_counter_ns() - begin) / 1e3)
    lost = args.count - len(times_us)
    trip = [min(times_us), statistics.median(times_us), max(times_us)] if times_us else [None] * 3
    if args.json:
        print(json.dumps({"outcome": "done", "id": args.id, "asked": args.count, "lost": lost,
                          **dict(zip(("round_trip_min_us", "round_trip_p50_us", "round_trip_max_us"), trip,
                                     strict=True))}))
    else:
        spread = "round trip min/median/max {:.0f}/{:.0f}/{:.0f} us".format(*trip) if times_us else "no answer"
        print(f"id {args.id}: {args.count} asked, {lost} lost, {spread}")
    return LOST if lost else 0
