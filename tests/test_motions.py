"""Motions made of others, and motions made of nothing: mirrored, warped, overlaid, keyframed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from export.motions import Animator, mirrored, overlaid, random_gesture, smoothed, squat, sway, warped
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime import rotation
from runtime.clip import Clip, load_clip, make_clip, save_clip
from runtime.manifest_reader import load_manifest
from runtime.robot import load_robot

ROBOT = load_robot("g1_29dof")
MANIFEST = load_manifest("twist2")
STANDING = np.zeros(29)
STANDING[ROBOT.order.index_of(MANIFEST.order)] = MANIFEST.default_pose
SOLES = ("left_ankle_roll_link", "right_ankle_roll_link")


def clip(seed: int = 0, frames: int = 60, fps: float = 30.0) -> Clip:
    """A smooth random motion."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 2 * np.pi, frames)[:, None]
    joint_pos = STANDING + 0.2 * np.sin(t + rng.uniform(0, 6, 29)) * rng.uniform(0, 1, 29)
    quat = np.stack([rotation.quat_from_rpy(*row) for row in 0.3 * np.sin(t + rng.uniform(0, 6, 3))])
    return make_clip("random", fps, ROBOT.order, joint_pos, np.cumsum(rng.normal(0, 0.01, (frames, 3)), axis=0), quat)


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(ROBOT, SimulatedRobot(gantry=False), STANDING)


def test_a_mirror_of_a_mirror_is_the_motion():
    motion = clip()
    twice = mirrored(mirrored(motion))
    for name in ("joint_pos", "joint_vel", "root_pos", "root_vel", "root_ang_vel"):
        np.testing.assert_allclose(getattr(twice, name), getattr(motion, name), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(twice.root_quat_wxyz * motion.root_quat_wxyz, axis=1)), 1)


def test_the_plant_is_mirrored_where_the_motion_is():
    """Hands and feet of the mirrored pose are the mirror images of the pose's: signs and twins are right."""
    plant, motion = SimulatedRobot(gantry=False), clip(3)
    other = mirrored(motion)
    bodies = [f"{side}_{part}" for side in ("left", "right") for part in ("wrist_yaw_link", "ankle_roll_link")]
    twins = [f"{side}_{part}" for side in ("right", "left") for part in ("wrist_yaw_link", "ankle_roll_link")]
    for frame in (0, 17, 42):
        here = plant.body_positions(bodies, motion.joint_pos[frame])
        there = plant.body_positions(twins, other.joint_pos[frame])
        np.testing.assert_allclose(there, here * [1, -1, 1], atol=2e-4)  # the description itself differs by 0.1 mm


def test_a_mirrored_yaw_rate_turns_the_other_way():
    motion = clip(1)
    np.testing.assert_allclose(mirrored(motion).root_ang_vel, motion.root_ang_vel * [-1, 1, -1], atol=1e-9)


def test_a_warped_motion_is_faster_and_otherwise_the_same():
    motion = clip()
    fast = warped(motion, 1.25)
    assert fast.duration_s == pytest.approx(motion.duration_s / 1.25)
    np.testing.assert_allclose(fast.joint_vel, 1.25 * motion.joint_vel, atol=1e-9)


def test_an_overlay_takes_arms_from_the_other_motion_and_nothing_else():
    legs, arms = clip(1, frames=60), clip(2, frames=23, fps=45.0)
    mixed = overlaid(legs, arms)
    upper = np.array([any(part in name for part in ("shoulder", "elbow", "wrist")) for name in ROBOT.order.names])
    np.testing.assert_array_equal(mixed.joint_pos[:, ~upper], legs.joint_pos[:, ~upper])
    np.testing.assert_allclose(mixed.joint_pos[0, upper], arms.joint_pos[0, upper])
    assert np.abs(np.diff(mixed.joint_pos[:, upper], axis=0)).max() < 0.1, "the loop must not jump at its ends"


def test_smoothing_keeps_a_constant_and_shrinks_noise():
    motion = clip()
    still = make_clip("still", 30.0, ROBOT.order, np.tile(STANDING, (40, 1)), np.zeros((40, 3)),
                      np.tile([1.0, 0, 0, 0], (40, 1)))
    np.testing.assert_allclose(smoothed(still, 5).joint_pos, still.joint_pos)
    noisy = make_clip("noisy", 30.0, ROBOT.order, motion.joint_pos + np.random.default_rng(0).normal(0, 0.05, (60, 29)),
                      motion.root_pos, motion.root_quat_wxyz)
    assert np.abs(smoothed(noisy, 5).joint_pos - motion.joint_pos).mean() < 0.6 * 0.05
    assert len(smoothed(noisy, 5).joint_pos) == 60


def test_smoothing_does_not_trip_over_the_two_signs_of_a_quaternion():
    motion = clip()
    flipped = motion.root_quat_wxyz.copy()
    flipped[25:] *= -1
    other = make_clip("flipped", 30.0, ROBOT.order, motion.joint_pos, motion.root_pos, flipped)
    agreement = np.abs(np.sum(smoothed(other, 5).root_quat_wxyz * smoothed(motion, 5).root_quat_wxyz, axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-9)


def test_feet_stay_where_they_are_in_a_squat(animator):
    motion = animator.clip("squat", [(1.0, squat(1.0)), (1.0, squat(1.0))], 0.79)
    plant = SimulatedRobot(gantry=False)
    places = []
    for q, root, quat in zip(motion.joint_pos, motion.root_pos, motion.root_quat_wxyz, strict=True):
        feet = plant.body_positions(SOLES, q) - plant.base_position
        places.append([np.array(rotation.rotate_inverse(quat * [1, -1, -1, -1], foot)) + root for foot in feet])
    assert np.ptp(np.array(places), axis=0).max() < 5e-3
    assert motion.root_pos[:, 2].min() < 0.70
    np.testing.assert_allclose(motion.root_pos[[0, -1], 2], 0.79, atol=1e-6)


def test_a_sway_moves_the_pelvis_to_the_named_side(animator):
    motion = animator.clip("sway", [(1.0, sway(0.1))], 0.79)
    assert motion.root_pos[:, 1].max() == pytest.approx(0.057, abs=0.01)


def test_a_keyframed_motion_begins_and_ends_standing_at_rest(animator):
    motion = animator.clip("wave", [(0.8, {"right_shoulder_pitch": -1.5}), (0.5, {"right_elbow": -0.5})], 0.79)
    for frame in (0, -1):
        np.testing.assert_allclose(motion.joint_pos[frame], STANDING, atol=1e-9)
        assert np.abs(motion.joint_vel[frame]).max() < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_every_random_gesture_is_a_clip_the_runtime_accepts(animator, seed, tmp_path):
    motion = animator.clip("gesture", random_gesture(np.random.default_rng(seed)), 0.79)
    save_clip(tmp_path / "gesture.npz", motion)
    load_clip(tmp_path / "gesture.npz", ROBOT)


def test_a_starred_name_moves_both_sides_as_mirror_images(animator):
    motion = animator.clip("spread", [(1.0, {"*_shoulder_roll": 0.5})], 0.79)
    left, right = (ROBOT.order.names.index(f"{side}_shoulder_roll_joint") for side in ("left", "right"))
    peak = motion.joint_pos[50] - STANDING
    assert peak[left] == pytest.approx(0.5) and peak[right] == pytest.approx(-0.5)
