"""What a cycle over a serial port costs beside the field's own libraries, and what a dead drive or a bad CRC costs.

Both sides talk to the same emulated drives, each on a pty of its own with the far end in a process of its own, and take
turns of twenty cycles. A cycle is from targets as numbers to all states as numbers. What goes wrong is measured at
500 Hz (Dynamixel: 250 Hz): our bus blocks for a write and a read only and what a drive did not answer is its own lost
sample; a library blocks until it gives up, and every period that passes meanwhile is a lost sample of every drive.
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
from firmware_bridge.serial_bench_far_end import FarEndProcess
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_line import Line
from firmware_bridge.stock_hosts import STOCK_HOSTS, F64, StockHost

NAMES = {"moteus-fdcanusb": "moteus", "damiao-slcan": "slcan", "dynamixel": "dynamixel"}
PERIODS_S = {"moteus-fdcanusb": 0.002, "damiao-slcan": 0.002, "dynamixel": 0.004}
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
        self._period_s = PERIODS_S[protocol]
        self._command = command
        self._bus.connect()
        self.run(3)
        self._bus.enable()

    def run(self, cycles: int) -> list[float]:
        return [self._cycle() for _ in range(cycles)]

    def _cycle(self) -> float:
        states, line = self.line.language.states, self.line
        wanted = int(states.answers.sum()) + len(states.answers)
        begin = time.perf_counter()
        self._bus.write(self._command)
        while int(states.answers.sum()) < wanted and (left := begin + PATIENCE_S - time.perf_counter()) > 0:
            assert line.port is not None
            select.select([line.port.descriptor], [], [], left)
            line.hear(time.monotonic_ns())
        self._bus.read()
        return time.perf_counter() - begin

    def paced(self, cycles: int) -> tuple[list[float], F64]:
        """Cycles as a gate has them: how long each blocked, s, and (n,) the samples that each drive lost."""
        answers, blocked = self.line.language.states.answers, []
        lost = np.zeros(len(answers))
        tick_ns = time.monotonic_ns()
        for _ in range(cycles):
            before, tick_ns = answers.copy(), max(tick_ns + round(self._period_s * 1e9), time.monotonic_ns())
            begin = time.perf_counter()
            self._bus.write(self._command)
            written = time.perf_counter()
            self._bus.pump(tick_ns)
            time.sleep(max(tick_ns - time.monotonic_ns(), 0) * 1e-9)
            collect = time.perf_counter()
            self._bus.read()
            blocked.append(written - begin + time.perf_counter() - collect)
            lost += answers == before
        return blocked, lost

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
        took: dict[str, list[float]] = {"ours": [], "stock": []}
        for _ in range(ROUNDS):
            took["ours"] += ours.run(AT_ONCE)
            took["stock"] += theirs.run(AT_ONCE)
        p50 = {side: statistics.median(times) for side, times in took.items()}
        result: dict[str, Any] = {f"{side}_cycle_p50_us": p50[side] * 1e6 for side in p50}
        result |= {f"{side}_cycle_p99_us": float(np.percentile(times, 99)) * 1e6 for side, times in took.items()}
        result["cycle_ratio"] = p50["stock"] / p50["ours"]
        return result | _our_faults(ours, ends[0]) | _stock_faults(theirs, ends[1], p50["stock"], PERIODS_S[protocol])


def _refuse_another_robot(protocol: str, ours: F64, theirs: F64) -> None:
    if not (np.abs(ours - theirs) < SAME_RAD).all():
        raise BridgeError(f"serial benchmark, {protocol}", expected="the same positions on both sides",
                          found=f"{ours.tolist()} and {theirs.tolist()}", what_to_do="report this")


def _our_faults(host: OurHost, end: FarEndProcess) -> dict[str, Any]:
    host.paced(AT_ONCE)
    healthy, _ = host.paced(FAULT_CYCLES)
    usual = statistics.median(healthy)
    end.tell(f"dead {DEAD}")
    host.paced(AT_ONCE)
    dead, lost = host.paced(FAULT_CYCLES)
    end.tell("alive")
    host.paced(AT_ONCE)
    extra, damaged = [], []
    for _ in range(EVENTS):
        end.tell("damage")
        blocked, missing = host.paced(AT_ONCE)
        extra.append(max(blocked) - max(healthy))
        damaged.append(float(missing.sum()))
    return {
        "ours_dead_cost_us": max(statistics.median(dead) - usual, 0.0) * 1e6,
        "ours_dead_lost_samples": float(np.delete(lost, DEAD).sum()) / FAULT_CYCLES,
        "ours_bad_crc_cost_us": max(statistics.median(extra), 0.0) * 1e6,
        "ours_bad_crc_lost_samples": statistics.median(damaged),
    }


def _stock_faults(host: StockHost, end: FarEndProcess, usual_s: float, period_s: float) -> dict[str, Any]:
    end.tell(f"dead {DEAD}")
    dead = statistics.median(host.run(EVENTS))
    end.tell("alive")
    host.run(AT_ONCE)
    times = []
    for _ in range(EVENTS):
        end.tell("damage")
        times += host.run(1)
        host.run(3)
    damaged, n = statistics.median(times), len(host.positions())
    return {
        "stock_dead_cost_us": (dead - usual_s) * 1e6, "stock_dead_lost_samples": dead // period_s * (n - 1),
        "stock_bad_crc_cost_us": (damaged - usual_s) * 1e6, "stock_bad_crc_lost_samples": damaged // period_s * n,
    }
