"""`exoactor check`: everything a run would stumble over, listed before anything moves."""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from runtime.backend import BACKEND_HELP, BACKENDS
from runtime.calibration_file import add_calibration_options, calibration_settings
from runtime.chain import find_chain
from runtime.child import Child
from runtime.errors import Refused
from runtime.manifest import OWN_CONTROLLER, Manifest
from runtime.manifest_reader import load_manifest
from runtime.operator_options import operator_settings, with_wired_button
from runtime.preflight import Check, check_controller
from runtime.preflight_list import list_estops, list_machine, list_robot
from runtime.robot import NO_WIRE
from runtime.run_command import ALLOW_UNSIGNED_HELP
from runtime.settings import SERIAL, RunSettings
from runtime.targets import TARGETS, named_target, target_among

SIM_DOMAIN = 119
"""A domain of its own, so that a check never meets a running simulation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor check`."""
    parser.epilog = ("example: exoactor check --robot g1 --interface eth0 --controller bundles/walk\n"
                     "         exoactor check --robot my_robot.json")
    parser.add_argument("--robot", type=target_among(TARGETS), default="sim", metavar="TARGET",
                        help="as of `exoactor run`; of a wiring file, each drive is asked and none gets torque")
    parser.add_argument("--controller", default=OWN_CONTROLLER,
                        help=f"name, manifest (.json) or bundle folder (default: {OWN_CONTROLLER})")
    parser.add_argument("--model", help="ONNX file")
    motion = parser.add_mutually_exclusive_group()
    motion.add_argument("--clip", help="motion (.npz)")
    motion.add_argument("--chain", metavar="FILE|NAME", help="clips one after the other: stitched, as a run would")
    parser.add_argument("--domain", type=int, help="DDS domain (default 1, with --robot g1 0)")
    parser.add_argument("--mode", help="mode of a controller that has several (default: its first)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    parser.add_argument("--backend", choices=BACKENDS, default="cpu", help=BACKEND_HELP)
    add_calibration_options(parser)
    parser.add_argument("--allow-unsigned", action="store_true", help=ALLOW_UNSIGNED_HELP)
    parser.add_argument("--estop", action="append", default=[], metavar="SPEC",
                        help="an emergency-stop source of the run, as `exoactor run` takes it; repeatable")
    parser.add_argument("--teleop-bind", default=RunSettings.operator_bind, metavar="HOST:PORT",
                        help=f"where a network stop is listened for (default {RunSettings.operator_bind})")
    parser.add_argument("--teleop-key", metavar="FILE", help="key of that link")
    parser.set_defaults(teleop=None, lockstep=False)
    parser.add_argument("--json", action="store_true", help="a JSON list of {check, ok, measured, limit, what_to_do}")


def run(args: argparse.Namespace) -> int:
    """List the checks; 0 when nothing required is red, else 2."""
    domain = args.domain if args.domain is not None else {"g1": 0, "sim": SIM_DOMAIN}.get(args.robot, 1)
    target, wiring = named_target(args.robot)
    settings = RunSettings(
        controller=args.controller, robot="", model=args.model, clip=motion_of(args), command=(0.0, 0.0, 0.0),
        duration_s=None, target=target, wiring=wiring, domain=domain, interface=args.interface,
        peers=tuple(args.peer), out="", backend=args.backend, allow_unsigned=args.allow_unsigned, mode=args.mode,
        **calibration_settings(args), **_operator(args),
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


def motion_of(args: argparse.Namespace) -> str | None:
    """The clip or the chain to look at; what stands for a chain is always one."""
    if args.chain is None:
        return str(args.clip) if args.clip is not None else None
    path = find_chain(args.chain)
    if path.suffix != ".json":
        raise Refused("--chain", expected="a .json file, or a shipped chain's name", found=args.chain[:200],
                      what_to_do="see docs/chains.md, or give a clip by --clip")
    return str(path)


def _operator(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of `RunSettings` about emergency stops."""
    return operator_settings(args) if with_wired_button(args.robot, tuple(args.estop)) else {}


def _checks(settings: RunSettings) -> Iterator[Check]:
    manifest = load_manifest(settings.controller)
    is_serial = settings.target == SERIAL
    is_wired = is_serial or manifest.robot.wire != NO_WIRE
    with _simulated_robot(settings, manifest) if is_wired and settings.target == "sim" else nullcontext() as sim:
        yield from list_machine(settings, manifest)
        yield from check_controller(settings)
        yield from list_estops(settings, manifest)
        if not is_wired:
            yield Check("wire", True, "none: lock-step only", "a wire, or simulated time", "", False)
            return
        if is_serial:
            from runtime.preflight_serial import list_serial_robot

            yield from list_serial_robot(settings, manifest)
            return
        press = None
        if sim is not None:
            sim.await_ready(30.0, lambda line: None)
            press = partial(sim.process.send_signal, signal.SIGUSR1) if manifest.robot.estop_buttons else None
        yield from list_robot(settings, manifest.robot, manifest, press)


@contextmanager
def _simulated_robot(settings: RunSettings, manifest: Manifest) -> Iterator[Child]:
    """A robot of our own, which gets ready while other things are looked at; SIGUSR1 presses its remote."""
    arguments = ["-m", "exoactor", "sim", "--domain", str(settings.domain), "--follow", str(os.getpid())]
    for buttons in manifest.robot.estop_buttons[:1]:
        arguments += ["--press", f"never,{'+'.join(buttons)}"]
    with tempfile.TemporaryDirectory() as folder:
        sim = Child("sim", arguments, Path(folder) / "sim.err")
        try:
            yield sim
        finally:
            sim.end(5.0)
