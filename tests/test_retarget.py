"""From a human's joints to a robot's: kinematics, solver, targets, feet, and whole motions."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.motion.retarget import levelled, retarget
from firmware_bridge.kinematics import Kinematics, plant_path
from runtime import rotation
from runtime.clip import clip_of, load_clip, save_clip
from runtime.errors import Refused
from runtime.foot_lock import FootLock
from runtime.gauss_newton import GaussNewton, RotationError
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion, Skeleton, make_human_motion
from runtime.npz_file import read_npz
from runtime.reference import ReferenceFrame
from runtime.resample import human_at
from runtime.retarget_bench import FPS, Ours, TwoStage, targets_of, walk_and_reach
from runtime.retarget_quality import frame_costs, jerk_rms, points_of, skate_mm_s, stance
from runtime.retarget_table import TABLES, load_retarget_table
from runtime.retarget_targets import Targets, compressed, flattened
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import load_robot
from runtime.smoothing import solve_banded

TABLE = load_retarget_table("g1_29dof")
ROBOT = load_robot("g1_29dof")
KINEMATICS = kinematics_of(TABLE)
FEET = [HUMAN_JOINTS.index("left_foot"), HUMAN_JOINTS.index("right_foot")]
F64 = Any


def make_retargeter(skeleton: Skeleton = PLAIN, *, lock_feet: bool = True) -> Retargeter:
    return Retargeter(TABLE, ROBOT, KINEMATICS, skeleton, FPS, lock_feet=lock_feet)


def a_state(seed: int) -> F64:
    random = np.random.default_rng(seed)
    q = np.zeros(7 + len(KINEMATICS.joints))
    q[:3] = random.normal(size=3)
    q[3:7] = rotation.quat_from_vector_many(random.normal(size=3))
    q[7:] = random.uniform(KINEMATICS.lower, KINEMATICS.upper)
    return q


def standing(frames: int = 100) -> HumanMotion:
    upright = np.tile(np.array([1.0, 0, 0, 0]), (frames, len(HUMAN_JOINTS), 1))
    upright[:, 0] = rotation.quat_from_rpy(math.pi / 2, 0.0, math.pi / 2)
    pelvis = np.tile([0.0, 0.0, 0.96], (frames, 1))
    return make_human_motion("standing", FPS, upright, pelvis)


# Kinematics


@pytest.mark.parametrize("seed", range(3))
def test_jacobians_are_the_finite_differences_of_points_and_rotations(seed: int) -> None:
    q, step = a_state(seed), 1e-6
    KINEMATICS.place(q)
    jacobian = KINEMATICS.differentiate().copy()
    positions, quats = KINEMATICS.positions.copy(), KINEMATICS.quats_wxyz.copy()
    for column in range(jacobian.shape[2]):
        tangent, moved = np.zeros(jacobian.shape[2]), q.copy()
        tangent[column] = step
        KINEMATICS.integrate(moved, tangent)
        KINEMATICS.place(moved)
        turn = rotation.rotation_vector_many(
            rotation.multiply_many(KINEMATICS.quats_wxyz, rotation.conjugate_many(quats)))
        np.testing.assert_allclose((KINEMATICS.positions - positions) / step, jacobian[:, :3, column], atol=2e-5)
        np.testing.assert_allclose(turn / step, jacobian[:, 3:, column], atol=2e-5)


def test_the_toe_point_hangs_on_the_ankle_by_its_offset() -> None:
    plain = Kinematics(plant_path("g1_29dof"), [("left_ankle_roll_link", (0, 0, 0)),
                                                ("left_ankle_roll_link", (0.1, 0, -0.02))])
    plain.place(a_state(1))
    turned = rotation.rotate_many(plain.quats_wxyz[0], np.array([0.1, 0, -0.02]))
    np.testing.assert_allclose(plain.positions[1] - plain.positions[0], turned, atol=1e-12)


def test_difference_and_integration_are_inverse() -> None:
    before, after, tangent = a_state(1), a_state(2), np.zeros(35)
    KINEMATICS.difference(before, after, tangent)
    KINEMATICS.integrate(before, tangent)
    np.testing.assert_allclose(np.abs(before), np.abs(after), atol=1e-9)


def test_an_unknown_body_is_refused_with_those_there_are() -> None:
    with pytest.raises(Exception, match="left_toe_link"):
        Kinematics(plant_path("g1_29dof"), [("left_toe_link", (0, 0, 0))])


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_rotation_errors_lead_from_target_to_found(seed: int) -> None:
    random = np.random.default_rng(seed)
    target, error = rotation.quat_from_vector_many(random.normal(size=(4, 3))), random.uniform(-1.7, 1.7, (4, 3))
    turns = RotationError(4)
    turns.aim(target)
    found = rotation.multiply_many(rotation.quat_from_vector_many(error), target)
    np.testing.assert_allclose(turns.of(found), error, atol=1e-9)
    np.testing.assert_allclose(turns.of(-found), error, atol=1e-9)


# Solver


def test_a_robots_own_motion_comes_back() -> None:
    clip = load_clip("squat", ROBOT)
    retargeter = make_retargeter()
    solver = retargeter.solver
    place = clip.order.index_of(type(clip.order)(KINEMATICS.joints))
    qs = np.concatenate([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos[:, place]], axis=1)
    positions, quats = points_of(KINEMATICS, qs)
    solver.start(qs[0])
    worst = 0.0
    for q, position, quat in zip(qs, positions, quats, strict=True):
        solver.solve(position, quat)
        worst = max(worst, float(np.abs(solver.q[7:] - q[7:]).max()))
    assert worst < 0.03
    assert np.linalg.norm(solver.q[:3] - qs[-1, :3]) < 1e-3


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_no_target_takes_a_joint_beyond_its_range_or_speed(seed: int) -> None:
    random = np.random.default_rng(seed)
    solver = make_retargeter().solver
    low, high = solver.limits
    k = len(TABLE.rows)
    solver.start(np.concatenate([np.zeros(3), [1.0, 0, 0, 0], random.uniform(low, high)]))
    most = TABLE.solving.speed_rad_s / FPS
    for _ in range(12):
        before = solver.q[7:].copy()
        solver.solve(random.normal(scale=random.choice([0.1, 1.0, 30.0]), size=(k, 3)),
                     rotation.quat_from_vector_many(random.normal(scale=2.0, size=(k, 3))))
        assert np.isfinite(solver.q).all()
        assert (solver.q[7:] >= low).all() and (solver.q[7:] <= high).all()
        assert np.abs(solver.q[7:] - before).max() <= most + 1e-12


def test_ranges_are_the_narrower_of_robot_and_plant() -> None:
    joints = list(ROBOT.joints)
    at = next(i for i, joint in enumerate(joints) if joint.name == "left_knee_joint")
    joints[at] = replace(joints[at], upper_rad=1.0)
    low, high = Retargeter(TABLE, replace(ROBOT, joints=tuple(joints)), KINEMATICS, PLAIN, FPS).solver.limits
    assert high[KINEMATICS.joints.index("left_knee_joint")] == pytest.approx(1.0 - TABLE.solving.margin_rad)
    assert (low >= KINEMATICS.lower).all()


def test_without_the_pull_of_the_last_frame_arms_hop() -> None:
    motion = walk_and_reach(4.0)
    positions, quats, first, _ = targets_of(TABLE, motion, make_retargeter())
    noisy = positions + np.random.default_rng(1).normal(scale=0.004, size=positions.shape)

    def jerk(prior: float) -> float:
        weights = np.array([[row.position_weight, row.rotation_weight] for row in TABLE.rows])
        low, high = make_retargeter().solver.limits
        solving = replace(TABLE.solving, prior=prior, damping=1e-6)
        solver = GaussNewton(KINEMATICS, weights[:, 0], weights[:, 1], low, high, 1 / FPS, solving)
        solver.start(first[0])
        qs = []
        for position, quat in zip(noisy, quats, strict=True):
            solver.solve(position, quat)
            qs.append(solver.q.copy())
        return jerk_rms(np.array(qs), FPS)

    assert jerk(TABLE.solving.prior) < 0.7 * jerk(1e-3)


# Targets


def test_scales_come_from_the_humans_own_bones() -> None:
    tall = Skeleton(PLAIN.offsets_m * 1.2, "a tall one")
    q, big = [], []
    for skeleton, out in ((PLAIN, q), (tall, big)):
        motion = standing()
        motion = make_human_motion("m", FPS, motion.local_wxyz, motion.pelvis_m * skeleton.height_m, skeleton)
        joints, turns = motion.in_world()
        retargeter = make_retargeter(skeleton)
        retargeter.begin(joints[0], turns[0])
        out.append(retargeter.q.copy())
    np.testing.assert_allclose(q[0][2:], big[0][2:], atol=1e-6)


def test_bones_in_centimetres_are_refused() -> None:
    with pytest.raises(Refused, match="unit of the motion's bones"):
        make_retargeter(Skeleton(PLAIN.offsets_m * 100, "centimetres"))


def test_a_standing_human_is_a_robot_that_stands_straight_on_the_ground_below_its_hips() -> None:
    joints, turns = standing().in_world()
    retargeter = make_retargeter()
    retargeter.begin(joints[0], turns[0])
    KINEMATICS.place(retargeter.q)
    foot = TABLE.row_of("left_ankle_roll_link")
    assert 0.74 < retargeter.q[2] < 0.80
    assert KINEMATICS.positions[foot, 2] == pytest.approx(0.015, abs=0.003)
    ankle = KINEMATICS.positions[foot] - rotation.rotate_many(KINEMATICS.quats_wxyz[foot], np.array([0.1, 0, -0.02]))
    assert abs(ankle[0] - retargeter.q[0]) < 0.06
    KINEMATICS.differentiate()
    assert -0.03 < KINEMATICS.centre_of_mass[0] - ankle[0] < 0.1


def test_a_bow_keeps_the_root_from_leaning_as_far_as_the_gate_would_stop() -> None:
    motion = standing(150)
    bow = np.minimum(np.arange(150) / 75, 1) * 1.4
    lean = np.zeros((150, 3))
    lean[:, 0] = bow
    local = motion.local_wxyz.copy()
    local[:, 0] = rotation.multiply_many(local[:, 0], rotation.quat_from_vector_many(lean))
    for side in ("left", "right"):
        hip = HUMAN_JOINTS.index(f"{side}_hip")
        local[:, hip] = rotation.quat_from_vector_many(-lean)
    joints, turns = make_human_motion("bow", FPS, local, motion.pelvis_m).in_world()
    retargeter = make_retargeter()
    for joint, turn in zip(joints, turns, strict=True):
        retargeter.step(joint, turn)
    up = 1 - 2 * (retargeter.q[4] ** 2 + retargeter.q[5] ** 2)
    assert 0.3 < math.acos(up) < 0.75


@given(st.floats(-5, 5), st.floats(0.1, 2))
def test_compression_leaves_what_is_near_and_never_reaches_the_limit(value: float, room: float) -> None:
    found = compressed(value, 1.0, 1.0 + room)
    assert found == value if value <= 1.0 else 1.0 < found <= min(value, 1.0 + room) + 1e-12


def test_a_raised_heel_stays_and_a_tilted_sole_turns_flat() -> None:
    tilted, raised = rotation.quat_from_rpy(0.2, 0.1, 1.0), rotation.quat_from_rpy(0.0, 0.9, 1.0)
    roll, pitch, yaw = rotation.roll_pitch_yaw(flattened(tilted, 1.0))
    assert abs(roll) < 1e-6 and abs(pitch) < 1e-6 and yaw == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(flattened(raised, 1.0), raised)
    np.testing.assert_allclose(np.abs(flattened(tilted, 0.0)), np.abs(tilted), atol=0.02)


# Feet


def test_a_locked_foot_stays_and_comes_back_without_a_jump() -> None:
    lock = FootLock(TABLE.contact, 1 / FPS)
    path = []
    for t in range(100):
        raw = np.array([0.03 * math.sin(t / 20) if t < 60 else 0.03 * math.sin(3) + 0.01 * (t - 60), 0.0, 0.0])
        lock.feel(0.05 if t < 60 else 0.5, 0.0)
        lock.hold(raw)
        path.append(raw[0])
    speeds = np.abs(np.diff(path)) * FPS
    assert speeds[2:55].max() < 1e-9
    assert speeds.max() < 1.5
    assert abs(path[-1] - (0.03 * math.sin(3) + 0.39)) < 0.02


def test_contact_has_hysteresis() -> None:
    lock = FootLock(TABLE.contact, 1 / FPS)
    between = (TABLE.contact.begin_m_s + TABLE.contact.end_m_s) / 2
    for speed in [1.0] * 20 + [between] * 20:
        lock.feel(speed, 0.0)
    assert not lock.stands
    for _ in range(20):
        lock.feel(0.0, 0.0)
    assert lock.stands
    for _ in range(20):
        lock.feel(between, 0.0)
    assert lock.stands


def test_foot_lock_reduces_skate_of_a_human_who_slides() -> None:
    motion = walk_and_reach(6.0)
    sliding = motion.pelvis_m.copy()
    sliding[:, 1] += 0.02 * np.sin(np.arange(motion.frames) / 5)
    motion = make_human_motion("slides", FPS, motion.local_wxyz, sliding)
    joints, turns = motion.in_world()
    skates = []
    for lock in (True, False):
        retargeter = make_retargeter(lock_feet=lock)
        qs = []
        for joint, turn in zip(joints, turns, strict=True):
            retargeter.step(joint, turn)
            qs.append(retargeter.q.copy())
        feet = points_of(KINEMATICS, np.array(qs))[0][:, list(TABLE.feet)]
        skates.append(skate_mm_s(feet, stance(joints[:, FEET], FPS), FPS))
    assert skates[0] < 0.8 * skates[1]


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


# Tables


@pytest.mark.parametrize(("change", "message"), [
    (lambda data: data.update(schema="other"), "schema"),
    (lambda data: data.pop("rows"), "missing rows"),
    (lambda data: data["rows"][0].update(position_of=["left_toe"]), "position_of"),
    (lambda data: data["rows"][0].update(turn_wxyz=[1, 1, 0, 0]), "unit quaternion"),
    (lambda data: data["rows"][0].update(anchor="torso_link"), "row above"),
    (lambda data: data["rows"][0].update(position_weight="much"), "position_weight"),
    (lambda data: data["rows"][0].update(scale="tail"), "scale"),
    (lambda data: data["rows"][0].update(colour="red"), "unknown colour"),
    (lambda data: data["scales"]["arm"].update({"from": "right_hip"}), "on the way"),
    (lambda data: data["solver"].update(iterations=0), "iterations"),
    (lambda data: data["contact"].update(begin_m_s=3.0), "end_m_s"),
    (lambda data: data["balance"].update(lowest_m=2.0), "crouch_m"),
])
def test_a_table_that_does_not_hold_up_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    data = json.loads((TABLES / "g1_29dof.json").read_text("utf-8"))
    change(data)
    file = tmp_path / "table.json"
    file.write_text(json.dumps(data), "utf-8")
    with pytest.raises(Refused, match=message):
        load_retarget_table(str(file))


def test_a_robot_without_a_table_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(Refused, match="g1_29dof"):
        load_retarget_table("booster_t1")


def test_a_plant_of_another_robot_is_refused() -> None:
    with pytest.raises(Refused, match="the joints of g1_23dof"):
        Retargeter(TABLE, load_robot("g1_23dof"), KINEMATICS, PLAIN, FPS)


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
    points, base = points_of(KINEMATICS, clip), points_of(KINEMATICS, theirs)
    human_stands = stance(motion.in_world()[0][:, retargeter.targets.foot_joints], FPS)
    assert frame_costs(TABLE, points, targets)[1:].mean() < 1.002 * frame_costs(TABLE, base, targets)[1:].mean()
    assert jerk_rms(clip[1:], FPS) < 0.5 * jerk_rms(theirs[1:], FPS)
    assert (skate_mm_s(points[0][:, list(TABLE.feet)], human_stands, FPS)
            < skate_mm_s(base[0][:, list(TABLE.feet)], human_stands, FPS))


def test_a_banded_system_is_solved_as_the_whole_one() -> None:
    random = np.random.default_rng(5)
    frames, m = 7, 4
    rows = random.normal(size=(frames * m, frames * m))
    whole = rows @ rows.T
    block = np.arange(frames * m) // m
    whole[np.abs(block[:, None] - block) > 2] = 0
    for t in range(frames - 2):
        across = whole[t * m : (t + 1) * m, (t + 2) * m : (t + 3) * m]
        across[:] = np.diag(np.diagonal(across))
        whole[(t + 2) * m : (t + 3) * m, t * m : (t + 1) * m] = across
    whole += 200 * np.eye(frames * m)
    blocks = whole.reshape(frames, m, frames, m).swapaxes(1, 2)
    right = random.normal(size=(frames, m))
    found = solve_banded(
        np.array([blocks[t, t] for t in range(frames)]), np.array([blocks[t, t + 1] for t in range(frames - 1)]),
        np.array([np.diagonal(blocks[t, t + 2]) for t in range(frames - 2)]), right)
    assert found.reshape(-1) == pytest.approx(np.linalg.solve(whole, right.reshape(-1)), abs=1e-9)


def test_rounding_does_not_grow_over_a_long_stiff_motion() -> None:
    random = np.random.default_rng(6)
    frames, m = 400, 8
    rows = random.normal(size=(frames, m, m)) * np.geomspace(200, 1, m)
    normal = rows.swapaxes(1, 2) @ rows + np.eye(m)
    bend = np.zeros((frames - 2, frames))
    for place, sign in enumerate((1.0, -2.0, 1.0)):
        bend[np.arange(frames - 2), np.arange(frames - 2) + place] = sign
    stiff = 66 * bend.T @ bend
    normal[:, range(m), range(m)] += np.diag(stiff)[:, None]
    beside = np.diag(stiff, 1)[:, None, None] * np.eye(m)
    beyond = np.repeat(np.diag(stiff, 2)[:, None], m, axis=1)
    right = random.normal(size=(frames, m))
    found = solve_banded(normal.copy(), beside.copy(), beyond, right)
    back = np.einsum("tij,tj->ti", normal, found)
    back[:-1] += np.einsum("tij,tj->ti", beside, found[1:])
    back[1:] += np.einsum("tji,tj->ti", beside, found[:-1])
    back[:-2] += beyond * found[2:]
    back[2:] += beyond * found[:-2]
    assert back == pytest.approx(right, abs=1e-9)


def test_a_foot_that_points_past_the_vertical_does_not_turn_about() -> None:
    about_z = np.array(rotation.quat_about_z(0.7))
    before = None
    for pitch in np.linspace(-0.3, 2.6, 59):
        foot = np.array(rotation.multiply(about_z, (np.cos(pitch / 2), 0.05, np.sin(pitch / 2), 0.0)))
        flat = flattened(foot / np.linalg.norm(foot), 0.7)
        if before is not None:
            turn = np.array(rotation.multiply(flat, rotation.conjugate(before)))
            assert 2 * np.arccos(min(abs(turn[0]), 1.0)) < 0.25
        before = flat


def test_targets_do_not_depend_on_where_the_human_walks() -> None:
    joints, turns = walk_and_reach(1.0).in_world()
    here, there = (Targets(TABLE, PLAIN, 1 / FPS) for _ in range(2))
    here.aim(joints[0], turns[0])
    there.aim(joints[0] + np.array([3.0, -2.0, 0.0]), turns[0])
    scale = TABLE.scales["leg"].of(PLAIN)
    gap = there.positions - here.positions
    np.testing.assert_allclose(gap, np.tile(scale * np.array([3.0, -2.0, 0.0]), (len(gap), 1)), atol=1e-9)
