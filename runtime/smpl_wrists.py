"""The G1's wrists from a human's elbows and wrists, for senders of SMPL poses that bring no joints.

Formula: NVlabs/GR00T-WholeBodyControl @ 1983e88, `gear_sonic/scripts/pico_manager_thread_server.py`: each elbow's
rotation without its twist about y, and the wrist's, as intrinsic x, y, z angles. Its twist divides by the rotation's
angle, which is zero for a straight arm; here it is not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.legs import matrix_from_quat

F64 = npt.NDArray[np.float64]
_ELBOWS, _WRISTS = (17, 18), (19, 20)
"""Rows of the 21 body rotations, left and right."""


def _quat(vector: Any) -> tuple[float, float, float, float]:
    angle = math.sqrt(float(vector @ vector))
    scale = math.sin(angle / 2) / angle if angle > 1e-9 else 0.5
    return math.cos(angle / 2), *(float(part) * scale for part in vector)  # type: ignore[return-value]


def _angles(quat: Any) -> tuple[float, float, float]:
    """Intrinsic x, y, z: R = Rx(a) Ry(b) Rz(c)."""
    R = matrix_from_quat(quat)
    return math.atan2(-R[1, 2], R[2, 2]), math.asin(min(max(float(R[0, 2]), -1.0), 1.0)), math.atan2(-R[0, 1], R[0, 0])


def wrists(smpl_pose: F64) -> tuple[float, ...]:
    """(63,) rad -> left and right roll, left and right pitch, left and right yaw, rad: IsaacLab's last six joints."""
    rows = smpl_pose.reshape(21, 3)
    angles = []
    for elbow, wrist in zip(_ELBOWS, _WRISTS, strict=True):
        q = _quat(rows[elbow])
        length = math.hypot(q[0], q[2])
        twist = (q[0] / length, 0.0, q[2] / length, 0.0) if length > 1e-9 else (1.0, 0.0, 0.0, 0.0)
        swing = _angles(rotation.multiply(rotation.conjugate(twist), q))
        own = _angles(_quat(rows[wrist]))
        angles.append((swing[0] + own[0], own[1], swing[2] + own[2]))
    (lx, ly, lz), (rx, ry, rz) = angles
    return lx, -rx, ly, -ry, lz, rz
