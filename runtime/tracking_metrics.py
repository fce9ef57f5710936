"""How well a motion was followed, by the definitions that others publish, from arrays alone.

- mpjpe_g, mpjpe_l, mpjpe_pa, velocity and acceleration distances: `compute_metrics_lite` of smpl_sim
  (ZhengyiLuo/SMPLSim, `smpl_sim/smpllib/smpl_eval.py`), which SONIC, PHC and ASAP evaluate with.
- success: never beyond the thresholds of SONIC's evaluation (NVlabs/GR00T-WholeBodyControl,
  @ 1983e88, `terminations/tracking/eval.yaml`).
- the L2 norm over all joints: BeyondMimic's `error_joint_pos` (HybridRobotics/whole_body_tracking, `mdp/commands.py`).

Positions are (T, k, 3) in m and the first point is the root; quaternions (T, 4) w, x, y, z, world z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused

F64 = npt.NDArray[np.float64]

HEIGHT_LIMIT_M = 0.25
"""Of SONIC's evaluation: of the root, of ankles and wrists, from the reference's."""
TURN_LIMIT_RAD2 = 1.0
"""Of SONIC's evaluation: the square of the whole orientation error of the root."""
STANCE_HEIGHT_M = 0.02
"""A foot is in stance while the reference's lowest sole point is this near to its lowest of the whole motion."""
LEAST_PATH_M = 0.5
"""Of a reference shorter than this a drift a metre travelled means nothing."""


@dataclass(frozen=True)
class Failure:
    """The first frame beyond a threshold.

    Attributes:
        frame: index. what: "root height", "root orientation" or "end height".
        measured, limit: m, or rad^2 for the orientation.
    """

    frame: int
    what: str
    measured: float
    limit: float


def _same(positions: F64, reference: F64) -> None:
    if positions.shape != reference.shape or positions.ndim != 3 or positions.shape[2] != 3 or not len(positions):
        raise Refused("tracking metrics", expected="positions (T, k, 3) of robot and reference, T >= 1",
                      found=f"{positions.shape} and {reference.shape}", what_to_do="sample both at the same times")


def position_errors(positions: F64, reference: F64, fps: float) -> dict[str, float | None]:
    """Position, velocity and acceleration errors; None for differences of fewer frames than they need.

    Args:
        positions, reference: (T, k, 3), the root first.
        fps: frames a second, which the differences by frame depend on.

    Returns:
        `mpjpe_g_mm`, `mpjpe_l_mm` (root translation taken off, not its rotation), `mpjpe_pa_mm` (each frame aligned
        with scale), `velocity_error_mm_frame`, `acceleration_error_mm_frame2`, the same in m/s and m/s^2, and `fps`.
    """
    _same(positions, reference)
    local = (positions - positions[:, :1]) - (reference - reference[:, :1])
    out: dict[str, float | None] = {
        "mpjpe_g_mm": 1000 * _mean_norm(positions - reference),
        "mpjpe_l_mm": 1000 * _mean_norm(local),
        "mpjpe_pa_mm": 1000 * _mean_norm(aligned(positions, reference) - reference),
        "velocity_error_mm_frame": None, "acceleration_error_mm_frame2": None,
        "velocity_error_m_s": None, "acceleration_error_m_s2": None, "fps": fps,
    }
    error = positions - reference
    if len(error) > 1:
        first = _mean_norm(np.diff(error, axis=0))
        out["velocity_error_mm_frame"], out["velocity_error_m_s"] = 1000 * first, first * fps
    if len(error) > 2:
        second = _mean_norm(np.diff(error, n=2, axis=0))
        out["acceleration_error_mm_frame2"], out["acceleration_error_m_s2"] = 1000 * second, second * fps**2
    return out


def _mean_norm(vectors: F64) -> float:
    return float(np.linalg.norm(vectors, axis=-1).mean())


def aligned(positions: F64, reference: F64, *, scales: bool = True) -> F64:
    """Each frame (k, 3) moved, turned and, if it `scales`, scaled onto the reference by least squares, never mirrored.

    After S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    centre, goal = positions.mean(axis=1, keepdims=True), reference.mean(axis=1, keepdims=True)
    p, r = positions - centre, reference - goal
    u, strength, vt = np.linalg.svd(np.einsum("tki,tkj->tij", r, p))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    u[:, :, 2] *= sign[:, None]
    strength[:, 2] *= sign
    size = (p**2).sum(axis=(1, 2))
    scale = np.divide(strength.sum(axis=1), size, out=np.zeros_like(size), where=size > 0)
    turned = np.einsum("tij,tkj->tki", u @ vt, p)
    return np.asarray((scale[:, None, None] * turned if scales else turned) + goal)


def sonic_failure(
    positions: F64, reference: F64, quat_wxyz: F64, reference_wxyz: F64, ends: list[int]
) -> Failure | None:
    """The first frame that SONIC's evaluation would have ended at; None for a success.

    Args:
        ends: which points are ankles and wrists.
    """
    _same(positions, reference)
    away = np.abs(positions[..., 2] - reference[..., 2])
    turn = rotation.rotation_vector_many(rotation.multiply_many(quat_wxyz, rotation.conjugate_many(reference_wxyz)))
    found = []
    for what, values, limit in (
        ("root height", away[:, 0], HEIGHT_LIMIT_M),
        ("root orientation", (turn**2).sum(axis=1), TURN_LIMIT_RAD2),
        ("end height", away[:, ends].max(axis=1, initial=0.0), HEIGHT_LIMIT_M),
    ):
        beyond = np.flatnonzero(~(values <= limit))
        if len(beyond):
            found.append(Failure(int(beyond[0]), what, float(values[beyond[0]]), limit))
    return min(found, key=lambda failure: failure.frame, default=None)


def joint_errors(q: F64, reference: F64) -> dict[str, float]:
    """`joint_error_rad_mean` over frames and joints, `joint_error_l2_rad` the mean over frames of the norm (T, n)."""
    error = q - reference
    return {"joint_error_rad_mean": float(np.abs(error).mean()),
            "joint_error_l2_rad": float(np.linalg.norm(error, axis=1).mean())}


def root_drift(xy: F64, heading_rad: F64, reference_xy: F64, reference_heading_rad: F64) -> dict[str, float | None]:
    """How far the root went astray from the first frame to the last.

    The robot's first place and heading are laid on the reference's: a run need not begin where its motion does.

    Args:
        xy, reference_xy: (T, 2) m. heading_rad, reference_heading_rad: (T,).

    Returns:
        `root_drift_m`, `root_drift_m_per_m` (of the reference's path; None below LEAST_PATH_M), `heading_drift_deg`.
    """
    turn = reference_heading_rad[0] - heading_rad[0]
    c, s = np.cos(turn), np.sin(turn)
    moved = np.array([[c, -s], [s, c]]) @ (xy[-1] - xy[0])
    drift = float(np.linalg.norm(moved - (reference_xy[-1] - reference_xy[0])))
    path = float(np.linalg.norm(np.diff(reference_xy, axis=0), axis=1).sum())
    away = heading_rad[-1] + turn - reference_heading_rad[-1]
    return {"root_drift_m": drift, "root_drift_m_per_m": drift / path if path >= LEAST_PATH_M else None,
            "heading_drift_deg": float(np.degrees(rotation.wrapped(float(away))))}


def stance_skate_mm_s(feet: F64, reference_heights_m: F64, fps: float) -> float | None:
    """Mean horizontal speed (mm/s) of feet that the reference has on the ground; None where it has none.

    Args:
        feet: (T, k, 3) a point of each foot in world. reference_heights_m: (T, k) of the same points.
    """
    low = reference_heights_m <= reference_heights_m.min(axis=0) + STANCE_HEIGHT_M
    stands = low[1:] & low[:-1]
    speed = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=2) * fps
    return float(1000 * speed[stands].mean()) if stands.any() else None


def joint_motion(q: F64, dq: F64, lower: F64, upper: F64, fps: float) -> dict[str, float | int | None]:
    """What the joints did: `max_dq_rad_s`, `rms_jerk_rad_s3` by third differences, `limit_hits`.

    A hit is a joint that comes to a limit of its range: frames in a row at it are one.
    """
    at = (q <= lower) | (q >= upper)
    hits = int(at[0].sum() + (at[1:] & ~at[:-1]).sum())
    jerk = np.diff(q, n=3, axis=0) * fps**3
    return {"max_dq_rad_s": float(np.abs(dq).max()), "limit_hits": hits,
            "rms_jerk_rad_s3": float(np.sqrt((jerk**2).mean())) if len(jerk) else None}


def latency_s(q: F64, reference: F64, fps: float, longest_s: float = 0.5) -> float | None:
    """By how much the joints (T, n) run behind the reference: the shift of least mean square error.

    None where the motion is too short, or nothing moves that could be shifted.
    """
    most = round(longest_s * fps)
    if len(q) <= 2 * most or np.ptp(reference, axis=0).max() < 0.05:
        return None
    errors = [float(((q[shift:] - reference[: len(q) - shift]) ** 2).mean()) for shift in range(most + 1)]
    return int(np.argmin(errors)) / fps
