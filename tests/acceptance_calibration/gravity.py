"""Joint zeros by gravity, all joints of a seed together; those that gravity does not tell of are not judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.gravity import LEVEL_RAD, Gravity
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import carried_out, joints_of, truth_of

ZERO = "joint zero by gravity"
ASKED = {ZERO: Asked(0.02, "rad")}


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """Offsets, friction, play and torque scales in every joint, and a torso level to 0.3 degrees."""
    random = np.random.default_rng(seed)
    joints = joints_of(random)
    side, front = random.normal(0, LEVEL_RAD, 2)
    found, stopped = carried_out(Gravity(), truth_of(seed, joints=joints), tilt_rad=(float(side), float(front)))
    yield Check("gravity ends", found is not None, stopped)
    if found is None:
        return
    bad = [f"{one.name} {one.measured}" for one in found.verdicts if not one.ok]
    yield Check("gravity is verified", not bad, "; ".join(bad))
    for value in found.values:
        if value.key.endswith("encoder_offset_rad"):
            name = value.key.split(".")[1]
            yield Measured(ZERO, joints[name]["encoder_offset_rad"], value.value, value.half_width, name)
