"""What reaches the stream's process from outside: SONIC's packed messages, as bytes and with headers that nearly fit.

    python -m tests.fuzz.stream_targets [COUNT]
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from functools import partial
from typing import Any

import numpy as np

from runtime.channels import ChannelTable
from runtime.human_motion import PLAIN
from runtime.packed_message import HEADER_BYTES, encode
from runtime.robot import load_robot
from runtime.stream_human import StreamHuman
from runtime.stream_intake import StreamIntake


def intakes() -> list[StreamIntake]:
    """One for each kind of controller; the first, of joints, also has humans retargeted where mujoco is installed."""
    robot = load_robot("g1_29dof")
    tables = (ChannelTable(), ChannelTable(["smpl_joints", "smpl_quat_wxyz"]), ChannelTable(["token"]))
    human = partial(StreamHuman, robot)
    return [StreamIntake(robot, table, np.zeros(29), 0.8, lambda record: None, human=human) for table in tables]


def seeds() -> list[bytes]:
    """A message of each version and topic."""
    quat, index = np.tile(np.float32([1, 0, 0, 0]), (2, 1)), np.array([1, 2], np.int64)
    joints = {"joint_pos": np.zeros((2, 29), np.float32), "joint_vel": np.zeros((2, 29), np.float32)}
    rest = np.float32(PLAIN.at_rest()[:, [2, 0, 1]])  # as from the pelvis: x forward, z up
    human = {"smpl_joints": np.stack([rest, rest]), "smpl_pose": np.zeros((2, 21, 3), np.float32)}
    each: dict[str, Any] = {"body_quat": quat, "frame_index": index, "heading_increment": np.float32([0.01]),
                            "timestamp_monotonic": np.array([1.0])}
    one, flag = np.zeros(3, np.float32), np.array([1], np.uint8)
    return [
        encode("pose", 1, {**joints, "body_quat": quat, "frame_index": index}), encode("pose", 2, {**human, **each}),
        encode("pose", 3, {**joints, **human, **each}), encode("pose", 4, {"token_state": np.zeros(64, np.float32)}),
        encode("command", 1, {"start": flag, "planner": flag}),
        encode("planner", 1, {"mode": np.array([1], np.int32), "movement": one, "facing": one}),
        encode("planner", 1, {"mode": np.array([2], np.int32), "movement": one, "facing": one,
                              "speed": np.float32([0.4]), "height": np.float32([-1])}),
    ]


def mutant(draw: random.Random, valid: list[bytes]) -> bytes:
    """Bytes changed, a header changed where it means something, or cut."""
    data = bytearray(draw.choice(valid))
    kind = draw.random()
    if kind < 0.5:
        start = data.index(b"{")
        head = json.loads(bytes(data[start : start + HEADER_BYTES]).rstrip(b"\0"))
        field = draw.choice(head["fields"])
        field[draw.choice(("name", "dtype", "shape"))] = draw.choice(
            ("f64", "f16", "i8", "frame_index", [1], [2, 29], [4096, 4096], [-1], [], None, 1e9, "joint_pos"))
        head[draw.choice(("v", "endian", "count", "x"))] = draw.choice((1, 2, 3, 4, 5, "be", "le", None, 10**30, [[]]))
        data[start : start + HEADER_BYTES] = json.dumps(head).encode()[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0")
    for _ in range(draw.randint(0, 4)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data[: draw.randrange(len(data))] if kind > 0.9 else data)


def run(count: int, seed: int = 1) -> tuple[int, float]:
    """So many mutants: how many were taken, and the longest one took, s."""
    draw, valid, inlets, taken, longest = random.Random(seed), seeds(), intakes(), 0, 0.0
    with np.errstate(all="ignore"):
        for i in range(count):
            data = mutant(draw, valid)
            began = time.perf_counter()
            taken += inlets[i % 3].take(data, i * 5_000_000) is None
            longest = max(longest, time.perf_counter() - began)
    return taken, longest


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, slowest = run(number)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{number} mutants: {found} taken, longest {slowest * 1e3:.1f} ms, memory grown by {grown / 1024:.1f} MiB")
