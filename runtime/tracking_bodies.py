"""Where a robot's bodies are and should be: for metrics that compare positions in the world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime import rotation, tracking_metrics

if TYPE_CHECKING:
    from firmware_bridge.kinematics import Kinematics
    from runtime.robot import JointOrder

F64 = npt.NDArray[np.float64]

SIDES = ("left", "right")
BODIES = (
    "pelvis", *(f"{side}_{part}_link" for side in SIDES for part in ("hip_roll", "knee", "ankle_roll")),
    "torso_link", *(f"{side}_{part}_link" for side in SIDES for part in ("shoulder_roll", "elbow", "wrist_yaw")),
)
"""The bodies that BeyondMimic tracks on a G1, the root first."""
FEET = tuple(BODIES.index(f"{side}_ankle_roll_link") for side in SIDES)
WRISTS = tuple(BODIES.index(f"{side}_wrist_yaw_link") for side in SIDES)


def body_kinematics(plant: Path) -> Kinematics:
    """The kinematics of a plant with BODIES.

    Raises:
        BridgeError: it lacks some of them.
        ImportError: MuJoCo is not installed.
    """
    from firmware_bridge.kinematics import Kinematics

    return Kinematics(plant, [(body, (0.0, 0.0, 0.0)) for body in BODIES])


def bodies_at(kinematics: Kinematics, order: JointOrder, joints: F64, place: F64, quat_wxyz: F64) -> F64:
    """(T, 14, 3) BODIES in the world, for joints (T, n) in `order` and the root's (T, 3) and (T, 4)."""
    index = [order.names.index(name) for name in kinematics.joints]
    out = np.empty((len(joints), len(BODIES), 3))
    states = np.concatenate([place, quat_wxyz, joints[:, index]], axis=1)
    for row, state in zip(out, states, strict=True):
        kinematics.place(state)
        row[:] = kinematics.positions
    return out


def headings(quats_wxyz: npt.NDArray[Any]) -> F64:
    """(T,) rad, without jumps, of rotations (T, 4)."""
    w, x, y, z = np.asarray(quats_wxyz, np.float64).T
    return np.unwrap(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def laid_on(wanted: F64, quats_wxyz: F64, place: F64, quat_wxyz: F64) -> tuple[F64, F64]:
    """The reference moved and turned about the vertical so that its first root is over the robot's first one.

    Args:
        wanted: (T, k, 3) its bodies, the root first. quats_wxyz: (T, 4) its root's rotation.
        place, quat_wxyz: (3,), (4,) the robot's first.
    """
    turn = float(headings(quat_wxyz[None])[0] - headings(quats_wxyz[:1])[0])
    about_z = np.array(rotation.quat_about_z(turn))
    out = rotation.rotate_many(np.broadcast_to(about_z, (*wanted.shape[:2], 4)), wanted - wanted[0, 0])
    out[..., :2] += place[:2]
    out[..., 2] += wanted[0, 0, 2]
    return out, rotation.multiply_many(np.broadcast_to(about_z, quats_wxyz.shape), quats_wxyz)


def body_errors(bodies: F64, quats_wxyz: F64, wanted: F64, wanted_wxyz: F64, fps: float) -> dict[str, Any]:
    """Position errors of BODIES, and whether SONIC's evaluation would have ended the motion; a reference laid on."""
    failure = tracking_metrics.sonic_failure(bodies, wanted, quats_wxyz, wanted_wxyz, [*FEET, *WRISTS])
    return {
        "success": failure is None,
        "failed_at_s": None if failure is None else round(failure.frame / fps, 3),
        "failed_by": None if failure is None else failure.what,
        **tracking_metrics.position_errors(bodies, wanted, fps),
        "stance_skate_mm_s": tracking_metrics.stance_skate_mm_s(bodies[:, FEET], wanted[:, FEET, 2], fps),
    }
