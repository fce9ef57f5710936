"""SMPL parameters in their many spellings, as a human motion of ours."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.content import ReadOptions, real
from runtime import rotation
from runtime.channels import HUGE
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion, Skeleton, make_human_motion

F64 = npt.NDArray[np.float64]
JOINTS = len(HUMAN_JOINTS)
BODY = 21
Y_UP_TO_Z_UP = rotation.quat_from_vector_many(np.array([math.pi / 2, 0.0, 0.0]))
"""(x, y, z) to (x, -z, y)."""


def smpl_motion(
    name: str, fps: float, options: ReadOptions, *, root_wxyz: F64, body_wxyz: F64, translation: F64, up: str,
    betas: F64 | None = None, has_place: bool = True, notes: tuple[str, ...] = (), model: str = "smpl",
    is_pelvis: bool = False,
) -> HumanMotion:
    """A motion of SMPL parameters.

    Args:
        root_wxyz, body_wxyz: (T, 4) in the file's world, (T, 21 or 23, 4) in their parents' axes.
        translation: (T, 3) m in the file's world: of the model's origin, or `is_pelvis` of the pelvis joint.
        up: "y" or "z": the file's axis upwards.
        betas: shape, for the bones.
        model: whose bones, where a folder of body models is given.
    """
    frames = len(root_wxyz)
    local = np.zeros((frames, JOINTS, 4))
    local[..., 0] = 1
    joints = min(body_wxyz.shape[1], BODY)  # the two of SMPL beyond the wrists have no sense for bones without hands
    local[:, 1 : 1 + joints] = body_wxyz[:, :joints]
    skeleton, pelvis_at_rest, notes = _bones(options, model, betas, notes)
    place = sound("translations", translation) + (0.0 if is_pelvis else pelvis_at_rest)
    if up == "y":
        root_wxyz = rotation.multiply_many(Y_UP_TO_Z_UP, root_wxyz)
        place = rotation.rotate_many(Y_UP_TO_Z_UP, place)
    local[:, 0] = root_wxyz
    motion = make_human_motion(name, fps, local, place, skeleton, has_place=has_place, notes=notes)
    return motion if not has_place else on_the_floor(motion)


def _bones(
    options: ReadOptions, model: str, betas: F64 | None, notes: tuple[str, ...]
) -> tuple[Skeleton, F64, tuple[str, ...]]:
    """The bones to use, where the pelvis joint stands in the model's axes, and what was assumed."""
    if options.skeleton is not None:
        return options.skeleton, np.zeros(3), notes
    if options.smpl_models is not None:
        from export.motion.body_models import bones_of

        skeleton, pelvis = bones_of(options.smpl_models, model, betas)
        return skeleton, pelvis, notes
    return PLAIN, np.zeros(3), (*notes, "bones of a plain adult: give a folder of body models for those of the shape")


NEARLY = 0.02
SOLE_M = 0.05
"""A foot joint of SMPL stands about so high above the sole."""


def on_the_floor(motion: HumanMotion) -> HumanMotion:
    """Raised or lowered by one constant, so that the lower foot joint rests where it does most: at sole height.

    One constant for the whole motion: steps stay steps. The height is the fifth percentile of the lower foot.
    """
    placed, _ = motion.in_world()
    feet = [HUMAN_JOINTS.index(side + part) for side in ("left_", "right_") for part in ("foot", "ankle")]
    lowest = placed[:, feet, 2].min(axis=1)
    shift = SOLE_M - float(np.percentile(lowest, 5))
    if abs(shift) < 1e-3:
        return motion
    pelvis = motion.pelvis_m + np.array([0.0, 0.0, shift])
    return replace(motion, pelvis_m=pelvis,
                   notes=(*motion.notes, f"moved by {shift:+.3f} m upwards, so that it stands on the floor"))


def sound(label: str, values: F64) -> F64:
    """Values (T, ...) as they are.

    Raises:
        Refused: some are not finite, or beyond anything a motion holds.
    """
    fits = (np.abs(values.reshape(len(values), -1)) < HUGE).all(axis=1)
    if not fits.all():
        raise Refused("human motion", expected=f"finite {label}", found=f"another in frame {int(np.argmin(fits))}",
                      what_to_do="repair or cut the motion")
    return values


def from_vectors(values: F64, joints: int) -> F64:
    """(T, 3 joints) or (T, joints, 3) rotation vectors as quaternions (T, joints, 4)."""
    return rotation.quat_from_vector_many(sound("rotation vectors", values).reshape(len(values), joints, 3))


def from_matrices(values: F64) -> F64:
    """(T, ..., 3, 3) rotation matrices as quaternions (T, ..., 4).

    Raises:
        Refused: some are no rotations, a mirror's for example.
    """
    square = sound("rotation matrices", values) @ np.swapaxes(values, -1, -2) - np.eye(3)
    is_proper = (np.cross(values[..., 0, :], values[..., 1, :]) * values[..., 2, :]).sum(axis=-1) > 0
    fits = ((np.abs(square) < NEARLY).all(axis=(-1, -2)) & is_proper).reshape(len(values), -1)
    if not fits.all():
        frame = int(np.argmin(fits.all(axis=1)))
        raise Refused("human motion", expected="rotation matrices, orthonormal within 0.02",
                      found=f"another in frame {frame}", what_to_do="check that the file keeps rotations in them")
    return rotation.quat_from_matrix_many(values)


def joint_rotations(what: str, value: Any, key: str, joints: tuple[int, ...]) -> F64:
    """Rotations (T, n, 4) of one of several counts of joints, as vectors or matrices, with or without a batch of one.

    Raises:
        Refused: another shape.
    """
    array = unbatched(value)
    if array.dtype.kind in "fiu" and array.ndim >= 2 and len(array):
        size = array.size // len(array)
        if array.shape[-2:] == (3, 3) and array.ndim >= 3 and size in [9 * count for count in joints]:
            return from_matrices(array.astype(np.float64).reshape(len(array), -1, 3, 3))
        if size in [3 * count for count in joints] and array.ndim <= 3:
            return from_vectors(array.astype(np.float64), size // 3)
    counts = " or ".join(str(3 * count) for count in joints)
    raise Refused(what, expected=f"`{key}` of real numbers (T, {counts}), or as matrices",
                  found=f"{array.dtype} {array.shape}", what_to_do="export the motion again, or choose its format with "
                  "--from")


def places(what: str, value: Any, frames: int, key: str) -> F64:
    """(T, 3) of a file's translations, with or without an axis of one more."""
    array = unbatched(value)
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]
    return real(what, array, (frames, 3), key)


def unbatched(value: Any) -> npt.NDArray[Any]:
    """An array without a leading batch of one: no motion is a single frame."""
    array = np.asarray(value) if not isinstance(value, (dict, str)) else np.zeros(0)
    return array[0] if array.ndim >= 3 and array.shape[0] == 1 else array
