"""Walks mended on their feet: their sway, and where they end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.motion.actor import Actor
from export.motion.gait import ANKLES, led, swaying, swings
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion, pose_in_world


def walk() -> HumanMotion:
    actor = Actor()
    actor.hold(0.6)
    actor.walk(np.array([[0.0, 0.0], [1.5, 0.0]]), 0.5)
    actor.hold(0.6)
    return actor.motion("walks")


def test_swings_are_those_that_the_actor_stepped() -> None:
    motion = walk()
    rows = [swings(motion.in_world()[0][:, joint], motion.fps) for joint in ANKLES]
    assert [len(row) for row in rows] == [3, 3], "five steps of 0.3 m, and one that brings the feet together"
    left, right = rows
    assert all(end < start for (_, end), (start, _) in zip(left, right, strict=True)), "one foot after the other"


def test_who_walks_sways_again_on_feet_that_stay_and_who_stands_does_not() -> None:
    true = walk()
    local, pelvis = true.local_wxyz[::2], true.pelvis_m[::2]
    straight = pelvis * [1.0, 0.0, 1.0]
    found, swayed = swaying(local, straight, PLAIN, 25.0)
    assert np.corrcoef(swayed[:, 1], pelvis[:, 1])[0, 1] > 0.9
    assert 0.7 < np.std(swayed[:, 1]) / np.std(pelvis[:, 1]) < 1.3
    np.testing.assert_allclose(swayed[:, 0], pelvis[:, 0], atol=0.005)
    before, after = (pose_in_world(*pose, PLAIN.offsets_m)[0] for pose in ((local, straight), (found, swayed)))
    np.testing.assert_allclose(after[:, ANKLES], before[:, ANKLES], atol=1e-6)
    arms = HUMAN_JOINTS.index("spine1")
    np.testing.assert_array_equal(found[:, arms:arms + 1], rotation.continuous_many(local)[:, arms:arms + 1])
    stands = local[:20], pelvis[:20]
    assert swaying(*stands, PLAIN, 25.0)[1] is stands[1]


def test_who_walks_with_a_leg_that_would_not_reach_stays_as_it_is() -> None:
    motion = walk()
    local = motion.local_wxyz.copy()
    local[:, HUMAN_JOINTS.index("left_hip")] = rotation.quat_from_vector_many(np.array([0.0, 0.0, math.pi / 2]))
    local[:, HUMAN_JOINTS.index("left_knee")] = [1.0, 0.0, 0.0, 0.0]
    found, pelvis = swaying(local, motion.pelvis_m, PLAIN, 50.0)
    assert found is local and pelvis is motion.pelvis_m


def test_a_way_that_is_led_ends_elsewhere_and_its_feet_stand_still() -> None:
    motion, off = walk(), np.array([0.12, -0.08, 0.0])
    local, pelvis = led(motion.local_wxyz, motion.pelvis_m, PLAIN, motion.fps, off, 0.15)
    before, after = (pose_in_world(*pose, PLAIN.offsets_m) for pose in (
        (motion.local_wxyz, motion.pelvis_m), (local, pelvis)))
    np.testing.assert_allclose(after[0][-1, ANKLES], before[0][-1, ANKLES] + off, atol=1e-6)
    np.testing.assert_allclose(after[0][:20, ANKLES], before[0][:20, ANKLES], atol=1e-6)
    np.testing.assert_allclose(pelvis[-1, :2], motion.pelvis_m[-1, :2] + off[:2], atol=1e-9)
    turned = rotation.multiply_many(after[1][:, 0], rotation.conjugate_many(before[1][:, 0]))
    turn = rotation.rotation_vector_many(turned)
    np.testing.assert_allclose(turn[[0, -1], 2], [0.0, 0.15], atol=1e-6)
    for joint in ANKLES:
        stands = np.ones(motion.frames, bool)
        for start, end in swings(before[0][:, joint], motion.fps):
            stands[start:end + 1] = False
        slips = np.linalg.norm(np.diff(after[0][:, joint] - before[0][:, joint], axis=0), axis=1)
        assert slips[stands[1:] & stands[:-1]].max() < 1e-6, "what stood stands"


def test_a_way_that_no_leg_reaches_is_refused() -> None:
    motion = walk()
    local = motion.local_wxyz.copy()
    local[:, HUMAN_JOINTS.index("left_hip")] = rotation.quat_from_vector_many(np.array([0.0, 0.0, math.pi / 2]))
    with pytest.raises(Refused, match="hips"):
        led(local, motion.pelvis_m, PLAIN, motion.fps, np.array([0.0, 1.0, 0.0]), 0.0)
