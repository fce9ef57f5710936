"""`exoactor bridge run`: a serial robot on DDS as a Unitree robot is, for any tool made for those.

Two things a Unitree robot does are not done. Drives have torque only after the operator has typed MOVE here. And a
command does not hold for ever: when none has come for `STALE_S` the joints damp, and go on damping until the operator
types MOVE anew.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time

import numpy as np

from firmware_bridge.dds import DdsSettings
from firmware_bridge.ending import Ending, ask_real_time
from firmware_bridge.low_level_server import LowLevelServer
from firmware_bridge.motor_bus import KD, MotorCommand, Q, Reading
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_robot import make_serial_bus
from firmware_bridge.wiring import read_wiring, wiring_path

RATE_HZ, PRIORITY = 500, 80
STALE_S = 0.1
USUAL_DAMPING = 1.0
NO_WIRE, USUAL_WIRE = "none", "unitree_hg"
"""What a robot's file says that knows no DDS, and what it speaks here."""
WORD = "MOVE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor bridge run`."""
    parser.epilog = "example: exoactor bridge run --robot my_robot.json --domain 1"
    parser.add_argument("--robot", required=True, metavar="FILE.json|NAME", help="wiring file (docs/serial.md)")
    parser.add_argument("--domain", type=int, default=1, help="DDS domain (default 1)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    parser.add_argument("--hz", type=float, default=RATE_HZ, help=f"of states and commands (default {RATE_HZ})")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after this long (default: Ctrl-C)")
    parser.add_argument("--no-realtime", action="store_true", help="do not ask for SCHED_FIFO")


class Relay:
    """Commands of the network to the drives, and what is done when there are none. Pure but for the bus.

    Attributes:
        is_armed: the operator's word holds.
        is_stale: commands have ended; the joints damp until the operator's next word.
    """

    def __init__(self, bus: SerialBus, damping: np.ndarray) -> None:
        self._bus = bus
        self.is_armed = self.is_stale = False
        self._has_torque = False
        self._heard_ns = 0
        self._last = self._damping = MotorCommand(len(damping))
        self._damping.block[:, KD] = damping

    def arm(self) -> None:
        """The operator's word: from the next command on drives have torque."""
        self.is_armed, self.is_stale = True, False
        self._has_torque, self._heard_ns = False, 0

    def tick(self, command: MotorCommand | None, now_ns: int) -> None:
        """One period: `command` is new, or None."""
        if command is not None:
            self._heard_ns, self._last = now_ns, command
        if not self.is_armed or not self._heard_ns:
            self._bus.watch()
            return
        if not self._has_torque:
            self._has_torque = True
            self._bus.enable()
        self.is_stale |= now_ns - self._heard_ns > STALE_S * 1e9
        if self.is_stale:
            self._damping.block[:, Q] = self._bus.sample.q
            self._bus.relay(self._damping)
        else:
            self._bus.relay(self._last)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal or `--seconds`."""
    wiring = read_wiring(wiring_path(args.robot))
    bus = make_serial_bus(wiring, 1 / args.hz)
    bus.connect()
    table = wiring.table
    try:
        server = LowLevelServer(DdsSettings(args.domain, args.interface, tuple(args.peer)),
                                USUAL_WIRE if table.wire == NO_WIRE else table.wire, wiring.motors, table.mode_machine)
    except Exception:
        bus.close()
        raise
    ending = Ending()
    if not args.no_realtime:
        ask_real_time("bridge run", PRIORITY)
    ready = {"event": "ready", "domain": args.domain, "motors": wiring.motors, "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    print(f"Type {WORD} and Enter to let commands reach the drives.", file=sys.stderr, flush=True)
    damping = np.array(wiring.table.damping_kd)
    relay = Relay(bus, np.where(damping > 0, damping, USUAL_DAMPING))
    period_ns, due_ns = round(1e9 / args.hz), time.monotonic_ns()
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    typed = _Typed()
    while not ending.has_come and time.monotonic() < end:
        if bus.read() is Reading.NEW:
            server.publish(bus.sample)
        if typed.word() == WORD:
            relay.arm()
        was_stale = relay.is_stale
        relay.tick(server.command if server.take() else None, time.monotonic_ns())
        if relay.is_stale and not was_stale:
            print(f"no command for {STALE_S} s: damping; type {WORD} to go on", file=sys.stderr, flush=True)
        due_ns = max(due_ns + period_ns, time.monotonic_ns() - period_ns)
        bus.pump(due_ns)
        time.sleep(max(due_ns - time.monotonic_ns(), 0) * 1e-9)
    bus.close()
    server.close()
    print(json.dumps({"event": "done", "obeyed": server.obeyed, "dropped": server.dropped}), flush=True)
    return 0


class _Typed:
    """Lines of standard input, without waiting; a closed one says nothing."""

    def __init__(self) -> None:
        self._is_closed = False

    def word(self) -> str | None:
        if self._is_closed or not select.select([sys.stdin], [], [], 0)[0]:
            return None
        line = sys.stdin.readline()
        self._is_closed = not line
        return line.strip() or None
