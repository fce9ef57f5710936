"""Free play of gears, three joints a seed, 0.5 to 20 mrad, limbs held; offsets and friction as robots have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.backlash import Backlash
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import NAMES, carried_out, joints_of, truth_of

PLAY = "backlash"
ASKED = {PLAY: Asked(0.001, "rad")}
"""The issue asks for no figure; 1 mrad is a tenth of what a zero by hard stop may be off by."""


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """One robot."""
    random = np.random.default_rng((seed, 9))
    joints = joints_of(random)
    chosen = tuple(str(name) for name in random.choice(NAMES, 3, replace=False))
    for name in chosen:
        joints[name]["backlash_rad"] = float(np.exp(random.uniform(np.log(0.0005), np.log(0.02))))
    found, stopped = carried_out(Backlash(), truth_of(seed, joints=joints), joints=chosen)
    yield Check("backlash ends", found is not None, f"seed {seed}, {', '.join(chosen)}: {stopped}")
    if found is None:
        return
    bad = [f"{one.name} {one.measured}" for one in found.verdicts if not one.ok]
    yield Check("backlash is verified", not bad, "; ".join(bad))
    for value in found.values:
        name = value.key.split(".")[1]
        yield Measured(PLAY, joints[name]["backlash_rad"], value.value, value.half_width, name)
