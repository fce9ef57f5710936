"""Tracking metrics against a small implementation of their own in plain loops, and against the traps of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runtime import rotation, tracking_metrics
from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.pilot import Phase
from runtime.records import TRUTH_DTYPE, gate_log_dtype, policy_log_dtype
from runtime.tracking_report import tracking_metrics_of

FPS = 50.0


def two_tracks(frames: int = 20, points: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    reference = random.normal(size=(frames, points, 3))
    return reference + 0.05 * random.normal(size=reference.shape) + [0.3, 0.0, 0.1], reference


def length(v) -> float:
    return math.sqrt(sum(float(x) ** 2 for x in v))


def test_position_errors_are_the_published_means():
    p, r = two_tracks()
    frames, points = p.shape[:2]
    found = tracking_metrics.position_errors(p, r, FPS)
    each = [(t, j) for t in range(frames) for j in range(points)]
    assert found["mpjpe_g_mm"] == pytest.approx(1000 * sum(length(p[t, j] - r[t, j]) for t, j in each) / len(each))
    local = sum(length((p[t, j] - p[t, 0]) - (r[t, j] - r[t, 0])) for t, j in each)
    assert found["mpjpe_l_mm"] == pytest.approx(1000 * local / len(each))
    first = [length((p[t + 1, j] - p[t, j]) - (r[t + 1, j] - r[t, j])) for t, j in each if t < frames - 1]
    assert found["velocity_error_mm_frame"] == pytest.approx(1000 * sum(first) / len(first))
    assert found["velocity_error_m_s"] == pytest.approx(FPS * sum(first) / len(first))
    e = p - r
    second = [length(e[t, j] - 2 * e[t + 1, j] + e[t + 2, j]) for t, j in each if t < frames - 2]
    assert found["acceleration_error_mm_frame2"] == pytest.approx(1000 * sum(second) / len(second))
    assert found["acceleration_error_m_s2"] == pytest.approx(FPS**2 * sum(second) / len(second))


def test_alignment_takes_place_turn_and_scale_away_but_no_mirror():
    _, r = two_tracks()
    quat = rotation.quat_from_vector_many(np.random.default_rng(1).normal(size=(len(r), 1, 3)))
    moved = 0.7 * rotation.rotate_many(np.broadcast_to(quat, (*r.shape[:2], 4)), r) + [1.0, 2.0, 3.0]
    assert tracking_metrics.position_errors(moved, r, FPS)["mpjpe_pa_mm"] == pytest.approx(0, abs=1e-9)
    assert tracking_metrics.position_errors(r * [1, -1, 1], r, FPS)["mpjpe_pa_mm"] > 100


def test_alignment_is_no_worse_than_any_other_found_by_search():
    from scipy.optimize import minimize

    p, r = two_tracks(2)

    def cost(x: np.ndarray, t: int) -> float:
        turned = rotation.rotate_many(np.tile(rotation.quat_from_vector_many(x[:3]), (p.shape[1], 1)), p[t])
        return float(((x[6] * turned + x[3:6] - r[t]) ** 2).sum())

    for t in range(2):
        best = min(minimize(cost, [*start, 0, 0, 0, 1], (t,)).fun for start in np.eye(3))
        assert float(((tracking_metrics.aligned(p, r)[t] - r[t]) ** 2).sum()) == pytest.approx(best, rel=1e-4)


def test_local_error_forgets_the_roots_place_but_not_its_turn():
    _, r = two_tracks()
    assert tracking_metrics.position_errors(r + np.array([1, 2, 3]), r, FPS)["mpjpe_l_mm"] == pytest.approx(0, abs=1e-9)
    assert tracking_metrics.position_errors(r[..., [1, 0, 2]], r, FPS)["mpjpe_l_mm"] > 100


def upright(frames: int) -> np.ndarray:
    return np.tile([1.0, 0, 0, 0], (frames, 1))


@pytest.mark.parametrize(("point", "what"), [(0, "root height"), (3, "end height")])
def test_success_ends_at_the_first_frame_beyond_a_quarter_metre_of_height(point, what):
    _, r = two_tracks()
    p = r.copy()
    p[7:, point, 2] += 0.26
    p[3:, :, :2] += 5.0
    failure = tracking_metrics.sonic_failure(p, r, upright(20), upright(20), [3, 4])
    assert (failure.frame, failure.what, failure.limit) == (7, what, 0.25)
    p[7:, point, 2] -= 0.02
    assert tracking_metrics.sonic_failure(p, r, upright(20), upright(20), [3, 4]) is None


def test_success_compares_the_square_of_the_whole_turn_heading_included():
    _, r = two_tracks()
    for angle, ends in ((0.99, False), (1.01, True), (2 * math.pi - 0.5, False)):
        quat = np.tile(rotation.quat_from_vector_many(np.array([0, 0, angle])), (20, 1))
        failure = tracking_metrics.sonic_failure(r, r, quat, upright(20), [1])
        assert (failure is not None) is ends


def test_success_is_none_where_a_number_is_none():
    _, r = two_tracks()
    p = r.copy()
    p[4, 0, 2] = np.nan
    assert tracking_metrics.sonic_failure(p, r, upright(20), upright(20), [1]).frame == 4


def test_joint_error_as_mean_and_as_norm():
    q, r = np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros((2, 2))
    found = tracking_metrics.joint_errors(q, r)
    assert found == {"joint_error_rad_mean": pytest.approx(7 / 4), "joint_error_l2_rad": pytest.approx(2.5)}


def test_drift_is_taken_from_where_and_whither_the_robot_began():
    way = np.stack([np.linspace(0, 2, 50), np.zeros(50)], axis=1)
    heading = np.full(50, 0.0)
    turned = np.stack([5 - way[:, 1], 3 + 0.9 * way[:, 0]], axis=1)  # begins elsewhere, facing +y, and falls short
    found = tracking_metrics.root_drift(turned, heading + math.pi / 2 + np.linspace(0, 0.1, 50), way, heading)
    assert found["root_drift_m"] == pytest.approx(0.2)
    assert found["root_drift_m_per_m"] == pytest.approx(0.1)
    assert found["heading_drift_deg"] == pytest.approx(math.degrees(0.1))
    assert tracking_metrics.root_drift(way / 10, heading, way / 10, heading)["root_drift_m_per_m"] is None


def test_skate_counts_feet_on_the_ground_only():
    feet = np.zeros((11, 2, 3))
    feet[:, 0, 0] = np.arange(11) * 0.001  # 50 mm/s
    feet[:, 1, 1] = np.arange(11) * 0.1
    heights = np.zeros((11, 2))
    heights[1:, 1] = 0.2
    assert tracking_metrics.stance_skate_mm_s(feet, heights, FPS) == pytest.approx(50)


def test_joints_at_a_limit_for_long_hit_it_once():
    q = np.zeros((10, 2))
    q[3:6, 0] = 1.0
    q[8, 0] = 1.0
    found = tracking_metrics.joint_motion(q, q, np.full(2, -1.0), np.full(2, 1.0), FPS)
    assert (found["limit_hits"], found["max_dq_rad_s"]) == (2, 1.0)
    ramp = (np.arange(10.0) / FPS)[:, None] ** 3 / 6
    assert tracking_metrics.joint_motion(ramp, ramp, -ramp - 9, ramp + 9, FPS)["rms_jerk_rad_s3"] == pytest.approx(1)


def test_latency_is_the_shift_that_fits_best():
    t = np.arange(300) / FPS
    r = np.stack([np.sin(3 * t), np.cos(2 * t)], axis=1)
    assert tracking_metrics.latency_s(np.roll(r, 4, axis=0), r, FPS) == pytest.approx(4 / FPS)
    assert tracking_metrics.latency_s(r * 0, r * 0, FPS) is None


def test_tracks_of_different_length_are_refused():
    p, r = two_tracks()
    with pytest.raises(Refused):
        tracking_metrics.position_errors(p[:-1], r, FPS)


# Of a run's log


def logged(aside_m: float = 0.0, above_m: float = 0.0) -> tuple[Any, Any, Any]:
    """A log of a robot that stands, turned and away from its reference, `aside_m` and `above_m` off from frame 5 on."""
    manifest = load_manifest("g1-tracker")
    play = np.zeros(20, policy_log_dtype(29, 29, 1))
    play["phase"], play["now_ns"] = Phase.PLAY, np.arange(20) * 20_000_000
    play["root_height_m"], play["root_quat_wxyz"] = 0.79, (1, 0, 0, 0)
    truth = np.zeros(20, TRUTH_DTYPE)
    truth["now_ns"], truth["position"][:, 2] = play["now_ns"], 0.79
    truth["position"][:, 0] = 3.0
    truth["quat_wxyz"] = np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    truth["position"][5:, 1] += aside_m
    truth["position"][5:, 2] += above_m
    return play, truth, manifest


def test_a_runs_bodies_are_compared_wherever_the_run_began():
    pytest.importorskip("mujoco")
    play, truth, manifest = logged()
    found = tracking_metrics_of(play, np.zeros(0, gate_log_dtype(29)), truth, manifest)
    assert found["success"] is True and found["fps"] == 50
    assert found["mpjpe_g_mm"] == pytest.approx(0, abs=1e-2) and found["mpjpe_l_mm"] == pytest.approx(0, abs=1e-2)
    play, truth, manifest = logged(aside_m=0.1)
    found = tracking_metrics_of(play, np.zeros(0, gate_log_dtype(29)), truth, manifest)
    assert found["mpjpe_g_mm"] == pytest.approx(75, abs=0.1) and found["mpjpe_l_mm"] == pytest.approx(0, abs=1e-2)


def test_a_run_too_high_is_no_success_and_says_when():
    pytest.importorskip("mujoco")
    play, truth, manifest = logged(above_m=0.3)
    found = tracking_metrics_of(play, np.zeros(0, gate_log_dtype(29)), truth, manifest)
    assert found["success"] is False and found["failed_by"] == "root height" and found["failed_at_s"] == 0.1


def test_without_a_simulators_truth_bodies_are_null():
    play, truth, manifest = logged()
    found = tracking_metrics_of(play, np.zeros(0, gate_log_dtype(29)), truth[:0], manifest)
    assert found["success"] is None and found["mpjpe_g_mm"] is None
