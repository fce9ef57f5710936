"""`exoactor bridge monitor`: every drive of a robot, asked without torque: states, rates, losses, faults."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from firmware_bridge.motor_bus import Reading
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_robot import make_serial_bus
from firmware_bridge.wiring import Wiring, read_wiring, wiring_path

TABLE_EVERY_S = 0.5
HEAD = f"{'joint':<28}{'q rad':>9}{'dq rad/s':>10}{'tau N m':>9}{'C':>5}{'Hz':>8}{'missed':>8}{'age ms':>8}  faults"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor bridge monitor`."""
    parser.epilog = "example: exoactor bridge monitor --robot my_robot.json --seconds 5 --json"
    parser.add_argument("--robot", required=True, metavar="FILE.json|NAME", help="wiring file (docs/serial.md)")
    parser.add_argument("--seconds", type=float, metavar="S", help="stop after this long (default: Ctrl-C)")
    parser.add_argument("--hz", type=float, default=200.0, help="how often each drive is asked (default 200)")
    parser.add_argument("--json", action="store_true", help="one JSON object at the end instead of the table")


def run(args: argparse.Namespace) -> int:
    """Watch; 0, or 1 when a drive has not answered, reports a fault, or a port is gone."""
    wiring = read_wiring(wiring_path(args.robot))
    bus = make_serial_bus(wiring, 1 / args.hz)
    bus.connect()
    try:
        found = watch(bus, wiring, args.hz, args.seconds, show=not args.json)
    finally:
        bus.close()
    if args.json:
        print(json.dumps(found))
    return 0 if found["is_healthy"] else 1


def watch(bus: SerialBus, wiring: Wiring, hz: float, seconds: float | None, *, show: bool) -> dict[str, Any]:
    """Ask every drive again and again; what was seen of all."""
    began = time.monotonic()
    end = began + seconds if seconds else float("inf")
    period_ns, due_ns = round(1e9 / hz), time.monotonic_ns()
    states, table_s, cycles, lines = 0, began, 0, 0
    before = _answers(bus.statistics())
    try:
        while time.monotonic() < end:
            bus.watch()
            due_ns = max(due_ns + period_ns, time.monotonic_ns())
            bus.pump(due_ns)
            states += bus.read() is Reading.NEW
            cycles += 1
            if show and time.monotonic() - table_s > TABLE_EVERY_S:
                elapsed, table_s = time.monotonic() - table_s, time.monotonic()
                found = _found(bus, elapsed, before)
                before = _answers(found["ports"])
                lines = _print_table(found, lines)
    except KeyboardInterrupt:
        pass
    took_s = time.monotonic() - began
    found = _found(bus, took_s, {} if not show else before)
    return {"robot": wiring.table.robot, "seconds": round(took_s, 3), "asked_hz": hz, "cycles": cycles,
            "states_hz": round(states / took_s, 1), **found}


def _answers(ports: list[dict[str, Any]]) -> dict[str, int]:
    return {drive["joint"]: drive["answers"] for port in ports for drive in port["drives"]}


def _found(bus: SerialBus, elapsed_s: float, before: dict[str, int]) -> dict[str, Any]:
    sample, ports = bus.sample, bus.statistics()
    for port in ports:
        for drive in port["drives"]:
            at = drive.pop("motor")
            drive.update(
                hz=round((drive["answers"] - before.get(drive["joint"], 0)) / elapsed_s, 1),
                q_rad=round(float(sample.q[at]), 5), dq_rad_s=round(float(sample.dq[at]), 4),
                tau_n_m=round(float(sample.tau[at]), 4), temperature_c=int(sample.temperature_c[at]),
                faults=int(sample.motor_error[at]))
        port["hz"] = round(sum(drive["hz"] for drive in port["drives"]), 1)
    imu = None
    if bus.imu is not None:
        age_s = bus.imu.age_s(time.monotonic_ns())
        imu = {"age_s": round(age_s, 4) if age_s < 1e6 else None, "quat_wxyz": sample.quat_wxyz.round(5).tolist(),
               "gyro_rad_s": sample.gyro.round(4).tolist(), "accel_m_s2": sample.accel.round(3).tolist()}
    drives = [drive for port in ports for drive in port["drives"]]
    is_healthy = bus.link_is_up() and all(drive["hz"] > 0 and not drive["faults"] for drive in drives) and (
        imu is None or imu["age_s"] is not None)
    return {"is_healthy": is_healthy, "ports": ports, "imu": imu}


def _print_table(found: dict[str, Any], lines_before: int) -> int:
    """Print over what was printed before, in a terminal; how many lines that were."""
    lines = []
    for port in found["ports"]:
        lines.append(f"{port['port']}  {'up' if port['is_open'] else 'GONE'}  {port['hz']:.0f} answers/s  "
                     f"bad {port['bad']}  expired {port['expired_turns']}  reconnects {port['reconnects']}")
        lines.append(HEAD)
        for drive in port["drives"]:
            age_ms = "never" if drive["age_s"] is None else f"{drive['age_s'] * 1e3:.1f}"
            lines.append(f"{drive['joint']:<28}{drive['q_rad']:>9.3f}{drive['dq_rad_s']:>10.2f}{drive['tau_n_m']:>9.2f}"
                         f"{drive['temperature_c']:>5}{drive['hz']:>8.0f}{drive['missed']:>8}{age_ms:>8}"
                         f"  {drive['faults'] or '-'}")
    if found["imu"] is not None:
        lines.append(f"imu {found['imu']}")
    if sys.stdout.isatty() and lines_before:
        print(f"\x1b[{lines_before}A", end="")
    print("\n".join(line + "\x1b[K" if sys.stdout.isatty() else line for line in lines), flush=True)
    return len(lines)
