"""Rotations against explicit matrices, on random and on awkward quaternions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime import rotation

F64 = npt.NDArray[np.float64]
parts = st.floats(-1, 1, allow_nan=False)
vectors = st.tuples(*[st.floats(-10, 10)] * 3).map(np.array)
fractions = st.floats(0, 1)


def unit(values: tuple[float, ...]) -> F64:
    q = np.array(values)
    return q / np.linalg.norm(q)


quats = st.tuples(parts, parts, parts, parts).filter(lambda q: sum(x * x for x in q) > 1e-4).map(unit)


def matrix(q: F64) -> F64:
    """R_world_base of (w, x, y, z), from the exponential of the axis: not the formulas under test."""
    w, v = q[0], q[1:]
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + 2 * w * cross + 2 * cross @ cross)


def about(axis: int, angle: float) -> F64:
    c, s = math.cos(angle), math.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.eye(3)
    R[i, i] = R[j, j] = c
    R[i, j], R[j, i] = -s, s
    return R


@given(quats, quats)
def test_product_is_the_product_of_matrices(a: F64, b: F64) -> None:
    np.testing.assert_allclose(matrix(rotation.multiply_many(a, b)), matrix(a) @ matrix(b), atol=1e-12)


@given(quats)
def test_conjugate_is_the_transpose(q: F64) -> None:
    np.testing.assert_allclose(matrix(rotation.conjugate_many(q)), matrix(q).T, atol=1e-12)


@given(quats, vectors)
def test_rotate_inverse_is_the_transposed_matrix(q: F64, v: F64) -> None:
    np.testing.assert_allclose(rotation.rotate_inverse(q, v), matrix(q).T @ v, atol=1e-10)


@given(quats)
def test_gravity_in_base_is_unit_and_the_world_down_seen_from_the_base(q: F64) -> None:
    gravity = rotation.gravity_in_base(q)
    np.testing.assert_allclose(gravity, matrix(q).T @ [0, 0, -1], atol=1e-12)
    assert math.hypot(*gravity) == pytest.approx(1)


def test_upright_gravity_points_down() -> None:
    assert rotation.gravity_in_base([1, 0, 0, 0]) == (0, 0, -1)


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
def test_roll_pitch_yaw_builds_and_reads_rz_ry_rx(roll: float, pitch: float, yaw: float) -> None:
    q = rotation.quat_from_rpy(roll, pitch, yaw)
    assert np.linalg.norm(q) == pytest.approx(1)
    np.testing.assert_allclose(matrix(q), about(2, yaw) @ about(1, pitch) @ about(0, roll), atol=1e-12)
    np.testing.assert_allclose(rotation.roll_pitch_yaw(q), (roll, pitch, yaw), atol=1e-7)


@given(quats)
def test_roll_pitch_yaw_is_the_same_for_both_signs(q: F64) -> None:
    # Near +-pi an angle may jump by a full turn: the rotation is what must agree. At the pole roll and yaw are one.
    assume(abs(rotation.roll_pitch_yaw(q)[1]) < 1.57)
    for signed in (q, -q):
        again = rotation.quat_from_rpy(*rotation.roll_pitch_yaw(signed))
        np.testing.assert_allclose(matrix(again), matrix(q), atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_pitch_saturates_at_the_pole(sign: int) -> None:
    q = rotation.quat_from_rpy(0, sign * math.pi / 2, 0) * 1.0000001
    assert rotation.roll_pitch_yaw(q)[1] == pytest.approx(sign * math.pi / 2, abs=1e-3)


@given(st.tuples(parts, parts, parts).filter(lambda a: sum(x * x for x in a) > 1e-2).map(unit),
       st.floats(-math.pi, math.pi))
def test_rotation_vector_is_axis_times_angle(axis: F64, angle: float) -> None:
    q = np.concatenate([[math.cos(angle / 2)], math.sin(angle / 2) * axis])
    for signed in (q, -q):
        vector = rotation.rotation_vector_many(signed)
        if abs(angle) < math.pi - 1e-6:
            np.testing.assert_allclose(vector, angle * axis, atol=1e-9)
        assert np.linalg.norm(vector) <= math.pi + 1e-9


@pytest.mark.parametrize("angle", [0.0, 1e-300, 1e-15, 1e-13, 1e-11, 1e-8])
def test_rotation_vector_of_a_tiny_turn_is_exact(angle: float) -> None:
    q = np.array([[math.cos(angle / 2), 0, math.sin(angle / 2), 0]])
    np.testing.assert_allclose(rotation.rotation_vector_many(q), [[0, angle, 0]], rtol=1e-9, atol=0)


@given(quats, quats, fractions)
def test_slerp_turns_at_constant_rate_the_short_way(a: F64, b: F64, s: float) -> None:
    def angle_to(q: F64) -> float:
        turn = rotation.multiply_many(q, rotation.conjugate_many(a))
        return float(np.linalg.norm(rotation.rotation_vector_many(turn)))

    mixed = rotation.slerp(a, b, s)
    assert np.linalg.norm(mixed) == pytest.approx(1)
    assert angle_to(mixed) == pytest.approx(s * angle_to(b), abs=1e-6)


@given(quats, quats)
def test_slerp_ends_at_its_ends(a: F64, b: F64) -> None:
    np.testing.assert_allclose(matrix(rotation.slerp(a, b, 0)), matrix(a), atol=1e-9)
    np.testing.assert_allclose(matrix(rotation.slerp(a, b, 1)), matrix(b), atol=1e-9)


@given(quats, fractions)
def test_slerp_between_equal_or_opposite_signs_stays(q: F64, s: float) -> None:
    for other in (q, -q):
        np.testing.assert_allclose(matrix(rotation.slerp(q, other, s)), matrix(q), atol=1e-9)


def test_many_takes_leading_axes() -> None:
    rng = np.random.default_rng(0)
    a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in rng.normal(size=(2, 3, 5, 4)))
    product = rotation.multiply_many(a, b)
    assert product.shape == (3, 5, 4)
    np.testing.assert_allclose(product[2, 4], rotation.multiply_many(a[2, 4], b[2, 4]))
    assert rotation.rotation_vector_many(product).shape == (3, 5, 3)


def test_an_angle_is_told_the_short_way_round_of_any_kind() -> None:
    assert rotation.wrapped(3 * math.pi / 2) == pytest.approx(-math.pi / 2)
    assert rotation.wrapped(-math.pi) == rotation.wrapped(math.pi) == -math.pi
    angles = rotation.wrapped(np.array([-7.0, 0.0, 7.0], np.float32))
    assert angles.dtype == np.float32
    np.testing.assert_allclose(angles, [2 * math.pi - 7, 0, 7 - 2 * math.pi], atol=1e-6)
