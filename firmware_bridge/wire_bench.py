"""Codec and round trip of ours against the stock Python path, alternating in one run, as ratios of medians.

The stock side crashes Cyclone DDS 0.10 peers (see ``stock_path``): it runs on the loopback, in a domain of
its own. EXOACTOR_BENCH_STOCK_DOMAIN and EXOACTOR_BENCH_DOMAIN move the two domains.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE

MOTORS = 29
OURS_PER_TURN = 50
"""Calls of ours timed together: one takes less than a clock reading tells apart."""

PATIENCE_S = 20.0
_LOWCMD, _LOWSTATE = ("rt/lowcmd", HG_LOW_CMD), ("rt/lowstate", HG_LOW_STATE)
_HEADER = bytes((0, 1, 0, 0))


def measure_codec(repeats: int = 500) -> dict[str, float]:
    """Medians in us of decoding a LowState_ and encoding a LowCmd_, and the ratios stock / ours.

    ``decode``: from bytes to q, dq, quaternion and gyroscope as numpy arrays. The stock path builds its
    objects and then arrays from them; it does not check the CRC. Ours is one copy under views that are bound
    once, and the members copied out into arrays of their own, as stock ends up with. ``decode_view_us`` leaves
    that copy out, ``decode_crc_us`` checks the CRC instead, which is what the runtime does.
    ``encode``: 29 motors of five gains and targets, CRC, wire bytes.

    Raises:
        BridgeError: the two paths disagree on a value or a byte.
    """
    decode, encode = _decoders(), _encoders()
    _require("decoded values", *(value() for value in (decode.pop("stock_value"), decode.pop("ours_value"))))
    _require("encoded bytes", *(value() for value in (encode.pop("stock_value"), encode.pop("ours_value"))))
    calls = {f"decode_{name}": call for name, call in decode.items()}
    calls |= {f"encode_{name}": call for name, call in encode.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(_time_us(call, 1 if name.endswith("stock") else OURS_PER_TURN))
    result = {f"{name}_us": median(values) for name, values in times.items()}
    result["decode_ratio"] = result["decode_stock_us"] / result["decode_ours_us"]
    result["decode_crc_ratio"] = result["decode_stock_us"] / result["decode_crc_us"]
    result["decode_view_ratio"] = result["decode_stock_us"] / result["decode_view_us"]
    result["encode_ratio"] = result["encode_stock_us"] / result["encode_ours_us"]
    return result


def measure_round_trip(samples: int = 500) -> dict[str, float]:
    """Medians in us from a LowCmd_ sent to the LowState_ that another process answers, and stock / ours.

    Waitsets on both sides, the loopback, one answering process per path.

    Raises:
        BridgeError: no answer.
    """
    with ExitStack() as stack:
        stock = _stock_trip(stack.enter_context(_answering("stock")))
        ours = _our_trip(stack.enter_context(_answering("ours")), stack)
        times: dict[str, list[float]] = {"stock": [], "ours": []}
        for i in range(1, samples + 1):
            times["stock"].append(_time_us(partial(stock, i), 1))
            times["ours"].append(_time_us(partial(ours, i), 1))
    result = {f"round_trip_{name}_us": median(values) for name, values in times.items()}
    result["round_trip_ratio"] = result["round_trip_stock_us"] / result["round_trip_ours_us"]
    return result


def _time_us(call: Callable[[], object], times: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(times):
        call()
    return (time.perf_counter_ns() - start) / times / 1e3


def _require(what: str, stock: bytes, ours: bytes) -> None:
    if stock != ours:
        raise BridgeError(
            what, expected="those of the stock path", found="others",
            what_to_do="run tests/test_wire.py: a layout is wrong",
        )


def _decoders() -> dict[str, Callable[[], Any]]:
    from firmware_bridge.stock_path import stock_type

    kind = stock_type(HG_LOW_STATE.struct)
    arrival, buffer = HG_LOW_STATE.empty(), HG_LOW_STATE.empty()
    random = np.random.default_rng(0)
    for path in ("motor_state.q", "motor_state.dq", "imu_state.quaternion", "imu_state.gyroscope"):
        member = HG_LOW_STATE.view(arrival, path)
        member[:] = random.normal(size=member.shape)
    seal = HG_LOW_STATE.seal(buffer)
    HG_LOW_STATE.seal(arrival).write()
    wire = _HEADER + arrival.tobytes()
    views = [
        HG_LOW_STATE.view(buffer, "motor_state.q")[:MOTORS],
        HG_LOW_STATE.view(buffer, "motor_state.dq")[:MOTORS],
        HG_LOW_STATE.view(buffer, "imu_state.quaternion"),
        HG_LOW_STATE.view(buffer, "imu_state.gyroscope"),
    ]
    copies = [np.empty_like(member) for member in views]

    def stock() -> list[Any]:
        state = kind.deserialize(wire)
        motors = state.motor_state[:MOTORS]
        return [
            np.array([motor.q for motor in motors], np.float32),
            np.array([motor.dq for motor in motors], np.float32),
            np.array(state.imu_state.quaternion, np.float32),
            np.array(state.imu_state.gyroscope, np.float32),
        ]

    def view() -> list[Any]:
        buffer[:] = arrival
        return views

    def crc() -> bool:
        buffer[:] = arrival
        return seal.matches()

    def ours() -> list[Any]:
        buffer[:] = arrival
        for copy, member in zip(copies, views, strict=True):
            copy[:] = member
        return copies

    return {
        "stock": stock, "ours": ours, "view": view, "crc": crc,
        "stock_value": lambda: b"".join(array.tobytes() for array in stock()),
        "ours_value": lambda: b"".join(array.tobytes() for array in ours()),
    }


def _encoders() -> dict[str, Callable[[], Any]]:
    from firmware_bridge.stock_path import blank, stock_crc

    random = np.random.default_rng(1)
    q, dq, tau, kp, kd = random.normal(size=(5, MOTORS)).astype(np.float32)
    as_floats = list(zip(*(column.tolist() for column in (q, dq, tau, kp, kd)), strict=True))
    message = blank(HG_LOW_CMD.struct)
    buffer = HG_LOW_CMD.empty()
    columns = HG_LOW_CMD.block(buffer, "motor_cmd", "q", "kd")[:MOTORS].T
    modes = HG_LOW_CMD.offsets("motor_cmd.mode")[:MOTORS]
    seal = HG_LOW_CMD.seal(buffer)

    def stock() -> bytes:
        for motor, values in zip(message.motor_cmd, as_floats, strict=False):
            motor.mode = 1
            motor.q, motor.dq, motor.tau, motor.kp, motor.kd = values
        message.crc = stock_crc(HG_LOW_CMD, message)
        return bytes(message.serialize(use_version_2=False))

    def ours() -> Any:
        buffer[modes] = 1
        columns[0], columns[1], columns[2], columns[3], columns[4] = q, dq, tau, kp, kd
        seal.write()
        return buffer

    return {
        "stock": stock, "ours": ours, "stock_value": stock, "ours_value": lambda: _HEADER + ours().tobytes(),
    }


def bench_domain(path: str) -> int:
    """The DDS domain of the `stock` or `ours` side of a benchmark."""
    if path == "stock":
        return int(os.environ.get("EXOACTOR_BENCH_STOCK_DOMAIN", "91"))
    return int(os.environ.get("EXOACTOR_BENCH_DOMAIN", "92"))


def _stock_trip(domain: int) -> Callable[[int], None]:
    from firmware_bridge.stock_path import StockBus, blank

    bus, command = StockBus(domain, _LOWSTATE, _LOWCMD), blank(HG_LOW_CMD.struct)

    def trip(number: int, patience_s: float = PATIENCE_S) -> None:
        command.reserve[0] = number
        bus.write(command)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            state = bus.take() if bus.wait(patience_s) else None
            if state is not None and state.tick == number:
                return
        raise _no_answer("stock")

    return _warmed_up(trip)


def _our_trip(domain: int, stack: ExitStack) -> Callable[[int], None]:
    us = stack.enter_context(Participant(DdsSettings(domain), "wire_bench"))
    reader, writer = us.reader(*_LOWSTATE), us.writer(*_LOWCMD)
    number_out = HG_LOW_CMD.view(writer.buffer, "reserve")
    number_in = HG_LOW_STATE.view(reader.buffer, "tick")

    def trip(number: int, patience_s: float = PATIENCE_S) -> None:
        number_out[0] = number
        writer.write()
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if reader.wait(patience_s) and reader.take() and number_in[0] == number:
                return
        raise _no_answer("our")

    return _warmed_up(trip)


def _warmed_up(trip: Callable[..., None]) -> Callable[[int], None]:
    """The trip, once discovery has let fifty of them through."""
    deadline, done = time.monotonic() + PATIENCE_S, 0
    while done < 50:
        try:
            trip(1_000_000 + done, 0.1)
            done += 1
        except BridgeError:
            if time.monotonic() > deadline:
                raise
    return trip


def _no_answer(path: str) -> BridgeError:
    return BridgeError(
        f"round trip on the {path} path", expected=f"an answer within {PATIENCE_S} s", found="none",
        what_to_do="see whether other programs use the benchmark's domains",
    )


@contextmanager
def _answering(path: str) -> Iterator[int]:
    """Runs the answering process of a path; gives its domain."""
    domain, root = bench_domain(path), Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "firmware_bridge.wire_bench", path, str(domain)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root)
    try:
        yield domain
    finally:
        process.communicate()  # its input closes, and it ends


def _answer(path: str, domain: int) -> None:
    """Answers each LowCmd_ by a LowState_ with the same number until the input closes."""

    def is_wanted() -> bool:
        return not select.select([sys.stdin], [], [], 0)[0]

    if path == "stock":
        from firmware_bridge.stock_path import StockBus, blank

        bus, state = StockBus(domain, _LOWCMD, _LOWSTATE), blank(HG_LOW_STATE.struct)
        while bus.wait(0.2) or is_wanted():
            command = bus.take()
            if command is not None:
                state.tick = command.reserve[0]
                bus.write(state)
        return
    with Participant(DdsSettings(domain), "wire_bench answer") as us:
        reader, writer = us.reader(*_LOWCMD), us.writer(*_LOWSTATE)
        number_in = HG_LOW_CMD.view(reader.buffer, "reserve")
        number_out = HG_LOW_STATE.view(writer.buffer, "tick")
        while reader.wait(0.2) or is_wanted():
            if reader.take():
                number_out[0] = number_in[0]
                writer.write()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _answer(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(measure_codec() | measure_round_trip(), indent=2))
