"""`exoactor damp`: take the stiffness away from a robot that nobody commands any more.

For people, and for the service manager after a run whose supervisor and gate died together: the drives then keep their
last command. It is the gate process, started damping, without a run around it. It damps whoever else writes: damping
that mixes with another's commands is still less than those alone. Motors on serial ports are not damped but let go.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from firmware_bridge.dds import DdsSettings
from firmware_bridge.motor_bus import Reading
from firmware_bridge.motor_table import PREFERRED_MODE
from firmware_bridge.unitree_bus import UnitreeBus
from firmware_bridge.wiring import read_wiring, wiring_path
from runtime.errors import Refused
from runtime.gate_process import CORE, PRIORITY, GateProcess
from runtime.realtime import go_real_time, protect_from_oom
from runtime.records import CONTROL_DTYPE, GATE_RING, gate_log_dtype, status_dtype, target_dtype
from runtime.robot import NO_WIRE, Robot, load_robot
from runtime.settings import GATE_HZ, RunSettings
from runtime.slots import Ring, Slot
from runtime.supervisor import SHARED_ROOT
from runtime.targets import target_among

TARGETS = ("g1", "dds")
STATE_S = 1.0
"""How long to wait for the variant that commands must name; without one, the usual one of the robot's file."""
CLEAN = ("success", "exit-code")
"""`$SERVICE_RESULT` of a run that ended by itself: its own gate damped, and was released."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor damp`."""
    parser.epilog = ("example: exoactor damp --robot g1 --interface eth0\n"
                     "         exoactor damp --robot my_robot.json")
    parser.add_argument("--robot", type=target_among(TARGETS), default="g1", metavar="TARGET",
                        help="g1: the real one; dds: one on the loopback; FILE.json: of motors on serial ports the "
                        "torque is taken, and it ends when each was heard to have none")
    parser.add_argument("--robot-file", default="g1_29dof", metavar="NAME|FILE.json",
                        help="its table, for the damping of each joint (default g1_29dof)")
    parser.add_argument("--domain", type=int, help="DDS domain (default 1, with --robot g1 0)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    parser.add_argument("--seconds", type=float, metavar="S",
                        help="end by itself after so long, not before the robot's shortest damping (default: Ctrl-C)")
    parser.add_argument("--unless-clean", action="store_true",
                        help="do nothing where $SERVICE_RESULT says that the run ended by itself")


def run(args: argparse.Namespace) -> int:
    """Damp; 0, or 1 when no robot was heard of (it was damped all the same)."""
    if args.unless_clean and os.environ.get("SERVICE_RESULT") in CLEAN:
        print("exoactor damp: the run ended by itself, nothing to do", file=sys.stderr)
        return 0
    if args.robot not in TARGETS:
        return _let_go(args.robot)
    robot = load_robot(args.robot_file)
    _check_arguments(args, robot)
    domain = args.domain if args.domain is not None else (0 if args.robot == "g1" else 1)
    dds = DdsSettings(domain, args.interface, tuple(args.peer))
    for line in go_real_time(PRIORITY, CORE):
        print(f"WARNING: damping without {line}", file=sys.stderr)
    protect_from_oom()
    heard = _hear_variant(dds, robot)
    mode = heard if heard is not None else _usual_variant(robot.mode_machine)
    if heard is None:
        print(f"WARNING: no robot heard within {STATE_S:.0f} s; damping as mode_machine {mode}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="exoactor-damp-", dir=SHARED_ROOT) as shared:
        settings = RunSettings(
            controller="", robot=args.robot_file, model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None,
            target=args.robot, domain=domain, interface=args.interface, peers=tuple(args.peer), out="",
            run=secrets.randbits(62) | 1, shared=shared, mode_machine=mode, damping=True,
        )
        _make_shared(settings, robot)
        gate = GateProcess(settings)
        gate.arm_bus()
        print("damping; Ctrl-C ends it" if args.seconds is None else f"damping for {args.seconds:g} s", file=sys.stderr)
        _end_by_signal(args.seconds)
        with open(os.devnull, "w", encoding="ascii") as nobody, contextlib.redirect_stdout(nobody):  # a child's events
            gate.run()
    return 0 if heard is not None else 1


def _let_go(robot: str) -> int:
    """Drives on serial ports: most have let go by their own watchdogs by now, and none is given torque to damp with."""
    from firmware_bridge.serial_robot import make_serial_bus

    bus = make_serial_bus(read_wiring(wiring_path(robot)), 1 / GATE_HZ)
    try:
        doubts = bus.let_go()
    finally:
        bus.close()
    drives = sum(len(line.drives) for line in bus.lines)
    for line in doubts:
        print(f"WARNING: {line}", file=sys.stderr)
    said = f"not all of {drives} drives are known to have none" if doubts else f"none of {drives} drives has any"
    print(f"exoactor damp: torque taken, {said}", file=sys.stderr)
    return 1 if doubts else 0


def _check_arguments(args: argparse.Namespace, robot: Robot) -> None:
    if args.robot == "g1" and not args.interface:
        raise Refused("--robot g1", expected="--interface NAME", found="none",
                      what_to_do="name the network interface the robot's cable is on, e.g. --interface eth0")
    if robot.wire == NO_WIRE:
        raise Refused(f"robot {robot.name}", expected="one with a wire", found="none",
                      what_to_do="there is nothing to send to: name another --robot-file")
    if args.seconds is not None and not 0 < args.seconds <= 3600:
        raise Refused("--seconds", expected="between 0 and 3600", found=f"{args.seconds}",
                      what_to_do="give a time in that range")


def _usual_variant(modes: tuple[int, ...]) -> int:
    return PREFERRED_MODE if PREFERRED_MODE in modes else next(iter(modes), 0)


def _hear_variant(dds: DdsSettings, robot: Robot) -> int | None:
    """The `mode_machine` of the robot, None when it is not heard."""
    bus = UnitreeBus(dds, robot.wire, robot.motors, name="exoactor-damp")
    try:
        end = time.monotonic() + STATE_S
        while time.monotonic() < end:
            if bus.wait(0.02) and bus.read() is Reading.NEW:
                return int(bus.sample.mode_machine[0])
    finally:
        bus.close()
    return None


def _make_shared(settings: RunSettings, robot: Robot) -> None:
    """What a run's supervisor would have made for its gate."""
    shared, motors = Path(settings.shared), robot.motors
    Slot(shared / "status", status_dtype(motors), settings.run, create=True)
    Slot(shared / "target", target_dtype(motors), settings.run, create=True)
    Slot(shared / "control", CONTROL_DTYPE, settings.run, create=True)
    Ring(shared / "gate_ring", gate_log_dtype(motors), settings.run, GATE_RING, create=True)


def _end_by_signal(seconds: float | None) -> None:
    """Ctrl-C and the end of the time are the gate's SIGTERM: damp for the shortest time, then let go."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGALRM, on_signal)
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
