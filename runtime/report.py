"""From a run's log to what people and programs read of it: `report.json` and `report.html`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.estimator_report import estimator_errors
from runtime.fault_table import FLAGS, Mode
from runtime.hand_report import hand_report
from runtime.hand_track import HandEvent
from runtime.log_file import Log, read_log
from runtime.manifest import Manifest
from runtime.mux import Source
from runtime.pilot import Phase
from runtime.report_file import write_report
from runtime.report_page import write_page
from runtime.tracking_report import tracking_metrics_of

Array = npt.NDArray[Any]
FALL_UPRIGHT = 0.5
"""A fall is a trunk axis this far from vertical (cosine), or a base below the robot's `fall_height_m`, while armed."""
LATE_NS = 2_000_000


def percentiles_us(nanoseconds: Array) -> dict[str, float | None]:
    """p50, p99, p99.9 and maximum in microseconds; None where nothing was measured."""
    if len(nanoseconds) == 0:
        return {"p50": None, "p99": None, "p99_9": None, "max": None}
    values = np.percentile(np.asarray(nanoseconds, np.float64), [50, 99, 99.9, 100]) / 1000
    return dict(zip(("p50", "p99", "p99_9", "max"), (round(float(value), 1) for value in values), strict=True))


def make_report(
    out: Path, manifest: Manifest, *, real_time_factor: float | None, notes: dict[str, Any]
) -> dict[str, Any]:
    """Read `out/log.mcap`, write `out/report.json` and `out/report.html`, return the report."""
    log = read_log(out / "log.mcap")
    gate, policy, truth = log.topics["gate"], log.topics["policy"], log.topics["truth"]
    start_ns = int(gate["now_ns"][0]) if len(gate) else 0
    faults, counts = fault_list(gate, manifest, start_ns)
    fell = has_fallen(gate, truth, manifest.robot.fall_height_m)
    ended = [fault for fault in faults if fault["reaction"] != "counted"]
    report: dict[str, Any] = {
        "outcome": "fault" if ended or fell or notes.get("errors") else "done",
        "fell": fell,
        "controller": manifest.name,
        "robot": manifest.robot.name,
        "clip": log.about.get("clip"),
        "command": log.about.get("command"),
        "target": log.about.get("target"),
        "ticks": len(policy),
        "gate_ticks": len(gate),
        "duration_s": round((int(gate["now_ns"][-1]) - start_ns) * 1e-9, 3) if len(gate) else 0.0,
        "real_time_factor": None if real_time_factor is None else round(real_time_factor, 2),
        "tracking": tracking(policy, truth, manifest) | tracking_metrics_of(policy, gate, truth, manifest),
        "estimator": estimator_errors(policy, truth),
        "timing": timing(gate, policy, manifest),
        "faults": faults,
        "counted": counts,
        "damping_frames": int(((gate["mode"] == Mode.DAMP) & (gate["written"] > 0)).sum()),
        "last_mode": Mode(int(gate["mode"][-1])).name if len(gate) else "DISARMED",
        "log_complete": log.complete,
        **notes,
    }
    if report["tracking"]["success"]:
        report["tracking"]["success"] = report["outcome"] == "done"
    if "hands" in log.topics:
        report["hands"] = hand_report(log.topics, [HandEvent(*event) for event in report.pop("hand_events", [])])
    write_report(out, report)
    write_page(out / "report.html", report, plots(log, manifest, start_ns), manifest)
    return report


def fault_list(gate: Array, manifest: Manifest, start_ns: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Each flag's first rise from arming to damping (with what was measured), and for how many ticks flags were up.

    What a damped robot does (it sinks and tilts) is no fault; what brought it to damping is.
    """
    faults: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    damped = np.flatnonzero(gate["mode"] >= Mode.DAMP)
    if len(damped):
        gate = gate[: damped[0] + 1]
        if gate["cause"][-1] < 0:
            gate = gate[:-1]
    gate = gate[gate["mode"] != Mode.DISARMED]
    for place, fault in enumerate(FLAGS):
        up = np.flatnonzero(gate["flags"] >> np.uint64(place) & np.uint64(1))
        caused = np.flatnonzero((gate["cause"] == place) & (gate["mode"] >= Mode.HOLD))
        counts[fault.flag] = len(up)
        if fault.reaction is None:
            continue
        if not len(caused) and not len(up):
            continue
        first = caused[0] if len(caused) else up[0]
        limit = getattr(manifest.robot.limits, fault.limit) if fault.limit else None
        faults.append({
            "time_s": round((int(gate["now_ns"][first]) - start_ns) * 1e-9, 4),
            "flag": fault.flag,
            "meaning": fault.meaning,
            "measured": round(float(gate["measured"][first][place]), 5),
            "limit": limit,
            "unit": fault.unit,
            "reaction": Mode(int(gate["mode"][first])).name,
        })
    faults.sort(key=lambda row: row["time_s"])
    return faults, {flag: count for flag, count in counts.items() if count}


def has_fallen(gate: Array, truth: Array, fall_height_m: float | None) -> bool:
    """Whether the robot went down while it was meant to stand."""
    tracking_rows = gate[(gate["mode"] >= Mode.TRACK) & (gate["mode"] < Mode.DAMP)]
    if len(tracking_rows) == 0:
        return False
    quat = tracking_rows["quat_wxyz"].astype(np.float64)
    upright = 1 - 2 * (quat[:, 1] ** 2 + quat[:, 2] ** 2)
    if upright.min() < FALL_UPRIGHT:
        return True
    tilt = next(place for place, fault in enumerate(FLAGS) if fault.flag == "TILT")
    if ((gate["cause"] == tilt) & (gate["mode"] >= Mode.HOLD)).any():
        return True
    if fall_height_m is None:
        return False
    first, last = tracking_rows["now_ns"][0], tracking_rows["now_ns"][-1]
    rows = truth[(truth["now_ns"] >= first) & (truth["now_ns"] <= last)]
    return bool(len(rows) and rows["position"][:, 2].min() < fall_height_m)


def tracking(policy: Array, truth: Array, manifest: Manifest) -> dict[str, Any]:
    """How well the motion was followed while it played."""
    play = policy[policy["phase"] == Phase.PLAY]
    out: dict[str, Any] = {
        "joint_error_rad_mean": None, "joint_error_rad": None, "root_height_error_m_mean": None,
        "speed_m_s_mean": None, "distance_m": None,
    }
    if len(play) == 0:
        return out
    if manifest.kind == "tracker":
        error = np.abs(play["q"].astype(np.float64) - play["reference_q"])
        out["joint_error_rad_mean"] = round(float(error.mean()), 5)
        per_joint = error.mean(axis=0)
        out["joint_error_rad"] = {
            name: round(float(value), 5) for name, value in zip(manifest.order.names, per_joint, strict=True)
        }
    rows = truth[(truth["now_ns"] >= play["now_ns"][0]) & (truth["now_ns"] <= play["now_ns"][-1])]
    if len(rows) > 1:
        if manifest.kind == "tracker":
            height = np.interp(play["now_ns"], rows["now_ns"], rows["position"][:, 2])
            error = np.abs(height - play["root_height_m"])
            if np.isfinite(error).all():  # a motion inside a network need not say where its base is
                out["root_height_error_m_mean"] = round(float(error.mean()), 5)
        seconds = (int(rows["now_ns"][-1]) - int(rows["now_ns"][0])) * 1e-9
        distance = float(np.linalg.norm(rows["position"][-1, :2] - rows["position"][0, :2]))
        path = float(np.linalg.norm(np.diff(rows["position"][:, :2], axis=0), axis=1).sum())
        out["distance_m"], out["path_m"] = round(distance, 3), round(path, 3)
        out["speed_m_s_mean"] = round(distance / seconds, 4)
    return out


def timing(gate: Array, policy: Array, manifest: Manifest) -> dict[str, Any]:
    """Costs and deadlines, counted from arming to damping."""
    active = gate[(gate["mode"] > Mode.DISARMED) & (gate["mode"] < Mode.DAMP)]
    busy = policy[(policy["phase"] > Phase.WAIT) & (policy["phase"] < Phase.FINISHED)]
    fresh = np.flatnonzero(np.diff(active["target_sequence"].astype(np.int64)) > 0) + 1
    first_use = active[fresh]
    answered = first_use[first_use["target_state_ns"] > 0]
    latency = answered["now_ns"] + answered["tick_ns"] - answered["target_state_ns"]
    period_ns = 1e9 / manifest.rate_hz
    late_policy = int(((busy["late_ns"] > LATE_NS) | (busy["late_ns"] + busy["tick_ns"] > period_ns)).sum())
    late_gate = int((active["late_ns"] + active["tick_ns"] > LATE_NS).sum())
    return {
        "state_to_command_us": percentiles_us(latency),
        "policy_tick_us": percentiles_us(busy["tick_ns"]),
        "gate_tick_us": percentiles_us(active["tick_ns"]),
        "gate_late_us": percentiles_us(active["late_ns"]),
        "policy_late_us": percentiles_us(busy["late_ns"]),
        "missed_deadlines": late_policy + late_gate,
        "missed_deadlines_policy": late_policy,
        "missed_deadlines_gate": late_gate,
        "late_policy_ratio": round(late_policy / len(busy), 5) if len(busy) else None,
        **stream_delays(busy),
    }


def stream_delays(policy: Array) -> dict[str, Any]:
    """While a stream is followed: how long after its fastest arrival frames are played, and the newest frame's age."""
    if "stream_added_s" not in (policy.dtype.names or ()):
        return {}
    followed = policy[(policy["source"] == Source.STREAM) & np.isfinite(policy["stream_added_s"])]
    return {f"stream_{name}_us": percentiles_us(followed[f"stream_{name}_s"].astype(np.float64) * 1e9)
            for name in ("added", "age")}


def plots(log: Log, manifest: Manifest, start_ns: int) -> dict[str, Any]:
    """The curves of the page, thinned to what a screen shows."""
    gate, policy, truth = log.topics["gate"], log.topics["policy"], log.topics["truth"]

    def thin(rows: Array, most: int = 1500) -> Array:
        return rows[:: max(1, len(rows) // most)]

    def seconds(rows: Array) -> Array:
        return np.asarray((rows["now_ns"] - start_ns) * 1e-9)

    g, p, t = thin(gate), thin(policy[policy["phase"] > Phase.READY]), thin(truth)
    known = p[np.isfinite(p["root_height_m"])]
    return {
        "mode": (seconds(g), g["mode"]),
        "height": (seconds(t), t["position"][:, 2]),
        "reference_height": (seconds(known), known["root_height_m"]),
        "error": (seconds(p), np.abs(p["q"] - p["reference_q"]).mean(axis=1)),
        "gate_tick_us": gate["tick_ns"] / 1000,
        "policy_tick_us": policy["tick_ns"] / 1000,
    }
