"""`exoactor bench`: what the loop costs beside the stock Python path, and how punctual it is beside `cyclictest`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware_bridge.errors import BridgeError


def _codec() -> dict[str, Any]:
    from firmware_bridge.wire_bench import measure_codec

    return measure_codec()


def _round_trip() -> dict[str, Any]:
    from firmware_bridge.wire_bench import measure_round_trip

    return measure_round_trip()


def _tick() -> dict[str, Any]:
    from runtime.tick_bench import measure_tick

    return measure_tick()


def _jitter() -> dict[str, Any]:
    from runtime.jitter_bench import measure_jitter

    return measure_jitter()


def _retarget(motion: Path | None = None) -> dict[str, Any]:
    from runtime.retarget_bench import measure_retarget

    return measure_retarget(motion)


def _serial() -> dict[str, Any]:
    from firmware_bridge.motor_bus import KD, KP
    from firmware_bridge.serial_bench import measure_serial
    from runtime.enforce import Enforcer
    from runtime.robot import load_robot

    command = Enforcer(load_robot("g1_29dof"), 0.002).command
    command.block[:, KP], command.block[:, KD] = 10.0, 0.5
    return measure_serial(command)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "codec": _codec,
    "round-trip": _round_trip,
    "tick": _tick,
    "jitter": _jitter,
    "retarget": _retarget,
    "serial": _serial,
}
HEADLINES = {
    "decode_ratio": "decode a state, stock / ours",
    "encode_ratio": "encode a command with CRC, stock / ours",
    "round_trip_ratio": "command to answering state, stock / ours",
    "tick_ratio": "whole tick without inference, stock / ours",
    "retarget_ratio": "retargeted frames a second, ours / GMR's method",
    "stream_ratio": "  the same frame by frame, as a stream",
    "cost_ratio": "  its error, ours / GMR's method",
    "jerk_ratio": "  its jerk, ours / GMR's method",
    "skate_ratio": "  its sliding of standing feet, ours / theirs",
    "moteus_cycle_ratio": "cycle of 12 moteus, moteus package / ours",
    "slcan_cycle_ratio": "cycle of 8 Damiao over slcan, python-can / ours",
    "dynamixel_cycle_ratio": "cycle of 12 Dynamixel, dynamixel-sdk / ours",
    "jitter_p99_ratio": "wake-up jitter p99, ours / cyclictest",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor bench`."""
    parser.epilog = "example: exoactor bench --only codec --json"
    parser.add_argument("--only", choices=list(PARTS), help="one part")
    parser.add_argument("--motion", type=Path, metavar="FILE",
                        help="part retarget: a human motion (.npz of ours) instead of the built-in one")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure, print."""
    result: dict[str, Any] = {}
    for name, measure in PARTS.items():
        if args.only in (None, name):
            try:
                found = _retarget(args.motion) if name == "retarget" else measure()
            except BridgeError as error:
                if args.only:
                    raise
                print(f"{name} not measured: {error}", file=sys.stderr)
                continue
            result.update({key: _rounded(value) for key, value in found.items()})
    if args.json:
        print(json.dumps(result))
        return 0
    for key, text in HEADLINES.items():
        if key in result:
            value = "not measured (no cyclictest)" if result[key] is None else f"{result[key]:.2f}"
            print(f"{text:<46} {value}")
    print("\nmicroseconds (medians unless named otherwise):")
    for key, value in result.items():
        if key.endswith("_us"):
            print(f"  {key:<28} {value}")
    return 0


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
