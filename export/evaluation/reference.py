"""A human's motion as the G1's reference, and how much shorter the robot's way is than the human's."""

from __future__ import annotations

from export.motion.retarget import retarget
from runtime.clip import Clip
from runtime.human_motion import PLAIN, HumanMotion
from runtime.retarget_table import load_retarget_table
from runtime.robot import load_robot

ROBOT = "g1_29dof"


def reference_of(motion: HumanMotion) -> Clip:
    """The motion, retargeted as `exoactor motion convert --retarget` does it."""
    return retarget(motion, load_robot(ROBOT))[0]


def length_ratio() -> float:
    """The robot's legs over those of the plain human: by this all ways become shorter."""
    return load_retarget_table(ROBOT).scales["leg"].of(PLAIN)
