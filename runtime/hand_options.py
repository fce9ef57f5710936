"""Command-line options about hands, and what of them goes into a run's settings."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.errors import Refused
from runtime.hand import KEEP, NO_HANDS, OPEN, USUAL_HAND, hand_names, hand_path, load_hand

REQUIRED = "required"


def add_hand_options(parser: argparse._ActionsContainer) -> None:
    """Options of `exoactor run`."""
    parser.add_argument("--hands", default=NO_HANDS, metavar="NAME|FILE[,required]",
                        help=f"{NO_HANDS} (default), {', '.join(hand_names())}, or a hand's .json file; with ,required "
                        f"(alone: {USUAL_HAND},required) a motion that moves hands is refused where there is none")
    parser.add_argument("--hands-on-damp", choices=(KEEP, OPEN),
                        help="what hands do while the robot damps: keep the grip at low gain, or open "
                        "(default: as the hand's file says)")


def hand_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `RunSettings` about hands.

    Raises:
        Refused: a hand that cannot be; something about hands in a run without.
    """
    name, comma, wish = args.hands.partition(",")
    if args.hands == REQUIRED:
        name, wish = USUAL_HAND, REQUIRED
    if (comma and wish != REQUIRED) or (name == NO_HANDS and (wish or args.hands_on_damp)):
        raise Refused("--hands", expected="none, a hand, or a hand and `,required`; --hands-on-damp with hands only",
                      found=args.hands, what_to_do="name the hands, e.g. --hands dex3-1,required")
    if name == NO_HANDS:
        return {}
    model = load_hand(name)
    return {"hands": str(hand_path(name).absolute()), "hands_required": wish == REQUIRED,
            "hands_on_damp": args.hands_on_damp or model.on_damp}
