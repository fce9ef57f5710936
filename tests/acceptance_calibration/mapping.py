"""Reversed and exchanged motors, and robots without any: none missed, none invented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calibration.mapping import PERSON, Mapping
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import NAMES, carried_out, joints_of, mounting, truth_of

ASKED: dict[str, Asked] = {}
CLEAN_EVERY = 4
"""So many seeds hide no mistake at all."""


def wrong_wiring(seed: int, random: np.random.Generator) -> tuple[list[list[str]], set[str]]:
    """Pairs exchanged, a joint and its mirror in every other seed, and joints reversed."""
    if seed % CLEAN_EVERY == 0:
        return [], set()
    names = [str(name) for name in random.permutation(NAMES)]
    if seed % 2:
        left = next(name for name in names if name.startswith("left"))
        swapped = [[left, left.replace("left", "right")]]
    else:
        swapped = [[names.pop(), names.pop()] for _ in range(int(random.integers(1, 3)))]
    return swapped, {str(name) for name in random.choice(NAMES, int(random.integers(0, 3)), replace=False)}


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """Two exchanges and two reversals at most, with offsets, friction and an IMU that is 4 degrees askew."""
    random = np.random.default_rng(1000 + seed)
    joints: dict[str, dict[str, Any]] = {name: dict(row) for name, row in joints_of(random).items()}
    swapped, reversed_ = wrong_wiring(seed, random)
    for name in reversed_:
        joints[name]["sign"] = -1.0
    turns = {name: name for name in NAMES}
    for first, second in swapped:
        turns[first], turns[second] = second, first
    imu = {"mounting_wxyz": mounting(random, float(np.radians(4)))}
    found, stopped = carried_out(Mapping(), truth_of(seed, joints=joints, swapped=swapped, imu=imu))
    yield Check("mapping ends", found is not None, stopped)
    if found is None:
        return
    wiring = found.facts["wiring"]
    is_open = {row.name.split(":")[0] for row in found.verdicts if not row.ok and row.measured.startswith("open")}
    for name, row in wiring.items():
        is_right = (row["turns"], row["sign"]) == (turns[name], -1 if name in reversed_ else 1)
        is_wrong = turns[name] != name or name in reversed_
        why = f"seed {seed}: {name} said to turn {row['turns']} by {row['sign']}, {row['nats']} nats"
        if is_wrong:
            yield Check("exchanged and reversed motors are found, with what they turn", is_right, why)
        else:
            yield Check("right motors are called right", is_right, why)
        yield Check("no motor stays open", name not in is_open, why)
        yield Check("found without a person" if row["by"] != PERSON else "found by a person", True)
