"""`exoactor check`: everything a run would stumble over, listed before anything moves."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.backend import BACKEND_HELP, BACKENDS
from runtime.manifest import OWN_CONTROLLER
from runtime.manifest_reader import load_manifest
from runtime.preflight import Check, check_controller, check_machine, check_robot
from runtime.robot import NO_WIRE, load_robot
from runtime.run_command import ALLOW_UNSIGNED_HELP, TARGETS
from runtime.settings import RunSettings

SIM_DOMAIN = 119
"""A domain of its own, so that a check never meets a running simulation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor check`."""
    parser.epilog = "example: exoactor check --robot g1 --interface eth0 --controller bundles/walk"
    parser.add_argument("--robot", choices=TARGETS, default="sim")
    parser.add_argument("--controller", default=OWN_CONTROLLER,
                        help=f"name, manifest (.json) or bundle folder (default: {OWN_CONTROLLER})")
    parser.add_argument("--model", help="ONNX file")
    parser.add_argument("--clip", help="motion (.npz)")
    parser.add_argument("--domain", type=int, help="DDS domain (default 1, with --robot g1 0)")
    parser.add_argument("--mode", help="mode of a controller that has several (default: its first)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    parser.add_argument("--backend", choices=BACKENDS, default="cpu", help=BACKEND_HELP)
    parser.add_argument("--allow-unsigned", action="store_true", help=ALLOW_UNSIGNED_HELP)
    parser.add_argument("--json", action="store_true", help="a JSON list of {check, ok, measured, limit, what_to_do}")


def run(args: argparse.Namespace) -> int:
    """List the checks; 0 when nothing required is red, else 2."""
    domain = args.domain if args.domain is not None else {"g1": 0, "sim": SIM_DOMAIN}.get(args.robot, 1)
    settings = RunSettings(
        controller=args.controller, robot="", model=args.model, clip=args.clip, command=(0.0, 0.0, 0.0),
        duration_s=None, target=args.robot, domain=domain, interface=args.interface, peers=tuple(args.peer), out="",
        backend=args.backend, allow_unsigned=args.allow_unsigned, mode=args.mode,
    )
    checks = list(_checks(settings))
    bad = [check for check in checks if not check.ok and check.required]
    if args.json:
        print(json.dumps([check.as_dict() for check in checks]))
    else:
        for check in checks:
            mark = "ok  " if check.ok else ("RED " if check.required else "warn")
            print(f"{mark} {check.check:<26} {check.measured} (limit: {check.limit})")
            if not check.ok:
                print(f"     -> {check.what_to_do}")
        print(f"{len(bad)} red" if bad else "nothing red: a run may be armed")
    return 2 if bad else 0


def _checks(settings: RunSettings) -> Iterator[Check]:
    yield from check_machine(strict=settings.target == "g1")
    yield from check_controller(settings)
    robot = load_robot(load_manifest(settings.controller).robot_file)
    if robot.wire == NO_WIRE:
        yield Check("wire", True, "none: lock-step only", "a wire, or simulated time", "", False)
        return
    if settings.target != "sim":
        yield from check_robot(settings, robot)
        return
    from runtime.child import Child

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["-m", "exoactor", "sim", "--domain", str(settings.domain), "--follow", str(os.getpid())]
        sim = Child("sim", arguments, Path(folder) / "sim.err")
        try:
            sim.await_ready(30.0, lambda line: None)
            yield from check_robot(settings, robot)
        finally:
            sim.end(5.0)
