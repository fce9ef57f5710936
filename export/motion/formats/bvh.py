"""BVH: what CMU, LAFAN1, MotionBuilder, Mixamo and others write, as a human's motion.

A file says neither its unit nor its axes nor its pose at rest. The pose at rest is a T: the first frame if it is one
(then it is no motion and is left out), else LAFAN1's own, else the pose with all angles zero; that pose may be an A,
whose arms are then raised. With G the rotation of a joint in the file's world, D(t) = G(t) G(rest)^-1 turns rest into
frame t, and SMPL's local rotation is D(parent)^-1 D(joint), both in the axes of the figure at rest.
"""

from __future__ import annotations

import numpy as np

from export.motion.bvh_file import Bvh, parse_bvh
from export.motion.bvh_names import choose_joints
from export.motion.bvh_rest import F64, Rest, find_rest, rest_offsets
from export.motion.content import Content, ReadOptions
from export.motion.smpl import Y_UP_TO_Z_UP, on_the_floor
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, HumanMotion, Skeleton, make_human_motion

SUMMARY = "BVH with joints named as CMU, LAFAN1, MotionBuilder, Mixamo or Daz name them"
UNITS_M = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001, "inches": 0.0254,
           "CMU's native units (0.45 inches to the unit)": 0.0254 / 0.45}
LEGS_M = (0.65, 1.0)
"""Thigh and shin of an adult: the unit in which a figure's are within is the file's."""
ADULT_M = 1.7
ENTRY_RAD_S, ENTRY_S = np.radians(1500), 0.1
"""A figure that leaves the T-pose faster than humans move (1,350 deg/s in 12 clips of CMU) is not in motion yet."""


def recognise(content: Content) -> bool:
    """By its kind."""
    return content.kind == "bvh"


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion."""
    what = f"BVH {content.path.name}"
    bvh = parse_bvh(what, content.data)
    chosen = choose_joints(what, bvh)
    rest = find_rest(what, bvh, chosen)
    scale, notes = _scale(bvh, rest)
    R, p = bvh.world(bvh.values[rest.first_frame :])
    up = options.up or _upwards(what, p, chosen.joints)
    notes += [rest.note] if rest.note else []
    notes += [] if options.up else [f"the file's {up} axis taken upwards"]
    turned = rotation.quat_from_matrix_many(_turned(R, rest))
    if up == "y":
        turned = rotation.multiply_many(Y_UP_TO_Z_UP, turned)
    local = turned.copy()
    for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
        local[:, joint] = rotation.multiply_many(rotation.conjugate_many(turned[:, parent]), turned[:, joint])
    place = p[:, chosen.joints["pelvis"]] * scale
    if up == "y":
        place = rotation.rotate_many(Y_UP_TO_Z_UP, place)
    fps = options.fps or rate_of_frame_time(bvh.frame_s)
    skip = _entry_frames(local, fps) if rest.first_frame else 0
    notes += [f"{skip} more frames left out in which the figure leaves the T-pose"] if skip else []
    skeleton = options.skeleton or Skeleton(rest_offsets(bvh, chosen, rest) * scale, "the file's own bones")
    return on_the_floor(make_human_motion(content.path.stem, fps, local[skip:], place[skip:], skeleton,
                                          notes=tuple(notes)))


def rate_of_frame_time(frame_s: float) -> float:
    """Frames a second; times are written with few digits (0.00833333, 0.033333), so a whole rate is taken as meant."""
    whole = round(1 / frame_s)
    return float(whole) if abs(1 / whole - frame_s) < 6e-7 else 1 / frame_s


def _turned(R: F64, rest: Rest) -> F64:
    """(T, 24, 3, 3) what takes the rest axes into the file's world at each joint."""
    out = np.empty((len(R), len(HUMAN_JOINTS), 3, 3))
    for joint, (source, at_rest) in enumerate(zip(rest.sources, rest.rotations, strict=True)):
        out[:, joint] = R[:, source] @ at_rest.T @ rest.axes
    return out


def _scale(bvh: Bvh, rest: Rest) -> tuple[float, list[str]]:
    """Metres to the file's unit, and what it is taken for: by the legs, else by the whole figure."""
    for name, size in UNITS_M.items():
        if LEGS_M[0] <= rest.legs * size <= LEGS_M[1]:
            return size, [f"the file's unit is taken for {name}: legs of {rest.legs * size:.2f} m"]
    size = ADULT_M / rest.height
    return size, [f"the file's unit is unknown: the figure is taken to be {ADULT_M} m tall, {size * 100:.3g} cm a unit"]


def _upwards(what: str, p: F64, joints: dict[str, int]) -> str:
    """The axis along which heads are above feet, over most of the frames."""
    feet = (p[:, joints["left_ankle"]] + p[:, joints["right_ankle"]]) / 2
    mean = np.median(p[:, joints["head"]] - feet, axis=0)
    axis = int(np.argmax(np.abs(mean)))
    if axis == 0 or mean[axis] < 0.8 * np.linalg.norm(mean):
        raise Refused(what, expected="a figure that stands along y or z most of the time",
                      found=f"head above feet by {np.round(mean, 2).tolist()}", what_to_do="say which with --up y or z")
    return "xyz"[axis]


def _entry_frames(local: F64, fps: float) -> int:
    """How many frames at the start are faster than humans are."""
    most = min(int(ENTRY_S * fps) + 1, len(local) - 3)
    if most < 1:
        return 0
    turn = rotation.multiply_many(rotation.conjugate_many(local[:most]), local[1 : most + 1])
    speed = np.linalg.norm(rotation.rotation_vector_many(turn), axis=-1).max(axis=1) * fps
    fast = np.flatnonzero(speed > ENTRY_RAD_S)
    return int(fast[-1]) + 1 if fast.size else 0
