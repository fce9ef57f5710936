"""The tracking metrics that a run's log holds enough for: joints, latency, and in simulation root drift and bodies.

Positions of bodies are not logged: they follow from joints and root by the robot's kinematics, where its plant is
shipped and the log has a simulator's truth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from runtime import tracking_metrics
from runtime.fault_table import Mode
from runtime.manifest import Manifest
from runtime.pilot import Phase
from runtime.tracking_bodies import bodies_at, body_errors, body_kinematics, headings, laid_on

Array = npt.NDArray[Any]
NAMES = ("joint_error_l2_rad", "max_dq_rad_s", "rms_jerk_rad_s3", "limit_hits", "reference_to_joints_s",
         "root_drift_m", "root_drift_m_per_m", "heading_drift_deg")
BODY_NAMES = ("success", "failed_at_s", "failed_by", "mpjpe_g_mm", "mpjpe_l_mm", "mpjpe_pa_mm",
              "velocity_error_mm_frame", "acceleration_error_mm_frame2", "velocity_error_m_s",
              "acceleration_error_m_s2", "stance_skate_mm_s", "fps")
"""What needs a simulator's truth and the robot's plant."""
MOST_ROWS = 100_000
"""Of which bodies are computed: half an hour at 50 Hz; longer runs are judged by their first half hour."""


def tracking_metrics_of(policy: Array, gate: Array, truth: Array, manifest: Manifest) -> dict[str, Any]:
    """`NAMES` and `BODY_NAMES` while the motion played; None for what the log does not say."""
    out: dict[str, Any] = dict.fromkeys((*NAMES, *BODY_NAMES))
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
        out |= _drift(play, truth) | _bodies(play, truth, manifest)
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
    return tracking_metrics.root_drift(place, headings(rows["quat_wxyz"]), way, headings(wanted))


def _bodies(play: Array, truth: Array, manifest: Manifest) -> dict[str, Any]:
    """Errors of the bodies' positions; nothing without truth, the robot's plant or a reference that has a place."""
    play = play[:MOST_ROWS]
    rows = truth[(truth["now_ns"] >= play["now_ns"][0]) & (truth["now_ns"] <= play["now_ns"][-1])]
    if len(rows) < 2 or "reference_xy_m" not in (play.dtype.names or ()):
        return {}
    wanted = np.concatenate([play["reference_xy_m"], play["root_height_m"][:, None]], axis=1).astype(np.float64)
    wanted_wxyz = play["root_quat_wxyz"].astype(np.float64)
    if not np.isfinite(wanted).all() or not np.isfinite(wanted_wxyz).all():
        return {}
    try:
        from firmware_bridge.kinematics import plant_path

        kinematics = body_kinematics(plant_path(manifest.robot.name))
    except (ImportError, BridgeError):
        return {}
    if set(kinematics.joints) != set(manifest.order.names):
        return {}
    at = np.clip(np.searchsorted(rows["now_ns"], play["now_ns"]), 0, len(rows) - 1)
    place, quat = rows["position"][at].astype(np.float64), rows["quat_wxyz"][at].astype(np.float64)
    bodies = bodies_at(kinematics, manifest.order, play["q"].astype(np.float64), place, quat)
    goal = bodies_at(kinematics, manifest.order, play["reference_q"].astype(np.float64), wanted, wanted_wxyz)
    return body_errors(bodies, quat, *laid_on(goal, wanted_wxyz, place[0], quat[0]), manifest.rate_hz)
