"""Motions at another rate: the clock, rotations, steps."""

from __future__ import annotations

import numpy as np
import pytest

from export.motion.resample import robot_at
from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import make_human_motion
from runtime.resample import grid, human_at
from runtime.robot import JointOrder
from tests import motion_files as files


@pytest.mark.parametrize("fps", [10, 24, 25, 29.876, 30, 59.94, 100, 119.88, 120])
def test_the_clock_is_kept(fps: float) -> None:
    """A thing that goes by at 1 m/s is, k/50 s later, k/50 m further: whatever the rate was."""
    frames = int(20 * fps)
    motion = files.walking(fps, frames)
    motion = make_human_motion("m", fps, motion.local_wxyz, np.outer(np.arange(frames) / fps, [1.0, 0, 0]))
    new = human_at(motion)
    assert new.fps == 50
    np.testing.assert_allclose(new.pelvis_m[:, 0], np.arange(new.frames) / 50, atol=1e-9)
    assert motion.duration_s - 1 / 50 < new.duration_s <= motion.duration_s + 1e-6


@pytest.mark.parametrize("fps", [100, 50, 150])
def test_frames_that_are_there_are_taken_as_they_are(fps: float) -> None:
    motion = files.walking(fps, 61)
    new = human_at(motion)
    every = round(fps / 50)
    np.testing.assert_array_equal(new.pelvis_m, motion.pelvis_m[::every])
    np.testing.assert_allclose(new.local_wxyz, motion.local_wxyz[::every], atol=1e-12)


def test_rotations_go_the_short_way_at_an_even_rate() -> None:
    local = np.tile([1.0, 0, 0, 0], (31, 24, 1))
    local[:, 16] = rotation.quat_from_vector_many(np.outer(np.arange(31) / 30 * 3, [0, 0, 1.0]))
    local[::2] *= -1  # the same rotations
    new = human_at(make_human_motion("turning", 30, local, np.zeros((31, 3))))
    angle = np.abs(rotation.rotation_vector_many(new.local_wxyz[:, 16])[:, 2])
    np.testing.assert_allclose(angle, np.arange(new.frames) / 50 * 3, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(new.local_wxyz, axis=-1), 1)


def test_steps_stay_steps() -> None:
    hands = np.zeros((31, 2), np.int8)
    hands[16:] = 2
    motion = files.walking(30, 31)
    new = human_at(make_human_motion("hands", 30, motion.local_wxyz, motion.pelvis_m, hand_states=hands))
    assert new.hand_states is not None
    assert set(np.unique(new.hand_states)) == {0, 2}
    assert np.argmax(new.hand_states[:, 0]) / 50 == pytest.approx(16 / 30, abs=1 / 50)
    assert np.argmax(new.hand_states[:, 0]) / 50 >= 16 / 30  # never before it happened


def test_a_robot_s_channels_are_each_resampled_as_what_they_are() -> None:
    t = np.arange(31) / 30
    vectors = np.tile(np.outer(t * 6, [1.0, 0, 0]), (1, 21))  # passes half a turn: the vectors' signs may flip
    vectors = rotation.rotation_vector_many(rotation.quat_from_vector_many(vectors.reshape(31, 21, 3))).reshape(31, 63)
    turn = rotation.quat_from_vector_many(np.outer(t, [0, 0, 2.0]))
    motion = RobotMotion("m", 30, JointOrder(("a",)), t[:, None] * 2, np.outer(t, [1.0, 0, 0]), turn,
                         {"smpl_quat_wxyz": turn, "smpl_pose": vectors, "hand_states": np.repeat([[0.0, 1], [2, 1]],
                                                                                               [15, 16], axis=0)},
                         joint_vel=np.full((31, 1), 2.0))
    new = robot_at(motion)
    k = np.arange(new.frames) / 50
    np.testing.assert_allclose(new.joint_pos[:, 0], 2 * k, atol=1e-12)
    wanted = rotation.quat_from_vector_many(np.outer(k, [0, 0, 2.0]))
    for found in (new.root_quat_wxyz, new.channels["smpl_quat_wxyz"]):
        np.testing.assert_allclose(np.abs((found * wanted).sum(axis=1)), 1, atol=1e-12)
    angles = rotation.quat_from_vector_many(new.channels["smpl_pose"][:, :3])
    np.testing.assert_allclose(np.abs((angles * rotation.quat_from_vector_many(np.outer(k * 6, [1.0, 0, 0])))
                                      .sum(axis=1)), 1, atol=1e-12)
    assert set(np.unique(new.channels["hand_states"])) == {0, 1, 2}
    assert new.joint_vel is not None
    np.testing.assert_array_equal(new.joint_vel, 2.0)


@pytest.mark.parametrize("rate", [0.0, -50, float("nan"), 1e9])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(Refused):
        grid(10, 30, rate)


def test_a_motion_at_the_rate_is_left_alone() -> None:
    motion = files.walking(50, 20)
    assert human_at(motion) is motion
