"""Command-line options about hands, and what of them goes into a run's settings."""

from __future__ import annotations

import argparse
from typing import Any

from firmware_bridge.wiring import HandsWiring
from runtime.errors import Refused
from runtime.hand import KEEP, NO_HANDS, OPEN, USUAL_HAND, hand_names, hand_path, load_hand

REQUIRED = "required"


def add_hand_options(parser: argparse._ActionsContainer) -> None:
    """Options of `exoactor run`."""
    parser.add_argument("--hands", metavar="NAME|FILE[,required]",
                        help=f"{NO_HANDS} (default, unless the wiring file has some), {', '.join(hand_names())}, or a "
                        f"hand's .json file; with ,required (alone: {USUAL_HAND},required) a motion that moves hands "
                        "is refused where there is none")
    parser.add_argument("--hand-ports", metavar="LEFT,RIGHT", help="serial ports of hands that hang on those; either "
                        "may be empty (default: `hands` of the wiring file)")
    parser.add_argument("--hands-on-damp", choices=(KEEP, OPEN),
                        help="what hands do while the robot damps: keep the grip at low gain, or open "
                        "(default: as the hand's file says)")


def hand_settings(args: argparse.Namespace, wired: HandsWiring | None = None) -> dict[str, Any]:
    """The fields of `RunSettings` about hands; `wired` are those of the wiring file, used unless others are named.

    Raises:
        Refused: a hand that cannot be; something about hands in a run without.
    """
    words = args.hands if args.hands is not None else NO_HANDS if wired is None else wired.protocol
    name, comma, wish = words.partition(",")
    if words == REQUIRED:
        name, wish = USUAL_HAND, REQUIRED
    about_hands = wish or args.hands_on_damp or args.hand_ports
    if (comma and wish != REQUIRED) or (name == NO_HANDS and about_hands):
        raise Refused("--hands", expected="none, a hand, or a hand and `,required`; --hands-on-damp and --hand-ports "
                      "with hands only", found=words, what_to_do="name the hands, e.g. --hands dex3-1,required")
    if name == NO_HANDS:
        return {}
    model = load_hand(name)
    return {"hands": str(hand_path(name).absolute()), "hands_required": wish == REQUIRED,
            "hands_on_damp": args.hands_on_damp or model.on_damp, "hand_ports": _ports(args.hand_ports, wired)}


def _ports(typed: str | None, wired: HandsWiring | None) -> tuple[str, str] | None:
    if typed is None:
        return None if wired is None else (wired.left, wired.right)
    left, comma, right = typed.partition(",")
    if not comma or not (left or right):
        raise Refused("--hand-ports", expected="LEFT,RIGHT, of which one may be empty", found=typed,
                      what_to_do="name the ports, e.g. --hand-ports /dev/robot/left_hand,/dev/robot/right_hand")
    return left, right
