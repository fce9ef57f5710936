"""Rotations. Quaternions are (w, x, y, z), unit, and rotate base vectors into the world.

Functions named `*_many` take leading axes; the others take one rotation as plain floats, because scalar
arithmetic on four numbers is several times faster than numpy's call overhead.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Vector3 = tuple[float, float, float]
Angles = TypeVar("Angles", float, F64, npt.NDArray[np.float32])


def wrapped(angles: Angles) -> Angles:
    """Angles from -pi (included) to pi, rad."""
    return (angles + math.pi) % (2 * math.pi) - math.pi


def multiply_many(a: F64, b: F64) -> F64:
    """Hamilton product a*b, (..., 4) each."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate_many(q: F64) -> F64:
    """The inverse of unit quaternions, (..., 4)."""
    return np.asarray(q * np.array([1.0, -1.0, -1.0, -1.0]))


def rotation_vector_many(q: F64) -> F64:
    """Rotation vectors (axis times angle, rad, the short way round) of unit quaternions, (..., 3)."""
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return np.asarray(q[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0))


def quat_from_vector_many(v: F64) -> F64:
    """Unit quaternions of rotation vectors (axis times angle, rad), (..., 3) -> (..., 4)."""
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.concatenate([np.cos(angle / 2), v * (0.5 * np.sinc(angle / (2 * np.pi)))], axis=-1)


def rotate_many(q: F64, v: F64) -> F64:
    """Vectors turned by unit quaternions, R(q) v: (..., 4), (..., 3) -> (..., 3)."""
    axis = q[..., 1:]
    t = 2 * np.cross(axis, v)
    return np.asarray(v + q[..., :1] * t + np.cross(axis, t))


def matrix_many(q: F64) -> F64:
    """Rotation matrices R(q) of unit quaternions, (..., 4) -> (..., 3, 3)."""
    return np.stack([rotate_many(q, np.broadcast_to(axis, (*q.shape[:-1], 3))) for axis in np.eye(3)], axis=-1)


def quat_from_matrix_many(R: F64) -> F64:
    """Unit quaternions of rotation matrices, (..., 3, 3) -> (..., 4); by the largest of the four, so none is lost.

    After Shepperd 1978: each row of `candidates` is the quaternion times four times one of its numbers.
    """
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    w, x, y, z = 1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz
    wx, wy, wz = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    xy, xz, yz = R[..., 1, 0] + R[..., 0, 1], R[..., 0, 2] + R[..., 2, 0], R[..., 2, 1] + R[..., 1, 2]
    candidates = np.stack([np.stack(row, axis=-1) for row in (
        (w, wx, wy, wz), (wx, x, xy, xz), (wy, xy, y, yz), (wz, xz, yz, z))], axis=-2)
    largest = np.argmax(np.stack([w, x, y, z], axis=-1), axis=-1)
    q = np.take_along_axis(candidates, largest[..., None, None], axis=-2)[..., 0, :]
    return np.asarray(q / np.linalg.norm(q, axis=-1, keepdims=True))


def continuous_many(q: F64) -> F64:
    """The same rotations, (T, ..., 4), each frame on the same sheet of the double cover as the one before."""
    sign = np.ones(q.shape[:-1])
    sign[1:] = np.cumprod(np.where((q[1:] * q[:-1]).sum(axis=-1) < 0, -1.0, 1.0), axis=0)
    return np.asarray(q * sign[..., None])


def slerp_many(a: F64, b: F64, s: F64) -> F64:
    """Between rows of unit quaternions (..., 4), the short way, s (...) in [0, 1]."""
    step = rotation_vector_many(multiply_many(conjugate_many(a), b))
    return multiply_many(a, quat_from_vector_many(step * np.asarray(s)[..., None]))


def slerp(a: F64, b: F64, s: float) -> F64:
    """Between two unit quaternions (4,), the short way, s in [0, 1]."""
    cosine = float(np.dot(a, b))
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = math.acos(min(cosine, 1.0))
    if angle < 1e-6:
        mixed = (1 - s) * a + s * b
    else:
        mixed = (math.sin((1 - s) * angle) * a + math.sin(s * angle) * b) / math.sin(angle)
    return np.asarray(mixed / np.linalg.norm(mixed))


def rotate_inverse(q: Any, v: Any) -> Vector3:
    """World vector v seen from the base: R(q)^T v."""
    w, x, y, z = -float(q[0]), float(q[1]), float(q[2]), float(q[3])
    vx, vy, vz = float(v[0]), float(v[1]), float(v[2])
    tx, ty, tz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    return (
        vx + w * tx + y * tz - z * ty,
        vy + w * ty + z * tx - x * tz,
        vz + w * tz + x * ty - y * tx,
    )


def gravity_in_base(q: Any) -> Vector3:
    """Unit gravity seen from the base: (0, 0, -1) upright."""
    w, x, y, z = float(q[0]), float(q[1]), float(q[2]), float(q[3])
    return (2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1)


def multiply(a: Any, b: Any) -> tuple[float, float, float, float]:
    """Hamilton product a*b."""
    aw, ax, ay, az = float(a[0]), float(a[1]), float(a[2]), float(a[3])
    bw, bx, by, bz = float(b[0]), float(b[1]), float(b[2]), float(b[3])
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def conjugate(q: Any) -> tuple[float, float, float, float]:
    """The inverse of a unit quaternion."""
    return (float(q[0]), -float(q[1]), -float(q[2]), -float(q[3]))


def quat_about_z(angle_rad: float) -> tuple[float, float, float, float]:
    """A turn about z."""
    return (math.cos(angle_rad / 2), 0.0, 0.0, math.sin(angle_rad / 2))


def heading_rad(q: Any) -> float:
    """Where the base's x axis points on the floor, in (-pi, pi]; defined for any length of q."""
    w, x, y, z = float(q[0]), float(q[1]), float(q[2]), float(q[3])
    return math.atan2(2 * (x * y + w * z), w * w + x * x - y * y - z * z)


def two_columns(q: Any) -> tuple[float, float, float, float, float, float]:
    """The first two columns of R(q), row by row: R00, R01, R10, R11, R20, R21; q of any length but zero."""
    w, x, y, z = float(q[0]), float(q[1]), float(q[2]), float(q[3])
    s = 2 / (w * w + x * x + y * y + z * z)
    return (
        1 - s * (y * y + z * z), s * (x * y - w * z),
        s * (x * y + w * z), 1 - s * (x * x + z * z),
        s * (x * z - w * y), s * (y * z + w * x),
    )


def roll_pitch_yaw(q: Any) -> Vector3:
    """Angles of R = Rz(yaw) Ry(pitch) Rx(roll), rad; pitch saturates at +-pi/2."""
    w, x, y, z = float(q[0]), float(q[1]), float(q[2]), float(q[3])
    sine = 2 * (w * y - z * x)
    return (
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        math.asin(min(max(sine, -1.0), 1.0)),
        math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    )


def quat_from_rpy(roll: float, pitch: float, yaw: float) -> F64:
    """The inverse of `roll_pitch_yaw`, (4,)."""
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    return np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )
