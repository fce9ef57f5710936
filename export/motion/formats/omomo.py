"""OMOMO's motions: as InterMimic's tensor of 591 columns (global rotations), or raw (`pose_body` in a joblib file).

In the tensor, quaternions are x, y, z, w, joints stand depth first, and SMPL's base rotation has been taken out of the
bodies' rotations: multiplying from the right by (.5, .5, .5, .5) puts it back (amazon-far/holosoma `src/utils.py` @
fc600e7). The world is z-up, 30 frames a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.smpl import from_vectors, on_the_floor, smpl_motion, sound
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, Skeleton, make_human_motion
from runtime.human_motion import HumanMotion as _Human

SUMMARY = "pt of OMOMO through InterMimic: one tensor (T, 591); or OMOMO's own .p with `pose_body`, `root_orient`"
COLUMNS, BODIES, FPS = 591, 52, 30.0
BASE = np.array([0.5, 0.5, 0.5, 0.5])
_TREE = (
    "pelvis", "left_hip", "left_knee", "left_ankle", "left_foot", "right_hip", "right_knee", "right_ankle",
    "right_foot", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "left_shoulder", "left_elbow",
    "left_wrist", *("left finger",) * 15, "right_collar", "right_shoulder", "right_elbow", "right_wrist",
    *("right finger",) * 15,
)


def recognise(content: Content) -> bool:
    """By its width, or the raw form's keys."""
    if isinstance(content.data, np.ndarray):
        return content.data.ndim == 2 and content.data.shape[1] == COLUMNS
    return content.kind == "pickle" and {"pose_body", "root_orient", "trans"} <= set(_raw(content.data) or ())


def _raw(data: Any) -> dict[Any, Any] | None:
    """The sequence of a raw file that holds one."""
    if isinstance(data, dict) and "pose_body" not in data and len(data) == 1:
        data = next(iter(data.values()))
    return data if isinstance(data, dict) else None


def read(content: Content, options: ReadOptions) -> _Human:
    """The motion."""
    what = f"OMOMO motion {content.path.name}"
    fps = rate_of(what, options, None, FPS)
    if not isinstance(content.data, np.ndarray):
        return _read_raw(what, content, fps, options)
    rows = sound("numbers", real(what, content.data, (None, COLUMNS), "tensor"))
    places = rows[:, 162:318].reshape(-1, BODIES, 3)
    quats = rows[:, 383:591].reshape(-1, BODIES, 4)[..., [3, 0, 1, 2]]
    norms = np.linalg.norm(quats, axis=-1, keepdims=True)
    if (np.abs(norms - 1) > 1e-2).any():
        raise Refused(what, expected="unit quaternions in columns 383 to 590", found="others",
                      what_to_do="check that it is InterMimic's layout")
    turned = rotation.multiply_many(quats / norms, np.broadcast_to(BASE, quats.shape))
    local = np.zeros((len(rows), len(HUMAN_JOINTS), 4))
    local[..., 0] = 1
    offsets = np.zeros((len(HUMAN_JOINTS), 3))
    for joint, (name, parent) in enumerate(zip(HUMAN_JOINTS, HUMAN_PARENTS, strict=True)):
        if name not in _TREE:
            continue
        at = _TREE.index(name)
        if parent < 0:
            local[:, joint] = turned[:, at]
            continue
        above = turned[:, _TREE.index(HUMAN_JOINTS[parent])]
        local[:, joint] = rotation.multiply_many(rotation.conjugate_many(above), turned[:, at])
        bone = places[:, at] - places[:, _TREE.index(HUMAN_JOINTS[parent])]
        offsets[joint] = np.median(rotation.rotate_many(rotation.conjugate_many(above), bone), axis=0)
    for side in ("left", "right"):
        hand = HUMAN_JOINTS.index(f"{side}_hand")
        finger = _TREE.index(f"{side} finger")
        above = turned[:, _TREE.index(f"{side}_wrist")]
        bone = places[:, finger] - places[:, _TREE.index(f"{side}_wrist")]
        offsets[hand] = np.median(rotation.rotate_many(rotation.conjugate_many(above), bone), axis=0)
    skeleton = options.skeleton or Skeleton(offsets, "the file's own bodies")
    return on_the_floor(make_human_motion(content.path.stem, fps, local, places[:, 0], skeleton))


def _read_raw(what: str, content: Content, fps: float, options: ReadOptions) -> _Human:
    data = _raw(content.data) or {}
    body = np.asarray(data["pose_body"], np.float64)
    body = real(what, body.reshape(len(body), -1), (None, 63), "pose_body")
    root = real(what, np.asarray(data["root_orient"], np.float64).reshape(-1, 3), (len(body), 3), "root_orient")
    betas = np.asarray(data.get("betas", np.zeros(16)), np.float64)
    return smpl_motion(
        content.path.stem, fps, options, root_wxyz=from_vectors(root, 1)[:, 0],
        body_wxyz=from_vectors(body, 21), translation=real(what, data["trans"], (len(body), 3), "trans"),
        up=options.up or "z", betas=betas.reshape(-1), model="smplh",
    )
