"""From a human's joints to where a robot's points should be: scales, balance, feet, ground, tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import rotation
from runtime.errors import Refused
from runtime.foot_lock import FootLock
from runtime.human_motion import HUMAN_JOINTS, PLAIN, Skeleton, make_human_motion
from runtime.retarget_bench import FPS, walk_and_reach
from runtime.retarget_quality import skate_mm_s, stance
from runtime.retarget_table import TABLES, load_retarget_table
from runtime.retarget_targets import Targets, compressed, flattened
from runtime.retargeter import Retargeter
from runtime.robot import load_robot
from tests.retarget_cases import FEET, KINEMATICS, TABLE, make_retargeter, standing

F64 = Any


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
    assert -0.03 < KINEMATICS.centre_of_mass(retargeter.q)[0] - ankle[0] < 0.1


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


def test_targets_do_not_depend_on_where_the_human_walks() -> None:
    joints, turns = walk_and_reach(1.0).in_world()
    here, there = (Targets(TABLE, PLAIN, 1 / FPS) for _ in range(2))
    here.aim(joints[0], turns[0])
    there.aim(joints[0] + np.array([3.0, -2.0, 0.0]), turns[0])
    scale = TABLE.scales["leg"].of(PLAIN)
    gap = there.positions - here.positions
    np.testing.assert_allclose(gap, np.tile(scale * np.array([3.0, -2.0, 0.0]), (len(gap), 1)), atol=1e-9)


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
        feet = KINEMATICS.place_all(np.array(qs))[0][:, list(TABLE.feet)]
        skates.append(skate_mm_s(feet, stance(joints[:, FEET], FPS), FPS))
    assert skates[0] < 0.8 * skates[1]


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
