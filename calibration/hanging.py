"""Poses of a robot that hangs by its torso, and its model, which only a routine that uses it needs a simulator for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.postures import posture_for
from runtime.errors import Refused
from runtime.robot import Robot

if TYPE_CHECKING:
    from firmware_bridge.hanging import Hanging

F64 = npt.NDArray[np.float64]
HOLD_RATIO = 0.6
"""Of a joint's effort within the envelope, to hold a pose."""


def hanging(robot: Robot) -> Hanging:
    """A robot's model.

    Raises:
        Refused: MuJoCo is not installed.
        BridgeError: no plant of this robot.
    """
    try:
        from firmware_bridge.hanging import Hanging
    except ImportError as error:
        raise Refused("gravity's model", expected="MuJoCo", found=f"cannot import it: {error}",
                      what_to_do='pip install "exoactor[sim]"') from error
    names = [""] * robot.motors
    for row in robot.joints:
        names[row.motor] = row.name
    return Hanging(robot.name, names, apart(robot))


def apart(robot: Robot) -> F64:
    """(motors,) legs a little apart and arms off the body, where a robot that hangs straight can go at once."""
    places = posture_for(robot, "")
    out = np.zeros(robot.motors)
    for row in robot.joints:
        out[row.motor] = places[row.name]
    return out


def safe_poses(model: Hanging, robot: Robot, count: int, reach_rad: float, margin_rad: float, seed: int) -> list[F64]:
    """So many poses (motors,), spread over the joints' ranges, on whose way from `apart` on nothing nears anything.

    Args:
        reach_rad: at most so far from zero, or from the end of the range that is nearest to it.
        margin_rad: kept from both ends.
        seed: the same one gives the same poses.

    Raises:
        Refused: too few are found.
    """
    random = np.random.default_rng(seed)
    lower, upper, effort = (robot.column(name).astype(np.float64) for name in ("lower_rad", "upper_rad", "effort_n_m"))
    zero = np.clip(np.zeros(robot.motors), lower, upper)
    low, high = np.maximum(lower + margin_rad, zero - reach_rad), np.minimum(upper - margin_rad, zero + reach_rad)
    poses: list[F64] = []
    last = apart(robot)
    for _ in range(200 * count):
        if len(poses) == count:
            return poses
        pose = low + (high - low) * random.random(robot.motors)
        if (np.abs(model.torques(pose, np.zeros(3))) > HOLD_RATIO * effort)[robot.used].any():
            continue
        if any(model.touches(last + share * (pose - last)) for share in np.linspace(0.1, 1, 10)):
            continue
        poses.append(pose)
        last = pose
    raise Refused("poses", expected=f"{count} poses that no limb runs into another in", found=f"{len(poses)}",
                  what_to_do="ask for a smaller reach")
