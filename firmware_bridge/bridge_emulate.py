"""`exoactor bridge emulate`: a robot's serial ports as pseudo-terminals, with drives and IMU at their far ends."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from firmware_bridge.emulated_robot import EmulatedRobot
from firmware_bridge.ending import Ending, ask_real_time
from firmware_bridge.errors import BridgeError
from firmware_bridge.wiring import Wiring, read_wiring, wiring_path

if TYPE_CHECKING:
    from firmware_bridge.simulated_robot import SimulatedRobot

PLANTS = Path(__file__).with_name("plants")
SLICE_S = 0.02
PRIORITY = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor bridge emulate`."""
    parser.epilog = ("example: exoactor bridge emulate --robot g1_serial_demo\n"
                     "         exoactor run --robot g1_serial_demo --clip squat      (in another terminal)")
    parser.add_argument("--robot", required=True, metavar="FILE.json|NAME", help="wiring file (docs/serial.md)")
    parser.add_argument("--plant", metavar="FILE.xml", help="MJCF behind the drives (default: the shipped one of this "
                        "robot, where there is one; without any each motor turns for itself)")
    parser.add_argument("--no-plant", action="store_true", help="let each motor turn for itself")
    gantry = parser.add_mutually_exclusive_group()
    gantry.add_argument("--no-gantry", action="store_true", help="start free, not hanging")
    gantry.add_argument("--hold-gantry", action="store_true", help="hang until SIGUSR1 comes (kill -USR1 PID, which it "
                        "prints), instead of until the legs are stiff")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after this long")
    parser.add_argument("--no-realtime", action="store_true", help="do not ask for SCHED_FIFO")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal or `--seconds`."""
    wiring = read_wiring(wiring_path(args.robot))
    robot = _plant(args, wiring)
    emulated = EmulatedRobot(wiring, robot)
    ending = Ending()
    if robot is not None:
        signal.signal(signal.SIGUSR1, lambda number, frame: robot.gantry.let_go())
    if not args.no_realtime:
        ask_real_time("bridge emulate", PRIORITY)
    print(json.dumps({
        "event": "ready", "pid": os.getpid(), "robot": wiring.table.robot, "drives": len(emulated.names),
        "plant": robot is not None,
        "ports": {name: {"path": port.path, "device": port.device} for name, port in emulated.ports.items()},
    }), flush=True)
    watch = _Watch(robot)
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    while not ending.has_come and time.monotonic() < end:
        emulated.serve_until(min(time.monotonic() + SLICE_S, end))
        watch.look()
    emulated.close()
    motors = emulated.motors
    print(json.dumps({"event": "done", "driven": int(emulated.was_driven.sum()), "let_go": int(motors.let_go.sum()),
                      "hottest_c": round(float(motors.temperature_c.max()), 1), **watch.seen}), flush=True)
    return 0


def _plant(args: argparse.Namespace, wiring: Wiring) -> SimulatedRobot | None:
    shipped = PLANTS / f"{wiring.table.robot}.xml"
    if args.no_plant or (args.plant is None and not shipped.is_file()):
        return None
    path = shipped if args.plant is None else Path(args.plant)
    if not path.is_file():
        raise BridgeError("--plant", expected="an MJCF file", found=str(path), what_to_do="name one, or --no-plant")
    from firmware_bridge.simulated_robot import SimulatedRobot

    robot = SimulatedRobot(path, table=wiring.table, gantry=not args.no_gantry)
    robot.gantry.waits = args.hold_gantry
    return robot


class _Watch:
    """What became of the robot, for whoever reads the last line."""

    def __init__(self, robot: SimulatedRobot | None) -> None:
        self._robot = robot
        self.seen: dict[str, Any] = {}

    def look(self) -> None:
        if self._robot is None:
            return
        height = float(self._robot.base_position[2])
        x, y = self._robot.base_orientation[1:3]
        tilt = float(np.arccos(np.clip(1 - 2 * (x * x + y * y), -1, 1)))
        self.seen["time_s"] = round(self._robot.time_s, 2)
        self.seen["height_m"] = round(height, 3)
        self.seen["lowest_m"] = min(self.seen.get("lowest_m", 9.0), round(height, 3))
        self.seen["tilt_rad"] = round(tilt, 3)
