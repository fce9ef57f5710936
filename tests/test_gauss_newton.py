"""A robot's kinematics, and the solver that keeps its points on moving targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.kinematics import Kinematics, plant_path
from firmware_bridge.point_masses import PointMasses
from runtime import rotation
from runtime.clip import load_clip
from runtime.gauss_newton import GaussNewton, RotationError
from runtime.human_motion import PLAIN
from runtime.retarget_bench import FPS, targets_of, walk_and_reach
from runtime.retarget_quality import jerk_rms
from runtime.retargeter import Retargeter
from tests.retarget_cases import KINEMATICS, ROBOT, TABLE, a_state, make_retargeter

F64 = Any


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
    out = np.zeros((3, 4))
    for either in (found, -found):
        turns.of(either, out)
        np.testing.assert_allclose(out.T, error, atol=1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-9, 1e-6])
def test_rotation_errors_are_exact_where_they_vanish(size: float) -> None:
    target = rotation.quat_from_vector_many(np.array([[0.3, -1.0, 0.5]]))
    turns, out = RotationError(1), np.zeros((3, 1))
    turns.aim(target)
    error = np.array([[size, 0, 0]])
    turns.of(rotation.multiply_many(rotation.quat_from_vector_many(error), target), out)
    np.testing.assert_allclose(out.T, error, atol=1e-15 + 1e-9 * size)


@pytest.mark.parametrize("seed", range(3))
def test_a_robot_with_masses_for_weights_has_the_normal_matrix_for_its_mass_matrix(seed: int) -> None:
    weights = np.array([[row.position_weight, row.rotation_weight] for row in TABLE.rows])
    q, random = a_state(seed), np.random.default_rng(seed)
    KINEMATICS.place(q)
    jacobian = KINEMATICS.differentiate().reshape(-1, 35)
    weighted = jacobian * np.repeat(weights, 3, axis=1).reshape(-1, 1)
    normal = weighted.T @ weighted
    points = PointMasses(KINEMATICS, weights[:, 0], weights[:, 1])
    points.place(q)
    np.testing.assert_allclose(points.positions, KINEMATICS.positions, atol=1e-12)
    np.testing.assert_allclose(points.quats_wxyz, KINEMATICS.quats_wxyz, atol=1e-12)
    np.testing.assert_allclose(points.weigh(), normal, atol=1e-9 * normal.max())
    forces, slope = random.normal(size=(len(weights), 6)), np.zeros(35)
    points.slope(np.concatenate([forces[:, 3:], forces[:, :3], forces[:, :2]], axis=1).T.copy(), slope)
    np.testing.assert_allclose(slope, jacobian.T @ forces.reshape(-1), atol=1e-10)
    diagonal = random.uniform(1, 50, 35)
    np.testing.assert_allclose(points.solve(diagonal, slope), np.linalg.solve(normal + np.diag(diagonal), slope),
                               atol=1e-9)
    np.testing.assert_allclose(points.weigh(), normal, atol=1e-9 * normal.max())
    way = np.zeros((3, 35))
    points.slide(3, way)
    np.testing.assert_allclose(way, jacobian[18:21], atol=1e-12)


def test_weights_leave_the_robots_own_centre_of_mass_alone() -> None:
    q = a_state(4)
    before = KINEMATICS.centre_of_mass(q).copy()
    weights = np.ones(len(TABLE.rows))
    PointMasses(KINEMATICS, weights, weights).place(q)
    np.testing.assert_array_equal(KINEMATICS.centre_of_mass(q), before)


# Solver


def test_a_robots_own_motion_comes_back() -> None:
    clip = load_clip("squat", ROBOT)
    retargeter = make_retargeter()
    solver = retargeter.solver
    place = clip.order.index_of(type(clip.order)(KINEMATICS.joints))
    qs = np.concatenate([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos[:, place]], axis=1)
    positions, quats = KINEMATICS.place_all(qs)
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
