"""A streamed human followed by a tracker of joints, in lock-step: engaged, to its end, no fall, no false hold."""

from __future__ import annotations

import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

import numpy as np

from export.motion.smpl_channels import human_clip
from export.motion.source import read_any
from runtime.human_motion import HumanMotion
from runtime.robot import load_robot
from tests.human_stream import HumanRun, there_and_back
from tests.shared_data import shared_data

ROBOT = load_robot("g1_29dof")


def human(name: str) -> HumanMotion:
    motion = read_any(str(shared_data(f"mocap/bvh/{name}.bvh")), ROBOT)
    assert isinstance(motion, HumanMotion)
    return motion


def test_a_human_who_squats_is_followed_over_a_bad_link_within_the_rate_limit() -> None:
    found = HumanRun(human_clip(human("cmu_13_30_squats"), ROBOT, 50.0), 1, begins_s=3.0).follow()
    assert found.is_good, found
    assert found.followed_s > 5.0
    assert found.demanded <= 1, found


def test_a_human_who_walks_when_first_heard_is_followed_from_the_next_stride_on() -> None:
    """The first healthy frame had the knee 0.90 rad away, was refused, and the stream never asked for again."""
    clip = human_clip(human("cmu_09_12_walk_turn_back_sideways"), ROBOT, 50.0)
    run = HumanRun(clip, 0, begins_s=1.0)
    run.ends_ns = 10**9 + 6 * 10**9
    found = run.follow()
    assert found.is_good, found
    assert 0 < (found.engaged_s or 0.0) < 2.0
    assert "knee_joint of the stream is 0.9" in found.notices[0] and "not followed yet" in found.notices[0]


def test_there_and_back_has_no_seam() -> None:
    clip = human_clip(human("cmu_07_01_walk"), ROBOT, 50.0)
    twice = there_and_back(clip, 3 * clip.duration_s)
    joints = twice.channels["smpl_joints"]
    assert len(joints) >= 3 * len(clip.joint_pos)
    assert np.abs(np.diff(joints, axis=0)).max() <= np.abs(np.diff(clip.channels["smpl_joints"], axis=0)).max()
