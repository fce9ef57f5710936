"""A human's motion as the G1's reference, and how much shorter the robot's way is than the human's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.motion.retarget import retarget
from runtime.clip import Clip
from runtime.human_motion import PLAIN, HumanMotion
from runtime.retarget_table import load_retarget_table
from runtime.robot import load_robot

F64 = npt.NDArray[np.float64]
ROBOT = "g1_29dof"


def reference_of(motion: HumanMotion) -> Clip:
    """The motion, retargeted as `exoactor motion convert --retarget` does it."""
    return retarget(motion, load_robot(ROBOT))[0]


def length_ratio() -> float:
    """The robot's legs over those of the plain human: by this all ways become shorter."""
    return load_retarget_table(ROBOT).scales["leg"].of(PLAIN)


def palm_path(bodies: F64, hand: int) -> F64:
    """(T, 3) of a palm, 0.08 m beyond the wrist along the forearm, of BODIES (T, 14, 3) and a row of WRISTS."""
    elbow, wrist = bodies[:, hand - 1], bodies[:, hand]
    ahead = wrist - elbow
    return np.asarray(wrist + 0.08 * ahead / np.linalg.norm(ahead, axis=1, keepdims=True))
