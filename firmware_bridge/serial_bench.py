"""What a cycle over a serial port costs beside the field's own libraries, and what a dead drive or a bad CRC costs.

Both sides talk to the same emulated drives, each on a pty of its own with the far end in a process of its own, and take
turns of twenty cycles. A cycle is from targets as numbers to all states as numbers: position, velocity and torque of
every drive on either side (ours also has temperature, faults and whether the drive has torque). With one drive dead,
or one answer damaged, ours ends when all others have answered, as no cycle waits for who is missing; a library's ends
when it gives up. What that takes longer than usual is the cost; lost samples are those that the other drives could
have given meanwhile at 500 Hz, and those missed.
"""

from __future__ import annotations

import select
import statistics
import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import make_language
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import SafeCommand
from firmware_bridge.serial_bench_drives import bench_drives
from firmware_bridge.serial_bench_far_end import FarEndProcess, undisturbed
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import Line
from firmware_bridge.serial_turns import BITS_A_BYTE
from firmware_bridge.stock_hosts import F64, STOCK_HOSTS, StockHost

NAMES = {"moteus-fdcanusb": "moteus", "damiao-slcan": "slcan", "dynamixel": "dynamixel"}
PERIOD_S = 0.002
BAUDS = {"dynamixel": 4_000_000}
WARM, ROUNDS, AT_ONCE = 60, 20, 20
PATIENCE_S = 0.1
DEAD = 3
FAULT_CYCLES, EVENTS = 100, 10
SAME_RAD = 2e-3


class OurHost:
    """The serial bus on one port."""

    def __init__(self, path: str, protocol: str, drives: list[Drive], command: SafeCommand) -> None:
        self.line = Line(path, drives, make_language(protocol, drives, BAUDS.get(protocol)))
        self._motors = len(drives)
        self._bus = SerialBus([self.line], len(command.block), period_s=0.1)
        self._command = command
        self._bus.connect()
        self.run(3)
        self._bus.enable()

    def run(self, cycles: int) -> list[float]:
        return [self.cycle() for _ in range(cycles)]

    def cycle(self, missing: int = 0) -> float:
        """One cycle that ends when all but some have answered, s."""
        answers, line = self.line.language.states.answers, self.line
        wanted = int(answers.sum()) + len(answers) - missing
        begin = time.perf_counter()
        self._bus.write(self._command)
        now_ns = time.monotonic_ns()
        due_ns = end_ns = now_ns + round(PATIENCE_S * 1e9)
        while now_ns < end_ns and line.port is not None:
            select.select([line.port.descriptor], [], [], max(due_ns - now_ns, 0) * 1e-9)
            now_ns = time.monotonic_ns()
            due_ns = line.hear(now_ns) or end_ns
            if int(answers.sum()) >= wanted:
                break
        self._bus.read()
        return time.perf_counter() - begin

    def positions(self) -> F64:
        return np.asarray(self._bus.sample.q[: self._motors], np.float64)

    def close(self) -> None:
        self._bus.close()


def measure_serial(command: SafeCommand) -> dict[str, Any]:
    """All protocols.

    Args:
        command: for twelve motors or more, at rest; of the floor above, which alone makes one.

    Raises:
        BridgeError: a library is missing, or the two sides do not read the same positions.
    """
    found: dict[str, Any] = {}
    with undisturbed():
        for protocol, name in NAMES.items():
            found.update({f"{name}_{key}": value for key, value in _measure(protocol, command).items()})
    return found


def _measure(protocol: str, command: SafeCommand) -> dict[str, Any]:
    drives = bench_drives(protocol)
    with ExitStack() as stack:
        ends = [stack.enter_context(FarEndProcess(protocol)) for _ in range(2)]
        ours = OurHost(ends[0].path, protocol, drives, command)
        stack.callback(ours.close)
        theirs: StockHost = STOCK_HOSTS[protocol](ends[1].path, drives)
        stack.callback(theirs.close)
        for host, end in ((ours, ends[0]), (theirs, ends[1])):
            host.run(WARM)
            end.tell("remember")
            host.run(WARM)
        _refuse_another_robot(protocol, ours.positions(), theirs.positions())
        result = _cycles({"ours": (ours, ends[0]), "stock": (theirs, ends[1])})
        if protocol in BAUDS:
            result |= _with_line(result, BAUDS[protocol])
        return result | _our_faults(ours, ends[0], result["ours_cycle_p50_us"] * 1e-6) | _stock_faults(
            theirs, ends[1], result["stock_cycle_p50_us"] * 1e-6)


def _cycles(sides: dict[str, tuple[OurHost | StockHost, FarEndProcess]]) -> dict[str, Any]:
    """What usual cycles take, in time and in time of the processor, and how many bytes they send and hear."""
    took: dict[str, list[float]] = {side: [] for side in sides}
    cpu_s, carried = dict.fromkeys(sides, 0.0), dict.fromkeys(sides, 0)
    for side, (_, end) in sides.items():
        carried[side] -= int(end.tell("count"))
    for _ in range(ROUNDS):
        for side, (host, _) in sides.items():
            began_s = time.process_time()
            took[side] += host.run(AT_ONCE)
            cpu_s[side] += time.process_time() - began_s
    result: dict[str, Any] = {}
    for side, (_, end) in sides.items():
        cycles = len(took[side])
        result |= {f"{side}_cycle_p50_us": statistics.median(took[side]) * 1e6,
                   f"{side}_cycle_p99_us": float(np.percentile(took[side], 99)) * 1e6,
                   f"{side}_cycle_cpu_us": cpu_s[side] * 1e6 / cycles,
                   f"{side}_cycle_bytes": (carried[side] + int(end.tell("count"))) / cycles}
    return result | {"cycle_ratio": result["stock_cycle_p50_us"] / result["ours_cycle_p50_us"],
                     "cycle_cpu_ratio": cpu_s["stock"] / cpu_s["ours"]}


def _with_line(result: dict[str, Any], baud: int) -> dict[str, Any]:
    """What the bytes take on a real pair of wires, which a pty has not, and what is left of the ratio then."""
    line_us = {side: result[f"{side}_cycle_bytes"] * BITS_A_BYTE * 1e6 / baud for side in ("ours", "stock")}
    whole_us = {side: result[f"{side}_cycle_p50_us"] + line_us[side] for side in line_us}
    return {f"{side}_line_us": line_us[side] for side in line_us} | {
        "cycle_ratio_with_line": whole_us["stock"] / whole_us["ours"]}


def _refuse_another_robot(protocol: str, ours: F64, theirs: F64) -> None:
    if not (np.abs(ours - theirs) < SAME_RAD).all():
        raise BridgeError(f"serial benchmark, {protocol}", expected="the same positions on both sides",
                          found=f"{ours.tolist()} and {theirs.tolist()}", what_to_do="report this")


def _our_faults(host: OurHost, end: FarEndProcess, usual_s: float) -> dict[str, Any]:
    answers, n = host.line.language.states.answers, len(host.line.drives)
    end.tell(f"dead {DEAD}")
    for _ in range(AT_ONCE):
        host.cycle(1)
    before = answers.copy()
    dead = statistics.median([host.cycle(1) for _ in range(FAULT_CYCLES)])
    lost = float(np.delete(FAULT_CYCLES - (answers - before), DEAD).sum()) / FAULT_CYCLES
    end.tell("alive")
    host.run(AT_ONCE)
    times, damaged = [], []
    for _ in range(EVENTS):
        end.tell("damage")
        before = answers.copy()
        times.append(host.cycle(1))
        host.run(3)
        damaged.append(float((4 - (answers - before)).sum()))
    return _costs("ours", dead - usual_s, lost + (dead // PERIOD_S) * (n - 1), statistics.median(times) - usual_s,
                  statistics.median(damaged))


def _stock_faults(host: StockHost, end: FarEndProcess, usual_s: float) -> dict[str, Any]:
    n = len(host.positions())
    end.tell(f"dead {DEAD}")
    host.run(2)
    dead = statistics.median(host.run(EVENTS))
    dead_lost = float(np.count_nonzero(np.isnan(host.positions()))) - 1
    end.tell("alive")
    host.run(AT_ONCE)
    times, lost = [], []
    for _ in range(EVENTS):
        end.tell("damage")
        times += host.run(1)
        lost.append(float(np.count_nonzero(np.isnan(host.positions()))))
        host.run(3)
    damaged = statistics.median(times)
    return _costs("stock", dead - usual_s, dead_lost + dead // PERIOD_S * (n - 1), damaged - usual_s,
                  statistics.median(lost) + damaged // PERIOD_S * n)


def _costs(side: str, dead_s: float, dead_lost: float, damaged_s: float, damaged_lost: float) -> dict[str, Any]:
    return {
        f"{side}_dead_cost_us": max(dead_s, 0.0) * 1e6, f"{side}_dead_lost_samples": dead_lost,
        f"{side}_bad_crc_cost_us": max(damaged_s, 0.0) * 1e6, f"{side}_bad_crc_lost_samples": damaged_lost,
    }
