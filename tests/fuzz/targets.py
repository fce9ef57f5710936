"""What is fuzzed: each target eats bytes and may refuse them; anything else it does with them is a finding.

A target is a function of bytes. A refusal (`BridgeError` and its family) is an answer; every other exception, and every
broken invariant, is a bug. Seeds are made from what ships, so that no file has to be kept in step by hand; what
coverage-guided runs found worth keeping lies in `corpus/NAME/`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from atexit import register
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import HG_LOW_STATE
from firmware_bridge.motor_bus import Reading
from firmware_bridge.unitree_bus import WIRES, sample_over
from firmware_bridge.wiring import read_wiring
from runtime import clip, golden, log_file, signature
from runtime.bundle import parse_listing
from runtime.calibration_file import parse_calibration, write_calibration
from runtime.engine_file import _parse as parse_engine
from runtime.estimator_manifest import read_estimator
from runtime.fault_table import FLAGS
from runtime.faults import Machine, Mode, Request, step
from runtime.gate import Gate
from runtime.manifest import OWN_CONTROLLER, controller_names, find_manifest
from runtime.manifest_reader import read_manifest
from runtime.model_metadata import parse_list
from runtime.robot import ROBOTS, load_robot, read_robot
from runtime.settings import RunSettings
from tests.fuzz.hand_targets import HAND_TARGETS
from tests.fuzz.invariants import check_step
from tests.fuzz.motion_targets import MOTION_TARGETS
from tests.fuzz.operator_targets import OPERATOR_TARGETS
from tests.fuzz.serial_targets import SERIAL_TARGETS, wirings

RUNTIME = Path(golden.__file__).parent
CORPUS = Path(__file__).with_name("corpus")
PERIOD_NS = 2_000_000


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        eat: takes bytes; raises `BridgeError` or nothing.
        seeds: valid inputs to begin with.
    """

    eat: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


@cache
def _scratch() -> Path:
    """A folder in memory for targets that want a file."""
    folder = Path(tempfile.mkdtemp(prefix="exoactor-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _in_file(read: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    def eat(data: bytes) -> object:
        path = _scratch() / name
        path.write_bytes(data)
        return read(path)

    return eat


def _files(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for pattern in patterns for path in sorted(RUNTIME.glob(pattern))]


def _manifests() -> list[bytes]:
    return [find_manifest(name).read_bytes() for name in controller_names()]


def _tiny_log() -> list[bytes]:
    path = _scratch() / "seed.mcap"
    writer = log_file.LogWriter(path, {"clip": "walk"})
    dtype = np.dtype([("now_ns", "<i8"), ("q", "<f4", (3,))])
    writer.add_channel("gate", dtype)
    for _ in range(3):
        writer.write("gate", np.zeros(1, dtype).tobytes())
    writer.close()
    return [path.read_bytes()]


def _tiny_clip() -> list[bytes]:
    """Short clips in both layouts: a mutation should hit something that matters."""
    robot = load_robot("g1_29dof")
    names = np.array(robot.order.names)
    n, buffer = len(names), io.BytesIO()
    arrays = {"fps": np.float64(30), "root_pos": np.tile([0, 0, 0.8], (4, 1)), "dof_pos": np.zeros((4, n)),
              "root_quat_xyzw": np.tile([0, 0, 0, 1.0], (4, 1)), "joint_names": names}
    np.savez(buffer, **arrays)
    path = _scratch() / "own.npz"
    clip.save_clip(path, clip.load_clip(_written("foreign.npz", buffer.getvalue()), robot))
    return [buffer.getvalue(), path.read_bytes()]


def _written(name: str, data: bytes) -> Path:
    path = _scratch() / name
    path.write_bytes(data)
    return path


def _settings() -> list[bytes]:
    settings = RunSettings("twist2", "g1_29dof", None, None, (0, 0, 0), None, "sim", 1, None, (), "runs/a")
    return [json.dumps(asdict(settings)).encode()]


def _calibrations() -> list[bytes]:
    path, made = _scratch() / "cal.json", datetime(2030, 1, 31, tzinfo=timezone.utc)
    write_calibration(path, "g1_29dof", "x", {"left_knee_joint": (0.1, -0.1)}, created=made, valid_days=90)
    return [path.read_bytes()]


def _words(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data) - size + 1, size))


def eat_machine(data: bytes) -> None:
    """Steps of the fault machine: 9 bytes each, flags and a request."""
    machine = Machine()
    for i, word in enumerate(_words(data, 9)):
        flags = int.from_bytes(word[:8], "little") & (1 << len(FLAGS)) - 1
        request = Request(word[8] % len(Request))
        after = step(machine, flags, request, i)
        check_step(machine, flags, request, after)
        machine = after


def eat_low_state(data: bytes) -> None:
    """LowState payloads as a wire brings them, into an armed gate: whatever comes, what is written is finite."""
    robot, buffer = load_robot("g1_29dof"), HG_LOW_STATE.empty()
    sample = sample_over(WIRES["unitree_hg"], buffer, robot.motors)
    gate = Gate(robot, PERIOD_NS * 1e-9)
    target, now = np.zeros((robot.motors, 5), np.float32), 10**9
    sample.quat_wxyz[0], sample.mode_machine[0] = 1, robot.mode_machine[0]
    with np.errstate(all="ignore"):
        for i, request in enumerate((Request.NONE, Request.ARM, Request.TRACK)):
            sample.tick[0] = i + 1
            now += PERIOD_NS
            gate.tick(Reading.NEW, sample, target, i + 1, now, request, 0, now)
        if gate.machine.mode is not Mode.TRACK:
            raise AssertionError("the gate did not arm on a healthy state")
        for i, word in enumerate(_words(data.ljust(HG_LOW_STATE.size, b"\0"), HG_LOW_STATE.size)):
            buffer[: len(word)] = np.frombuffer(word, np.uint8)
            now += PERIOD_NS
            command = gate.tick(Reading.NEW, sample, target, 4 + i, now, Request.NONE, 0, now)
            if command is None or not np.isfinite(command.block).all():
                raise AssertionError("an armed gate wrote nothing, or something that is not finite")


def eat_target(data: bytes) -> None:
    """Target blocks of a policy gone wrong; see `tests/gate_fuzz.py` for the limits."""
    from tests.gate_fuzz import Wire

    size = 29 * 5 * 4
    wire = Wire(load_robot("g1_29dof"))
    for word in _words(data.ljust(size, b"\0"), size):
        wire.send(np.frombuffer(word, np.float32).reshape(29, 5))


def _low_states() -> list[bytes]:
    return [bytes(HG_LOW_STATE.size), np.full(HG_LOW_STATE.size // 4, 0.5, np.float32).tobytes()]


TARGETS: dict[str, Target] = {
    "bundle_listing": Target(lambda data: parse_listing(data, "bundle x"), _files("controllers/*/bundle.json")),
    "calibration": Target(lambda data: parse_calibration("cal.json", data), _calibrations),
    "clip": Target(_in_file(lambda path: clip.load_clip(path, load_robot("g1_29dof")), "clip.npz"), _tiny_clip),
    "engine": Target(_in_file(lambda path: parse_engine(path, "rebuild it"), "x.engine"),
                     lambda: [b"{}\n" + bytes(64)]),
    "estimator": Target(lambda data: read_estimator(Path("estimator.json"), data),
                        _files("estimators/*/estimator.json")),
    "fault_machine": Target(eat_machine, lambda: [bytes(9) + bytes(8) + b"\1" + bytes(8) + b"\2"]),
    "gate_target": Target(eat_target, lambda: [bytes(29 * 5 * 4)]),
    "golden": Target(golden.unpack, _files(f"controllers/{OWN_CONTROLLER}/golden.npz")),
    "log": Target(_in_file(log_file.read_log, "log.mcap"), _tiny_log),
    "low_state": Target(eat_low_state, _low_states),
    "manifest": Target(lambda data: read_manifest(Path("controller.json"), data), _manifests),
    "metadata_list": Target(lambda data: parse_list(data.decode("utf-8", "replace")),
                            lambda: [b"1.0,2,-3e4", b"[a, b]"]),
    "public_key": Target(_in_file(signature.read_public_key, "k.pub"), _files("trusted_keys/*.pub")),
    "robot": Target(lambda data: read_robot("robot.json", data),
                    lambda: [path.read_bytes() for path in sorted(ROBOTS.glob("*.json"))]),
    "run_settings": Target(_in_file(RunSettings.load, "settings.json"), _settings),
    **{name: Target(eat, made) for name, (eat, made) in
       (HAND_TARGETS | MOTION_TARGETS | OPERATOR_TARGETS | SERIAL_TARGETS).items()},
    "wiring": Target(_in_file(read_wiring, "wiring.json"), wirings),
    "signature": Target(lambda data: signature.check(b"signed", data, "bundle x"), _files("controllers/*/bundle.sig")),
}


def seeds(name: str) -> list[bytes]:
    """Valid inputs of a target and what was found worth keeping."""
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    return TARGETS[name].seeds() + kept


def feed(name: str, data: bytes) -> bool:
    """Give a target bytes; True when it took them, False when it refused. Anything else is raised: a finding."""
    try:
        TARGETS[name].eat(data)
    except BridgeError:
        return False
    return True
