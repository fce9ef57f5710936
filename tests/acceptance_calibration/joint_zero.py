"""Joint zeros by hard stop, one joint a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.joint_zero import JointZero
from calibration.postures import stops_out_of_reach
from runtime.robot import load_robot
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import NAMES, carried_out, joints_of, truth_of

ZERO = "joint zero by hard stop"
ASKED = {ZERO: Asked(0.01, "rad")}
REACHED = tuple(name for name in NAMES if name not in stops_out_of_reach(load_robot("g1_29dof")))
STEP = 5
"""Joints are gone through by so many: twenty seeds see nearly all."""


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """Offset, friction, play and torque scale in every joint."""
    joints = joints_of(np.random.default_rng(100 + seed))
    name = REACHED[seed * STEP % len(REACHED)]
    found, stopped = carried_out(JointZero(), truth_of(seed, joints=joints), joints=(name,))
    yield Check("joint-zero ends", found is not None, f"{name}: {stopped}")
    if found is None:
        return
    bad = [f"{one.name} {one.measured}" for one in found.verdicts if not one.ok]
    yield Check("joint-zero is verified", not bad, "; ".join(bad))
    for value in [] if bad else found.values[:1]:
        yield Measured(ZERO, joints[name]["encoder_offset_rad"], value.value, value.half_width, name)
