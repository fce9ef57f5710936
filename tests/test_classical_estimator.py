"""The filter: base velocity, height and contacts on synthetic states, and what must not shake it."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import rotation
from runtime.classical_estimator import ClassicalEstimator
from runtime.state import RobotState
from tests.planted import ROBOT, STANCE, height_of, planted

HZ = 50.0


@pytest.fixture
def estimator() -> ClassicalEstimator:
    return ClassicalEstimator(ROBOT, HZ)


def feed(estimator: ClassicalEstimator, state: RobotState, seconds: float) -> None:
    for _ in range(round(seconds * HZ)):
        estimator.update(state)


@pytest.mark.parametrize("velocity", [(0.0, 0.0, 0.0), (0.8, 0.0, 0.0), (-0.3, 0.4, 0.0)])
def test_a_base_over_still_feet_is_found(estimator: ClassicalEstimator, velocity: tuple[float, float, float]) -> None:
    feed(estimator, planted(velocity), 1.0)
    np.testing.assert_allclose(estimator.values[:3], velocity, atol=0.01)
    assert estimator.values[3] == pytest.approx(height_of(), abs=0.002)
    assert (estimator.values[4:] > 0.9).all()


def test_a_leaning_turning_base_is_found_in_its_own_frame(estimator: ClassicalEstimator) -> None:
    velocity, gyro, step = (0.3, -0.1, 0.0), (0.0, 0.0, 0.6), 1 / HZ
    for tick in range(100):
        quat = tuple(rotation.quat_from_rpy(0.0, 0.0, 0.6 * tick * step))
        # A constant velocity in a turning base is accelerated in the world.
        inward = np.array(rotation.rotate_inverse((quat[0], *(-x for x in quat[1:])), np.cross(gyro, velocity)))
        estimator.update(planted(velocity, quat=quat, gyro=gyro, acceleration=tuple(inward)))
    np.testing.assert_allclose(estimator.values[:3], velocity, atol=0.02)
    leaning = ClassicalEstimator(ROBOT, HZ)
    feed(leaning, planted(velocity, quat=tuple(rotation.quat_from_rpy(0.1, -0.15, 1.0))), 1.0)
    np.testing.assert_allclose(leaning.values[:3], velocity, atol=0.02)


def test_height_follows_a_knee_bend(estimator: ClassicalEstimator) -> None:
    worst = []
    for tick in range(200):
        bend = 0.6 + 0.4 * (1 - np.cos(2 * np.pi * tick / 100))
        stance = np.tile([-bend / 2, 0.0, 0.0, bend, -bend / 2, 0.0], 2)
        after = 0.6 + 0.4 * (1 - np.cos(2 * np.pi * (tick + 0.01) / 100))
        there = np.tile([-after / 2, 0.0, 0.0, after, -after / 2, 0.0], 2)
        sink = (height_of(there) - height_of(stance)) / (0.01 / HZ)
        estimator.update(planted((0.0, 0.0, sink), stance=stance))
        worst.append((abs(estimator.values[2] - sink), abs(estimator.values[3] - height_of(stance))))
    velocity, height = np.array(worst[50:]).max(axis=0)
    assert velocity < 0.1
    assert height < 0.005


@pytest.mark.parametrize(("carries", "contacts"), [
    ((1.0, -0.06), (True, False)), ((-0.06, 1.0), (False, True)), ((0.5, 0.5), (True, True)),
])
def test_the_foot_that_carries_is_told_from_the_one_that_swings(
    estimator: ClassicalEstimator, carries: tuple[float, float], contacts: tuple[bool, bool]
) -> None:
    lifted = STANCE.copy()
    for foot, is_down in enumerate(contacts):
        if not is_down:
            lifted[6 * foot : 6 * foot + 6] = (-0.6, 0.0, 0.0, 1.2, -0.6, 0.0)
    feed(estimator, planted(stance=lifted, carries=carries), 0.2)
    assert tuple(bool(value > 0.5) for value in estimator.values[4:]) == contacts


def test_a_foot_that_slips_for_a_moment_moves_nobody(estimator: ClassicalEstimator) -> None:
    feed(estimator, planted((0.4, 0.0, 0.0)), 1.0)
    slipping = planted((0.4, 0.0, 0.0))
    slipping.dq[:6] = planted((2.4, 0.0, 0.0)).dq[:6]  # the left foot slides at 2 m/s
    feed(estimator, slipping, 0.1)
    assert abs(estimator.values[0] - 0.4) < 0.15


def test_a_filter_that_was_wrong_is_set_right(estimator: ClassicalEstimator) -> None:
    feed(estimator, planted((1.5, 0.0, 0.0)), 1.0)
    feed(estimator, planted((0.0, 0.0, 0.0)), 1.0)
    assert np.abs(estimator.values[:3]).max() < 0.05


def test_in_free_flight_the_velocity_follows_gravity(estimator: ClassicalEstimator) -> None:
    feed(estimator, planted((0.5, 0.0, 0.0)), 1.0)
    flying = planted((0.5, 0.0, 0.0), carries=(0.0, 0.0), acceleration=(0.0, 0.0, -9.8))
    flying.dq[:] = 0  # legs drawn along: their odometry says that the base stands
    before = estimator.values[2]
    feed(estimator, flying, 0.3)
    assert (estimator.values[4:] < 0.5).all()
    assert estimator.values[2] - before == pytest.approx(-9.8 * 0.3, abs=0.8)
    assert estimator.values[0] > 0.2


def test_a_lost_accelerometer_is_no_fall(estimator: ClassicalEstimator) -> None:
    blind = planted((0.4, 0.1, 0.0))
    blind.accel[:] = 0
    feed(estimator, blind, 1.0)
    np.testing.assert_allclose(estimator.values[:3], (0.4, 0.1, 0.0), atol=0.02)


@pytest.mark.parametrize("field", ["q", "dq", "tau", "quat_wxyz", "gyro", "accel"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_let_pass(estimator: ClassicalEstimator, field: str, value: float) -> None:
    feed(estimator, planted((0.4, 0.0, 0.0)), 1.0)
    before = estimator.values.copy()
    bad = planted((0.4, 0.0, 0.0))
    getattr(bad, field)[0] = value
    estimator.update(bad)
    np.testing.assert_array_equal(estimator.values, before)
    feed(estimator, planted((0.4, 0.0, 0.0)), 0.1)
    np.testing.assert_allclose(estimator.values[:3], (0.4, 0.0, 0.0), atol=0.01)


def test_a_reset_filter_is_a_new_one(estimator: ClassicalEstimator) -> None:
    feed(estimator, planted((1.0, 0.5, 0.0)), 0.5)
    estimator.reset()
    assert not estimator.values.any()
    fresh = ClassicalEstimator(ROBOT, HZ)
    for each in (estimator, fresh):
        feed(each, planted((0.2, 0.0, 0.0)), 0.2)
    np.testing.assert_array_equal(estimator.values, fresh.values)
