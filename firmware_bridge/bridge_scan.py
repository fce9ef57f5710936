"""`exoactor bridge scan`: who answers on a port."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from firmware_bridge.bridge_port import add_port_arguments, open_for, parse_ids, upkeep_of
from firmware_bridge.drives.maintenance import Found

NOBODY = 1
EPILOG = """nothing moves: drives are asked, never given torque
exit codes: 0 somebody answered, 1 nobody did, 2 refused
example: exoactor bridge scan --port /dev/ttyACM0 --protocol damiao-slcan"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = EPILOG
    add_port_arguments(parser)
    parser.add_argument("--ids", type=parse_ids, metavar="1-8,12", help="ask these (default: the usual ones)")


def run(args: argparse.Namespace) -> int:
    """Ask, and tell; 1 when nobody answered."""
    upkeep = upkeep_of(args.protocol)
    with open_for(args, upkeep) as exchange:
        found = upkeep.scan(exchange, args.ids or upkeep.ids)
    asked = len(args.ids or upkeep.ids)
    if args.json:
        print(json.dumps({"outcome": "done", "port": args.port, "protocol": args.protocol, "asked": asked,
                          "found": [asdict(drive) for drive in found]}))
    else:
        print("\n".join(table(found)) or f"nobody answered ({asked} ids asked): check power, wiring, baud and protocol")
    return 0 if found else NOBODY


def table(found: list[Found]) -> list[str]:
    """A line a drive below a head; none for none."""
    names = list(dict.fromkeys(name for drive in found for name in drive.facts))
    rows = [["id", "model", "watchdog", "torque", *names]] if found else []
    rows += [[str(drive.id), drive.model or "?", watchdog(drive.watchdog_s), torque(drive.is_driving),
              *(shown(drive.facts.get(name, "")) for name in names)] for drive in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def watchdog(seconds: float | None) -> str:
    """A watchdog for a person."""
    return "?" if seconds is None else "OFF" if seconds == 0 else f"{seconds * 1e3:g} ms"


def torque(is_driving: bool | None) -> str:
    """Whether a drive has torque, for a person."""
    return "?" if is_driving is None else "on" if is_driving else "off"


def shown(value: float | int | str) -> str:
    """A fact for a person."""
    return f"{value:g}" if isinstance(value, float) else str(value)
