"""What issue 6 asks of a robot on serial ports, measured: a table of requirement, measured value and verdict.

    python -m tests.acceptance_serial [--only squat,rs485,unplug,noise,soak] [--unplugs 1000] [--soak-s 600]

Not a test of the suite: it takes minutes and wants the machine for itself. Exit code 1 when something falls short.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge import serial_bus
from firmware_bridge.drives.protocols import FarEnd
from firmware_bridge.emulated_robot import EmulatedRobot
from firmware_bridge.motor_bus import KD, KP, Q, SafeCommand
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import FAULT_LIMP, FAULT_LOST
from firmware_bridge.serial_robot import make_serial_bus
from firmware_bridge.wiring import read_wiring
from runtime.log_file import read_log
from runtime.realtime import hurried
from tests.acceptance import Table
from tests.live_run import resident_mb
from tests.serial_run import Emulator, demo_wiring, run_serial
from tests.test_emulated_robot import Served
from tests.test_wiring import small_wiring

PERIOD_MS = 2.0
CORRUPTION = 1e-3
PRIORITY = 30
SOAK_PERIOD_S, LIMP_CYCLES = 0.01, 20


def rs485_wiring(folder: Path) -> Path:
    """The demo's robot on four RS-485 ports of GO-M8010-6 motors."""
    data = json.loads(demo_wiring(folder).read_text())
    for bus in data["buses"]:
        bus["protocol"], bus["without_watchdog"] = "go-m8010", True
        for drive in bus["drives"]:
            drive["model"], drive["gear"] = "GO-M8010-6", 1.0
    path = folder / "rs485.json"
    path.write_text(json.dumps(data))
    return path


def squat(table: Table, name: str, wiring: Path, folder: Path) -> None:
    """A whole run: ramp, stand, squat, damp."""
    emulator = Emulator(wiring)
    try:
        code, told = run_serial(wiring, folder / name, "--clip", "squat")
    finally:
        end = emulator.end()
    report = json.loads((folder / name / "report.json").read_text())
    if "tracking" not in report:
        table.add(f"{name}: stands and follows a squat", told.strip().splitlines()[-1], False)
        return
    gate = read_log(folder / name / "log.mcap").topics["gate"]
    gate = gate[(gate["mode"] > 0) & (gate["mode"] < 5)]
    period, tick = np.diff(gate["now_ns"]) / 1e6, gate["tick_ns"] / 1e6
    age = (gate["now_ns"] - gate["received_ns"]) / 1e6
    error = report["tracking"]["joint_error_rad_mean"]
    faults = ", ".join(fault["flag"] for fault in report["faults"])
    table.add(f"{name}: stands and follows a squat",
              f"outcome {report['outcome']} ({faults or 'no fault'}), fell {report['fell']}, joint error {error} rad, "
              f"{end['driven']} drives", code == 0 and not report["fell"] and end["driven"] == 29)
    tick_p99, period_p99 = np.percentile(tick, 99), np.percentile(period, 99)
    table.add(f"{name}: gate at 500 Hz, p99 of its work within the period",
              f"work p50 {np.median(tick):.2f}, p99 {tick_p99:.2f} ms; period p50 {np.median(period):.2f}, p99 "
              f"{period_p99:.2f} ms; state age p99 {np.percentile(age, 99):.1f} ms", tick_p99 < PERIOD_MS)
    table.figures[name] = {"tick_ms": [float(np.percentile(tick, p)) for p in (50, 99, 99.9)],
                           "period_ms": [float(np.percentile(period, p)) for p in (50, 99, 99.9)]}


def stiff(bus: SerialBus, q: float) -> SafeCommand:
    """Every joint to one place."""
    command = SafeCommand(len(bus.sample.q))
    command.block[:, Q], command.block[:, KP], command.block[:, KD] = q, 20, 1
    return command


def cycle(bus: SerialBus, command: SafeCommand, times: int, period_s: float = 0.004) -> None:
    """Some periods."""
    due_ns = time.monotonic_ns()
    for _ in range(times):
        bus.write(command)
        due_ns = max(due_ns + round(period_s * 1e9), time.monotonic_ns())
        bus.pump(due_ns)
        bus.read()


def two_ports(folder: Path) -> Path:
    """Three motors on two ports."""
    drives = [{"joint": f"joint_{at}", "id": at + 1, "model": "DM4310"} for at in range(2)]
    return small_wiring(folder, buses=[
        {"port": "ports/a", "protocol": "damiao-slcan", "drives": drives},
        {"port": "ports/b", "protocol": "damiao-adapter", "drives": [{"joint": "joint_2", "id": 1, "model": "DM4310"}]},
    ])


def unplug(table: Table, folder: Path, times: int) -> None:
    """Pull one of two ports again and again while both are driven."""
    serial_bus.REOPEN_S = 0.02
    wiring = two_ports(folder)
    served = Served(EmulatedRobot(read_wiring(wiring)))
    bus = make_serial_bus(read_wiring(wiring), 0.004)
    bus.connect()
    bus.enable()
    cycle(bus, stiff(bus, 0.2), 20)
    gc.collect()
    port, motors = served.robot.ports[str(folder / "ports/b")], served.robot.motors
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    given_torque = affected = back = 0
    began = time.monotonic()
    for _ in range(times):
        served.do(port.unplug)
        motors.is_enabled[2] = False  # without its supply it forgets that it had torque
        cycle(bus, stiff(bus, 0.2), 3)
        served.do(port.plug)
        end = time.monotonic() + 5
        while not bus.link_is_up() and time.monotonic() < end:
            cycle(bus, stiff(bus, 0.2), 2)
        cycle(bus, stiff(bus, 0.3), 3)
        back += bus.link_is_up()
        given_torque += bool(motors.is_enabled[2])
        affected += bool(bus.sample.motor_error[:2].any() or not motors.is_enabled[:2].all())
    took_s = time.monotonic() - began
    gc.collect()
    left = len(os.listdir("/proc/self/fd")) - files
    table.add(f"{times} times unplugged and plugged in again: it comes back", f"{back} times, {took_s:.0f} s",
              back == times)
    table.add("torque without the operator", f"{given_torque} times", given_torque == 0)
    table.add("other ports affected", f"{affected} times", affected == 0)
    table.add("descriptors and threads leaked", f"{left}, {threading.active_count() - threads}",
              left == 0 and threading.active_count() == threads)
    bus.close()
    served.close()


class Noisy:
    """A far end behind a line that damages bytes both ways."""

    def __init__(self, far_end: FarEnd, rate: float, seed: int) -> None:
        self._far_end, self._rate = far_end, rate
        self._random = np.random.default_rng(seed)
        self.damaged = 0

    def _damage(self, data: bytes) -> bytes:
        hits = np.flatnonzero(self._random.random(len(data)) < self._rate)
        if not len(hits):
            return data
        self.damaged += len(hits)
        out = bytearray(data)
        for at in hits:
            out[at] ^= 1 << int(self._random.integers(8))
        return bytes(out)

    def feed(self, data: bytes) -> bytes:
        """Damaged there, answered, damaged back."""
        return self._damage(self._far_end.feed(self._damage(data)))


def noise(table: Table, folder: Path, cycles: int = 10_000) -> None:
    """One byte in a thousand is another."""
    wiring = two_ports(folder)
    robot = EmulatedRobot(read_wiring(wiring))
    served = Served(robot)
    bus = make_serial_bus(read_wiring(wiring), 0.004)
    bus.connect()
    bus.enable()
    cycle(bus, stiff(bus, 0.0), 20)
    noisy = [Noisy(port.far_end, CORRUPTION, seed) for seed, port in enumerate(robot.ports.values())]
    for port, end in zip(robot.ports.values(), noisy, strict=True):
        port.far_end = end
    worst, not_finite, shut_out, lost = 0.0, 0, 0, 0
    command, before = stiff(bus, 0.0), bus.sample.q.copy()
    for at in range(cycles):
        command.block[:, Q] = 0.3 * np.sin(at * 0.01)
        cycle(bus, command, 1)
        worst = max(worst, float(np.abs(bus.sample.q - before).max()))
        before[:] = bus.sample.q
        not_finite += not np.isfinite(bus.sample.q).all()
        shut_out += any(drive["is_shut_out"] for port in bus.statistics() for drive in port["drives"])
        lost += bool((bus.sample.motor_error & FAULT_LOST).any())
    missed = sum(drive["missed"] for port in bus.statistics() for drive in port["drives"])
    table.add(f"bytes damaged, one in {1 / CORRUPTION:.0f}: nothing that is no number", f"{not_finite} samples of "
              f"{cycles}, {sum(end.damaged for end in noisy)} bytes damaged", not_finite == 0)
    table.add("largest step that got through", f"{worst:.2f} rad", worst < 0.5)
    table.add("drives shut out or called lost", f"{shut_out}, {lost} cycles", shut_out == 0 and lost == 0)
    table.add("samples missed", f"{missed} of {3 * cycles} ({missed / 3 / cycles:.1%})", missed < 0.2 * 3 * cycles)
    bus.close()
    served.close()


def soak(table: Table, folder: Path, seconds: float) -> None:
    """29 driven motors on four ports, for long."""
    wiring = demo_wiring(folder)
    emulator = Emulator(wiring, "--no-plant")
    bus = make_serial_bus(read_wiring(wiring), SOAK_PERIOD_S)
    bus.connect()
    bus.enable()
    command = stiff(bus, 0.0)
    cycle(bus, command, 100)
    gc.collect()
    files, memory = len(os.listdir("/proc/self/fd")), resident_mb(os.getpid())
    end, let_go, regained, cycles = time.monotonic() + seconds, 0, 0, 0
    with hurried(PRIORITY):
        while time.monotonic() < end:
            command.block[:, Q] = 0.2 * np.sin(cycles * 0.01)
            cycle(bus, command, 1, SOAK_PERIOD_S)
            cycles += 1
            limp = (bus.sample.motor_error & FAULT_LIMP) != 0
            if limp.any():  # this computer stood still for longer than a watchdog: stays limp until armed anew
                let_go += 1
                cycle(bus, command, LIMP_CYCLES, SOAK_PERIOD_S)
                regained += bool((limp & ((bus.sample.motor_error & FAULT_LIMP) == 0)).any())
                cycles += LIMP_CYCLES
                bus.enable()
                cycle(bus, command, LIMP_CYCLES, SOAK_PERIOD_S)
                cycles += LIMP_CYCLES
    grown = resident_mb(os.getpid()) - memory
    drives = [drive for port in bus.statistics() for drive in port["drives"]]
    asked = cycles * len(drives)
    missed, lost = sum(drive["missed"] for drive in drives), sum(drive["lost"] for drive in drives)
    table.add(f"soak, {seconds:.0f} s at {cycles / seconds:.0f} Hz: torque regained without the operator",
              f"{regained} times; watchdogs struck {let_go} times, as this computer stood still", regained == 0)
    table.add("soak: samples missed, lost for good", f"{missed / asked:.2%}, {lost / asked:.3%}", lost < 0.01 * asked)
    table.add("soak: descriptors, memory", f"{len(os.listdir('/proc/self/fd')) - files}, {grown:.1f} MB",
              len(os.listdir("/proc/self/fd")) == files and grown < 10)
    bus.close()
    emulator.end()


def main(argv: list[str]) -> int:
    """Measure; 1 when something falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="squat,rs485,unplug,noise,soak")
    parser.add_argument("--unplugs", type=int, default=1000)
    parser.add_argument("--soak-s", type=float, default=600.0)
    args = parser.parse_args(argv)
    table, only = Table(), args.only.split(",")
    if set(only) - set(parser.get_default("only").split(",")):
        parser.error(f"--only takes some of {parser.get_default('only')}")
    with tempfile.TemporaryDirectory() as text:
        folders: dict[str, Path] = {}
        for name in ("squat", "rs485", "unplug", "noise", "soak"):
            folders[name] = Path(text) / name
            folders[name].mkdir()
        jobs: dict[str, Any] = {
            "squat": lambda at: squat(table, "4 slcan buses", demo_wiring(at), at),
            "rs485": lambda at: squat(table, "4 RS-485 ports", rs485_wiring(at), at),
            "unplug": lambda at: unplug(table, at, args.unplugs),
            "noise": lambda at: noise(table, at),
            "soak": lambda at: soak(table, at, args.soak_s),
        }
        for name in only:
            with hurried(PRIORITY) if name in ("unplug", "noise") else contextlib.nullcontext():
                jobs[name](folders[name])
    return table.finish(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
