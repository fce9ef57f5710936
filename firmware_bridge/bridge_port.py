"""What the upkeep jobs of `exoactor bridge` share: their options, and a port opened for a protocol's upkeep."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from firmware_bridge.can_port import CAN, CanPort
from firmware_bridge.drives.language import Exchange
from firmware_bridge.drives.maintenance import Maintenance
from firmware_bridge.drives.protocols import PROTOCOLS, make_maintenance
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_port import SerialPort


def add_port_arguments(parser: argparse.ArgumentParser) -> None:
    """--port, --protocol, --baud, --json."""
    parser.add_argument("--port", required=True, metavar="PATH",
                        help="serial port, best one of /dev/serial/by-id; or can:socketcan:can0")
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, metavar="NAME", help=", ".join(PROTOCOLS))
    parser.add_argument("--baud", type=int, metavar="N", help="of the serial side (default: the protocol's usual one)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def upkeep_of(protocol: str) -> Maintenance:
    """What a protocol offers beside driving.

    Raises:
        BridgeError: nothing.
    """
    upkeep = make_maintenance(protocol)
    if not isinstance(upkeep, Maintenance):
        can = ", ".join(name for name, row in PROTOCOLS.items() if row.maintenance)
        raise BridgeError(f"protocol {protocol}", expected=f"one with upkeep: {can}", found="only driving",
                          what_to_do="use the maker's own tool; `exoactor bridge monitor` shows its drives")
    return upkeep


@contextmanager
def open_for(args: argparse.Namespace, upkeep: Maintenance) -> Iterator[Exchange]:
    """The port's exchange, closed afterwards.

    Raises:
        BridgeError: the port cannot be had.
    """
    port = (CanPort if args.port.startswith(CAN) else SerialPort)(args.port, args.baud or upkeep.baud)
    try:
        yield port.exchange
    finally:
        port.close()


def parse_ids(text: str) -> list[int]:
    """`1-8,0x20`: numbers and spans, decimal or hex, each once, rising.

    Raises:
        argparse.ArgumentTypeError: anything else.
    """
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        try:
            first = int(low, 0)
            last = int(high, 0) if dash else first
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} is no id and no span such as 1-8") from None
        if not 0 <= first <= last < 0x800:
            raise argparse.ArgumentTypeError(f"{part!r}: ids go from 0 to 2047, the smaller first")
        found.update(range(first, last + 1))
    return sorted(found)


def parse_id(text: str) -> int:
    """One id."""
    ids = parse_ids(text)
    if len(ids) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not one id")
    return ids[0]


def nobody(upkeep: Maintenance, id_: int, exchange: Exchange) -> BridgeError:
    """The refusal of an id that does not answer, with those that do."""
    others = ", ".join(str(found.id) for found in upkeep.scan(exchange, upkeep.ids)) or "nobody"
    return BridgeError(f"id {id_}", expected="an answer", found=f"none; these answer: {others}",
                       what_to_do="check power, wiring, baud and protocol, or name one that answers")
