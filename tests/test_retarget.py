"""Streams and whole motions of a human as a robot's, and the benchmark beside GMR's method."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export.motion.retarget import levelled, retarget
from runtime import rotation
from runtime.clip import clip_of, save_clip
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, PLAIN, make_human_motion
from runtime.npz_file import read_npz
from runtime.reference import ReferenceFrame
from runtime.resample import human_at
from runtime.retarget_bench import FPS, Ours, TwoStage, targets_of, walk_and_reach
from runtime.retarget_quality import frame_costs, jerk_rms, skate_mm_s, stance
from tests.retarget_cases import FEET, KINEMATICS, ROBOT, TABLE, make_retargeter, standing

F64 = Any


# Streams


def test_a_stream_is_the_same_as_the_first_pass_of_a_whole_motion() -> None:
    motion = walk_and_reach(3.0)
    clip, report = retarget(motion, ROBOT, smooth=False)
    joints, turns = motion.in_world()
    joints, _ = levelled(joints, joints[:, FEET], "constant")
    retargeter, out = make_retargeter(), ReferenceFrame(len(ROBOT.joints))
    retargeter.targets.level_feet(report.foot_tilts_rad)
    retargeter.begin(joints[0], turns[0], 0.0)
    for t in range(motion.frames):
        assert retargeter.step(joints[t], turns[t], out)
        np.testing.assert_array_equal(out.joint_pos, clip.joint_pos[t])
        np.testing.assert_array_equal(out.root_pos, clip.root_pos[t])


def test_the_same_motion_gives_the_same_clip() -> None:
    first, again = (retarget(walk_and_reach(2.0), ROBOT)[0] for _ in range(2))
    np.testing.assert_array_equal(first.joint_pos, again.joint_pos)


def test_a_frame_that_is_not_finite_is_held_and_the_next_goes_on() -> None:
    joints, turns = walk_and_reach(2.0).in_world()
    retargeter, out = make_retargeter(), ReferenceFrame(len(ROBOT.joints))
    for t in range(20):
        retargeter.step(joints[t], turns[t], out)
    before = retargeter.q.copy()
    for broken in (np.full_like(joints[0], np.nan), np.full_like(joints[0], np.inf), np.full_like(joints[0], 1e30)):
        assert not retargeter.step(broken, turns[20], out)
    np.testing.assert_array_equal(retargeter.q, before)
    assert not out.joint_vel.any() and not out.root_lin_vel.any() and retargeter.held == 3
    assert retargeter.step(joints[20], turns[20], out)
    assert np.abs(retargeter.q - before).max() < 0.2


def test_a_stream_that_begins_with_nan_is_refused() -> None:
    joints, turns = standing().in_world()
    with pytest.raises(Refused, match="first frame"):
        make_retargeter().step(np.full_like(joints[0], np.nan), turns[0])


def test_a_first_frame_that_cannot_be_met_is_refused() -> None:
    joints, turns = standing().in_world()
    torn = joints[0] + np.random.default_rng(1).normal(scale=1.0, size=joints[0].shape)
    with pytest.raises(Refused, match="first frame"):
        make_retargeter().begin(torn, turns[0])


def test_a_stream_keeps_no_memory_of_its_frames() -> None:
    joints, turns = walk_and_reach(4.0).in_world()
    retargeter, out = make_retargeter(), ReferenceFrame(len(ROBOT.joints))
    for t in range(100):
        retargeter.step(joints[t], turns[t], out)
    tracemalloc.start()
    try:
        retargeter.step(joints[100], turns[100], out)
        before = tracemalloc.get_traced_memory()[0]
        for t in range(101, 200):
            retargeter.step(joints[t], turns[t], out)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2000


def test_velocities_of_a_stream_are_those_of_its_positions() -> None:
    joints, turns = walk_and_reach(2.0).in_world()
    retargeter, out = make_retargeter(), ReferenceFrame(len(ROBOT.joints))
    for t in range(40):
        before = retargeter.q.copy()
        retargeter.step(joints[t], turns[t], out)
    np.testing.assert_allclose(out.joint_vel, (retargeter.q - before)[7:][retargeter.plant_index] * FPS, atol=1e-9)
    moved = rotation.rotate_many(retargeter.q[3:7], out.root_lin_vel)
    np.testing.assert_allclose(moved, (retargeter.q - before)[:3] * FPS, atol=1e-9)


# Whole motions


def test_passes_smooth_without_leaving_the_ranges_or_the_targets() -> None:
    motion = walk_and_reach(5.0)
    rough, smooth = retarget(motion, ROBOT, smooth=False)[1], retarget(motion, ROBOT)[1]
    assert smooth.jerk_rad_s3 < 0.9 * rough.jerk_rad_s3
    assert smooth.cost < rough.cost and smooth.skate_mm_s < 1.05 * rough.skate_mm_s
    assert smooth.cost < 1.2 * rough.cost
    assert smooth.limit_hits == 0


def test_the_clip_is_one_that_the_runtime_takes(tmp_path: Path) -> None:
    clip, report = retarget(walk_and_reach(3.0), ROBOT)
    save_clip(tmp_path / "walk.npz", clip)
    again = clip_of("walk", read_npz(tmp_path / "walk.npz", "clip"), ROBOT)
    np.testing.assert_allclose(again.joint_pos, clip.joint_pos)
    assert report.first_error_m < 0.06 and max(report.position_errors_m.values()) < 0.12


@pytest.mark.parametrize("frames", [3, 4, 5, 6])
def test_the_shortest_motions_retarget_too(frames: int) -> None:
    motion = walk_and_reach(1.0)
    short = make_human_motion("short", FPS, motion.local_wxyz[:frames], motion.pelvis_m[:frames])
    clip, report = retarget(short, ROBOT)
    assert len(clip.joint_pos) == frames and np.isfinite(clip.joint_pos).all() and report.limit_hits == 0


@given(st.integers(0, 10**6))
@example(316)  # ends at a limit, and 1e-16 beyond it by rounding
@settings(max_examples=10, deadline=None)
def test_wild_motions_stay_within_the_ranges_or_are_refused(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = np.cumsum(random.normal(scale=0.2, size=(30, len(HUMAN_JOINTS), 3)), axis=0)
    pelvis = np.cumsum(random.normal(scale=0.05, size=(30, 3)), axis=0)
    wild = make_human_motion("wild", FPS, rotation.quat_from_vector_many(vectors), pelvis)
    try:
        clip, report = retarget(wild, ROBOT)
    except Refused as error:
        assert "first frame" in str(error)
        return
    assert report.limit_hits == 0
    for joint, column in zip(ROBOT.joints, clip.joint_pos.T, strict=True):
        assert joint.lower_rad <= column.min() and column.max() <= joint.upper_rad


def test_a_long_motion_is_smoothed_in_windows_without_a_seam() -> None:
    motion = walk_and_reach(24.0)
    clip, _ = retarget(motion, ROBOT)
    third = np.abs(np.diff(clip.joint_pos, 3, axis=0)).max(axis=1)
    assert third[900:1010].max() < 1.5 * np.sort(third)[-30]


def test_a_motion_at_another_rate_keeps_its_duration() -> None:
    motion = walk_and_reach(3.0)
    slow = human_at(motion, 30.0)
    assert slow.duration_s == pytest.approx(motion.duration_s, abs=1 / 30)
    np.testing.assert_allclose(human_at(slow, FPS).pelvis_m[50], motion.pelvis_m[50], atol=2e-3)


def test_a_motion_without_a_place_in_the_world_is_refused() -> None:
    with pytest.raises(Refused, match="place in the world"):
        retarget(replace(standing(), has_place=False), ROBOT)


def test_a_step_up_is_not_snapped_to_the_ground() -> None:
    motion = standing(200)
    pelvis = motion.pelvis_m.copy()
    pelvis[:, 2] += 0.3 * np.clip((np.arange(200) - 80) / 40, 0, 1)
    clip, report = retarget(make_human_motion("lift", FPS, motion.local_wxyz, pelvis), ROBOT, smooth=False)
    rise = clip.root_pos[-1, 2] - clip.root_pos[0, 2]
    scale = TABLE.scales["leg"].of(PLAIN)
    assert rise == pytest.approx(0.3 * scale, abs=0.02)
    assert report.limit_hits == 0


def test_one_constant_is_taken_off_and_a_trend_only_where_asked() -> None:
    motion = standing(300)
    pelvis = motion.pelvis_m.copy()
    pelvis[:, 2] += 0.5 + 0.2 * np.arange(300) / 300
    joints, _ = make_human_motion("sinks", FPS, motion.local_wxyz, pelvis).in_world()
    feet = joints[:, FEET]
    flat, _ = levelled(joints, feet, "constant")
    lined, level = levelled(joints, feet, "trend")
    assert np.ptp(flat[:, FEET[0], 2]) == pytest.approx(0.2, abs=0.01)
    assert np.ptp(lined[:, FEET[0], 2]) < 0.01
    assert level > 0.3
    with pytest.raises(Refused, match="constant or trend"):
        levelled(joints, feet, "snap")


# Beside GMR's method


def test_a_clip_is_as_close_as_two_stages_of_inverse_kinematics_half_as_rough_and_slides_less() -> None:
    pytest.importorskip("mink")
    pytest.importorskip("daqp")
    motion = walk_and_reach(4.0)
    retargeter = make_retargeter()
    *targets, first, stands = targets_of(TABLE, motion, retargeter)
    model = KINEMATICS.model_with_points([f"row {i}" for i in range(len(TABLE.rows))])
    model.jnt_range[1:] = np.stack(retargeter.solver.limits, axis=1)
    two_stage, ours = TwoStage(TABLE, model, first[0]), Ours(TABLE, retargeter.solver, first[0], targets, stands)
    theirs = np.array([two_stage.solve(*frame) for frame in zip(*targets, strict=True)])
    clip = ours.clip()[1]
    points, base = KINEMATICS.place_all(clip), KINEMATICS.place_all(theirs)
    human_stands = stance(motion.in_world()[0][:, retargeter.targets.foot_joints], FPS)
    assert frame_costs(TABLE, points, targets)[1:].mean() < 1.002 * frame_costs(TABLE, base, targets)[1:].mean()
    assert jerk_rms(clip[1:], FPS) < 0.5 * jerk_rms(theirs[1:], FPS)
    assert (skate_mm_s(points[0][:, list(TABLE.feet)], human_stands, FPS)
            < skate_mm_s(base[0][:, list(TABLE.feet)], human_stands, FPS))
