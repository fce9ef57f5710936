"""SONIC's smpl channels of a human's motion: the known vectors, no heading in the joints, straight arms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.motion.smpl_channels import smpl_channels
from runtime import rotation
from runtime.human_motion import HumanMotion
from runtime.smpl_wrists import wrists
from tests import motion_files as files

Y_UP = np.array((np.sqrt(0.5), np.sqrt(0.5), 0, 0))
WALK = files.walking()


def at_rest(orient: tuple[float, float, float]) -> HumanMotion:
    """Nobody moves; the pelvis is turned by an SMPL file's y-up vector."""
    local = np.tile((1.0, 0, 0, 0), (WALK.frames, 24, 1))
    local[:, 0] = rotation.multiply_many(Y_UP, rotation.quat_from_vector_many(np.array(orient)))
    return replace(WALK, local_wxyz=local)


@pytest.mark.parametrize(("orient", "wanted"), [
    ((0, 0, 0), (0.707107, 0, 0, -0.707107)),
    ((0, np.pi / 2, 0), (1, 0, 0, 0)),
    ((0, np.pi, 0), (0.707107, 0, 0, 0.707107)),
    ((0.2, 0.5, -0.1), (0.855331, 0.034915, 0.104745, -0.506180)),
])
def test_root_and_joints_are_those_known(orient: tuple[float, float, float], wanted: tuple[float, ...]) -> None:
    motion = at_rest(orient)
    channels = smpl_channels(motion)
    assert abs(channels["smpl_quat_wxyz"][0] @ np.array(wanted)) == pytest.approx(1, abs=1e-6)
    joints = channels["smpl_joints"][0].reshape(24, 3)
    assert np.abs(joints - motion.skeleton.at_rest()[:, [2, 0, 1]]).max() < 1e-9


def test_joints_do_not_depend_on_the_heading_nor_the_place() -> None:
    turned = WALK.local_wxyz.copy()
    turned[:, 0] = rotation.multiply_many(np.array((np.cos(0.6), 0, 0, np.sin(0.6))), turned[:, 0])
    other = smpl_channels(replace(WALK, local_wxyz=turned, pelvis_m=WALK.pelvis_m + 3))
    here = smpl_channels(WALK)
    assert np.abs(other["smpl_joints"] - here["smpl_joints"]).max() < 1e-9
    assert np.abs(other["smpl_pose"] - here["smpl_pose"]).max() < 1e-12
    assert np.abs(other["smpl_quat_wxyz"] - here["smpl_quat_wxyz"]).max() > 0.1


def test_straight_arms_give_wrists_of_zero() -> None:
    assert not np.any(wrists(smpl_channels(at_rest((0, 0, 0)))["smpl_pose"][0]))


def test_wrists_stand_in_their_order_and_the_right_side_is_mirrored() -> None:
    pose = np.zeros((1, 21, 3))
    pose[0, 19] = (0.3, 0, 0)
    pose[0, 20] = (0, 0.2, 0)
    pose[0, 17] = (0, 0.7, 0)  # all of it twist: none reaches the wrist
    assert wrists(pose.reshape(63)) == pytest.approx((0.3, 0, 0, -0.2, 0, 0), abs=1e-9)
    pose[0, 20] = (0.4, 0, 0)
    assert wrists(pose.reshape(63)) == pytest.approx((0.3, -0.4, 0, 0, 0, 0), abs=1e-9)
