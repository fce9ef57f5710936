"""The tracking metrics that a run's log holds enough for: joints, root drift, latency.

Positions of bodies are not logged; `exoactor evaluate` measures what needs them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import tracking_metrics
from runtime.fault_table import Mode
from runtime.manifest import Manifest
from runtime.pilot import Phase

Array = npt.NDArray[Any]
NAMES = ("joint_error_l2_rad", "max_dq_rad_s", "rms_jerk_rad_s3", "limit_hits", "reference_to_joints_s",
         "root_drift_m", "root_drift_m_per_m", "heading_drift_deg")


def tracking_metrics_of(policy: Array, gate: Array, truth: Array, manifest: Manifest) -> dict[str, Any]:
    """`NAMES` while the motion played; None for what the log does not say (drift needs a simulator's truth)."""
    out: dict[str, Any] = dict.fromkeys(NAMES)
    play = policy[policy["phase"] == Phase.PLAY]
    if len(play) < 2:
        return out
    first, last = play["now_ns"][0], play["now_ns"][-1]
    rows = gate[(gate["now_ns"] >= first) & (gate["now_ns"] <= last) & (gate["mode"] == Mode.TRACK)]
    if len(rows) > 1:
        robot = manifest.robot
        index = robot.motor_index(robot.order)
        seconds = (int(rows["now_ns"][-1]) - int(rows["now_ns"][0])) * 1e-9
        lower = np.array([joint.lower_rad for joint in robot.joints])
        upper = np.array([joint.upper_rad for joint in robot.joints])
        out |= tracking_metrics.joint_motion(rows["q"][:, index].astype(np.float64), rows["dq"][:, index],
                                             lower, upper, (len(rows) - 1) / seconds)
    if manifest.kind == "tracker":
        q, reference = play["q"].astype(np.float64), play["reference_q"].astype(np.float64)
        out["joint_error_l2_rad"] = tracking_metrics.joint_errors(q, reference)["joint_error_l2_rad"]
        out["reference_to_joints_s"] = tracking_metrics.latency_s(q, reference, manifest.rate_hz)
        out |= _drift(play, truth)
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in out.items()}


def _drift(play: Array, truth: Array) -> dict[str, float | None]:
    """Root drift; nothing without truth, and of logs from before the reference's place was logged."""
    rows = truth[(truth["now_ns"] >= play["now_ns"][0]) & (truth["now_ns"] <= play["now_ns"][-1])]
    if len(rows) < 2 or "reference_xy_m" not in (play.dtype.names or ()):
        return {}
    wanted, way = play["root_quat_wxyz"].astype(np.float64), play["reference_xy_m"].astype(np.float64)
    if not np.isfinite(wanted).all() or not np.isfinite(way).all():
        return {}  # a motion inside a network need not say where its base is
    place = rows["position"][:, :2].astype(np.float64)
    return tracking_metrics.root_drift(place, _headings(rows["quat_wxyz"]), way, _headings(wanted))


def _headings(quats_wxyz: Array) -> npt.NDArray[np.float64]:
    w, x, y, z = np.asarray(quats_wxyz, np.float64).T
    return np.unwrap(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
