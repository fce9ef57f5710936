"""A whole tick without inference, paced, ours beside the stock path in the same run.

From a LowState that has arrived to a LowCmd that has been written: take, 1432 observation numbers with their history
of ten, joint targets, encode, CRC, write. The stock side is written as deployment scripts write it (typed Python
messages, arrays concatenated each tick); it checks no CRC and has no gate. Ours checks the CRC; the gate is a figure
of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE
from firmware_bridge.motor_bus import Reading
from firmware_bridge.unitree_bus import COMMAND_TOPIC, STATE_TOPIC, UnitreeBus
from firmware_bridge.wire_bench import bench_domain
from runtime.controller import Controller
from runtime.enforce import Enforcer
from runtime.faults import Request
from runtime.gate import Gate
from runtime.manifest_reader import load_manifest
from runtime.realtime import Metronome, go_real_time
from runtime.settings import GATE_HZ

PACE_HZ = 500
TURN = 20
"""Ticks of one side in a row: alternating every tick would measure each with the other's caches."""
FEED_HZ = 500
PATIENCE_S = 20.0


class _NoNetwork:
    """Stands where the network would: its buffers, no inference."""

    def __init__(self, observation: int, joints: int) -> None:
        self.inputs = {"input": np.zeros((1, observation), np.float32)}
        self.outputs = {"output": np.zeros((1, joints), np.float32)}

    def run(self) -> None:
        """Nothing."""


def measure_tick(ticks: int = 400) -> dict[str, float]:
    """Medians in us of one tick, stock, ours and ours with the gate, and stock / ours.

    Raises:
        BridgeError: no states arrive.
    """
    times: dict[str, list[float]] = {"stock": [], "ours": [], "gated": []}
    with ExitStack() as stack:
        domains = bench_domain("stock"), bench_domain("ours")
        stack.enter_context(_feeder(domains))
        stock, ours = _stock_tick(domains[0]), _our_tick(domains[1], stack)
        _await(stock)
        _await(ours["ours"])
        go_real_time(70, None)
        metronome = Metronome(1_000_000_000 // PACE_HZ)
        calls = {"stock": stock, **ours}
        for turn in range(len(calls) * ticks // TURN):
            name = list(calls)[turn % len(calls)]
            for _ in range(TURN):
                metronome.wait()
                start = time.perf_counter_ns()
                done = calls[name]()
                taken = (time.perf_counter_ns() - start) / 1e3
                if done:
                    times[name].append(taken)
    result = {f"tick_{name}_us": median(values) for name, values in times.items()}
    result["tick_ratio"] = result["tick_stock_us"] / result["tick_ours_us"]
    result["tick_gated_ratio"] = result["tick_stock_us"] / result["tick_gated_us"]
    return result


def _await(tick: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not tick():
        if time.monotonic() > deadline:
            raise BridgeError("tick benchmark", expected=f"states within {PATIENCE_S} s", found="none",
                              what_to_do="see whether other programs use the benchmark's domains")
        time.sleep(0.01)


def _our_tick(domain: int, stack: ExitStack) -> dict[str, Callable[[], bool]]:
    manifest = load_manifest("twist2")
    joints = len(manifest.order)
    bus = UnitreeBus(DdsSettings(domain), "unitree_hg", joints, name="exoactor-bench")
    stack.callback(bus.close)
    bus.open_writer()
    bus.echo(5)
    network: Any = _NoNetwork(1432, joints)
    controller, gate = Controller(manifest, network), Gate(manifest.robot, 1 / GATE_HZ)
    command = Enforcer(manifest.robot, 1 / GATE_HZ).repeat()
    numbers = {"sequence": 0}

    def ours() -> bool:
        if bus.read() is not Reading.NEW:
            return False
        gate.review.look_at_state(Reading.NEW, bus.sample, time.monotonic_ns())
        controller.tick(gate.state)
        command.block[:] = controller.target
        return bus.write(command)

    def gated() -> bool:
        reading, now = bus.read(), time.monotonic_ns()
        if reading is not Reading.NEW:
            return False
        numbers["sequence"] += 1
        request = Request.ARM if numbers["sequence"] == 1 else Request.TRACK
        safe = gate.tick(reading, bus.sample, controller.target, numbers["sequence"], now, request, 0, now)
        controller.tick(gate.state)
        return safe is not None and bus.write(safe)

    return {"ours": ours, "gated": gated}


def _stock_tick(domain: int) -> Callable[[], bool]:
    from firmware_bridge.stock_path import StockBus, blank, stock_crc

    manifest = load_manifest("twist2")
    bus, command = StockBus(domain, (STATE_TOPIC, HG_LOW_STATE), (COMMAND_TOPIC, HG_LOW_CMD)), blank(HG_LOW_CMD.struct)
    n = len(manifest.order)
    default, kp, kd = manifest.default_pose, manifest.kp.tolist(), manifest.kd.tolist()
    reference, action = np.zeros(35, np.float32), np.zeros(n, np.float32)
    history: deque[Any] = deque([np.zeros(127, np.float32)] * 10, maxlen=10)

    def stock() -> bool:
        state = bus.take()
        if state is None:
            return False
        q = np.array([motor.q for motor in state.motor_state[:n]], np.float32)
        dq = np.array([motor.dq for motor in state.motor_state[:n]], np.float32)
        quat = np.array(state.imu_state.quaternion, np.float32)
        gyro = np.array(state.imu_state.gyroscope, np.float32)
        w, x, y, z = quat
        tilt = np.array([np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
                         np.arcsin(np.clip(2 * (w * y - z * x), -1, 1))], np.float32)
        dq[[4, 5, 10, 11]] = 0
        frame = np.concatenate([reference, gyro * 0.25, tilt, q - default, dq * 0.05, action])
        observation = np.concatenate([frame, *history, reference]).astype(np.float32)
        history.append(frame)
        target = action * 0.5 + default + 0 * observation[0]
        command.mode_machine = state.mode_machine
        for i in range(n):
            motor = command.motor_cmd[i]
            motor.mode, motor.q, motor.dq, motor.tau = 1, float(target[i]), 0.0, 0.0
            motor.kp, motor.kd = kp[i], kd[i]
        command.crc = stock_crc(HG_LOW_CMD, command)
        bus.write(command)
        return True

    return stock


@contextmanager
def _feeder(domains: tuple[int, int]) -> Iterator[None]:
    command = [sys.executable, "-m", "runtime.tick_bench", json.dumps(domains)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _feed(domains: list[int]) -> None:
    writers = [Participant(DdsSettings(domain), "feeder").writer(STATE_TOPIC, HG_LOW_STATE) for domain in domains]
    metronome, count = Metronome(1_000_000_000 // FEED_HZ), 0
    while True:
        metronome.wait()
        count += 1
        for writer in writers:
            HG_LOW_STATE.view(writer.buffer, "tick")[0] = count
            HG_LOW_STATE.view(writer.buffer, "mode_machine")[0] = 5
            HG_LOW_STATE.view(writer.buffer, "imu_state.quaternion")[0] = 1
            HG_LOW_STATE.seal(writer.buffer).write()
            writer.write()


if __name__ == "__main__":
    _feed(json.loads(sys.argv[1]))
