"""A streamed human for controllers of joints: the same as the retargeter makes of its motion, whatever the sender."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from export.motion.smpl_channels import smpl_channels
from runtime import rotation
from runtime.channels import ChannelTable
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HumanMotion
from runtime.packed_message import encode
from runtime.retarget_table import load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import load_robot
from runtime.stream_human import MOST_M_S2, StreamHuman, odd_bones
from runtime.stream_intake import StreamIntake
from tests import motion_files as files

ROBOT = load_robot("g1_29dof")


def arms_down(motion: HumanMotion) -> HumanMotion:
    """Nobody streams a T-pose; there the arms of two poses may well differ by a turn."""
    local = motion.local_wxyz.copy()
    for joint, angle in ((16, -1.2), (17, 1.2)):
        down = rotation.quat_from_vector_many(np.array([0, 0, angle]))
        local[:, joint] = rotation.multiply_many(down, local[:, joint])
    return replace(motion, local_wxyz=local)


WALK = arms_down(files.walking(50.0, 80))
CHANNELS = smpl_channels(WALK)
FRAMES = 60
MS = 1_000_000


def frame(i: int) -> tuple[Any, Any, Any]:
    return tuple(CHANNELS[name][i] for name in ("smpl_joints", "smpl_pose", "smpl_quat_wxyz"))  # type: ignore[return-value]


def streamed(turn_rad: float = 0.0, first: int = 0) -> tuple[Any, Any]:
    human, turn = StreamHuman(ROBOT), rotation.quat_about_z(turn_rad)
    rows = []
    for i in range(first, FRAMES):
        joints, pose, quat = frame(i)
        assert human.advance(joints, pose, rotation.multiply(turn, quat)), human.refusal
        rows.append((human.frame.joint_pos.copy(), human.frame.root_pos.copy()))
    return tuple(np.array(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def test_joints_are_those_that_the_retargeter_finds_for_the_motion_s_own_place() -> None:
    joints, turns = WALK.in_world()
    table = load_retarget_table(ROBOT.name)
    retargeter = Retargeter(table, ROBOT, kinematics_of(table), WALK.skeleton, 50.0)
    retargeter.begin(joints[0], turns[0])
    wanted = []
    for position, turn in zip(joints[:FRAMES], turns[:FRAMES], strict=True):
        retargeter.step(position, turn)
        wanted.append(retargeter.q[7:][retargeter.plant_index].copy())
    found, _ = streamed()
    assert np.abs(found - np.array(wanted)).mean() < 0.03


def test_another_heading_turns_the_way_and_not_the_joints() -> None:
    (here, place), (there, other) = streamed(), streamed(1.2)
    assert np.abs(here - there).max() < 0.02
    gone, turned = place[-1] - place[0], other[-1] - other[0]
    assert np.hypot(*gone[:2]) > 0.2
    angle = np.arctan2(turned[1], turned[0]) - np.arctan2(gone[1], gone[0])
    assert np.remainder(angle, 2 * np.pi) == pytest.approx(1.2, abs=0.05)


def test_poses_that_are_not_the_joints_own_are_refused() -> None:
    """A sender that leaves smpl_pose zero: every bone would point where it points now."""
    human, (joints, pose, quat) = StreamHuman(ROBOT), frame(0)
    assert not human.advance(joints, np.zeros_like(pose), quat)
    assert "smpl_pose" in human.refusal and "elbow" in human.refusal
    assert not human.advance(joints, pose, quat), "not tried again at once"
    assert odd_bones(WALK.skeleton.offsets_m) == []
    assert odd_bones(WALK.skeleton.offsets_m * 3)[0] == HUMAN_JOINTS[4]


def test_velocities_across_lost_frames_are_those_of_one() -> None:
    human = StreamHuman(ROBOT)
    for i in range(30):
        human.advance(*frame(i))
    before = human.frame.joint_pos.copy()
    human.advance(*frame(33), steps=4)
    np.testing.assert_allclose(human.frame.joint_vel, (human.frame.joint_pos - before) * 50 / 4, atol=1e-6)


def test_a_foot_that_slips_for_a_frame_hardly_moves_the_root() -> None:
    """Feet of motion capture slide, and whichever carries changes: the root followed each jump of them."""
    human, (joints, pose, quat) = StreamHuman(ROBOT), frame(0)
    for _ in range(20):
        human.advance(joints, pose, quat)
    stood = human._place.copy()
    slipped = joints.reshape(24, 3).copy()
    slipped[[10, 11], 0] -= 0.1
    human.advance(slipped.reshape(-1), pose, quat)
    assert np.abs(human._place - stood)[:2].max() <= MOST_M_S2 / 50**2 + 1e-9
    for _ in range(50):
        human.advance(slipped.reshape(-1), pose, quat)
    assert np.abs(human._place - stood)[:2].max() < 0.02, "and comes to rest"


class Inlet:
    """An intake of a controller of joints, and its records."""

    def __init__(self, make: Any = None) -> None:
        self.rows: list[Any] = []
        self.intake = StreamIntake(ROBOT, ChannelTable(), np.zeros(29), 0.8,
                                   lambda record: self.rows.append(record[0].copy()),
                                   human=make or partial(StreamHuman, ROBOT))

    def send(self, i: int, *, joints: Any = None) -> None:
        j, pose, quat = frame(i)
        fields = {"smpl_joints": (j if joints is None else joints).reshape(1, 24, 3),
                  "smpl_pose": pose.reshape(1, 21, 3), "body_quat": np.asarray(quat)[None],
                  "frame_index": np.array([i])}
        self.intake.take(encode("pose", 2, fields), 10**10 + i * 20 * MS)


def test_smpl_frames_become_a_robot_s_and_are_timed() -> None:
    inlet = Inlet()
    for i in range(FRAMES):
        inlet.send(i)
    wanted, _ = streamed(first=FRAMES - len(inlet.rows))
    np.testing.assert_allclose(inlet.rows[-1]["joint_pos"], wanted[-1], atol=1e-3)
    assert inlet.rows[-1]["root_pos"][2] > 0.5
    assert inlet.intake.human is not None and inlet.intake.human.took_us()[1] > 0
    assert inlet.intake.counts["other version"] == 0
    inlet.send(FRAMES, joints=np.full(72, np.nan))
    assert np.isnan(inlet.rows[-1]["joint_pos"]).all()
    inlet.send(FRAMES + 1)
    assert np.isfinite(inlet.rows[-1]["joint_pos"]).all()


def test_without_a_retarget_table_smpl_frames_are_refused_in_words() -> None:
    def make() -> StreamHuman:
        raise Refused("retarget table", expected="one for the robot", found="none", what_to_do="make one")

    inlet = Inlet(make)
    for i in range(40):
        inlet.send(i)
    assert inlet.intake.counts["other version"] == 40
    assert "retarget table" in inlet.intake.refusal
