"""TRAM's tracks: SMPL matrices in the camera's axes (yufu-wang/tram issues 25, 27, 28).

A camera file beside it (`camera.npy` with `world_cam_R`, `world_cam_T`, or `pred_cam_R`, `pred_cam_T`) takes them into
TRAM's world; without one the motion is one in place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, read_content, real
from export.motion.formats.phalp import CAMERA_NOTE, CAMERA_TO_Y_UP
from export.motion.smpl import from_matrices, smpl_motion
from runtime import rotation
from runtime.human_motion import HumanMotion

SUMMARY = "npy of TRAM (`hps_track_*.npy`): `pred_rotmat` with `pred_trans`"
FPS = 30.0
CAMERA = "camera.npy"


def recognise(content: Content) -> bool:
    """By its keys."""
    return content.kind in ("npy", "pickle") and {"pred_rotmat", "pred_trans"} <= content.keys


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion, in the world where a camera file lies beside."""
    what, data = f"TRAM motion {content.path.name}", content.data
    matrices = real(what, data["pred_rotmat"], (None, 24, 3, 3), "pred_rotmat")
    frames = len(matrices)
    quats = from_matrices(matrices)
    trans = np.asarray(data["pred_trans"], np.float64).reshape(-1, 3)
    betas = np.asarray(data.get("pred_shape", np.zeros((1, 10))), np.float64)
    betas = betas.reshape(-1, betas.shape[-1]).mean(axis=0)
    fps = rate_of(what, options, None, FPS)
    numbers = np.asarray(data.get("frame", np.arange(frames)), np.int64).reshape(-1)
    camera = _camera(content.path.parent)
    if camera is None or len(trans) != frames or numbers.max(initial=-1) >= len(camera[0]) or len(numbers) != frames:
        return smpl_motion(
            content.path.stem, fps, options,
            root_wxyz=rotation.multiply_many(np.broadcast_to(CAMERA_TO_Y_UP, quats[:, 0].shape), quats[:, 0]),
            body_wxyz=quats[:, 1:], translation=np.zeros((frames, 3)), up="y", betas=betas, has_place=False,
            notes=(CAMERA_NOTE,),
        )
    turn, move = from_matrices(camera[0][numbers]), camera[1][numbers]
    return smpl_motion(
        content.path.stem, fps, options, root_wxyz=rotation.multiply_many(turn, quats[:, 0]), body_wxyz=quats[:, 1:],
        translation=rotation.rotate_many(turn, trans) + move, up=options.up or "y", betas=betas,
        notes=(f"world of the camera in {CAMERA}, its y taken upwards",),
    )


def _camera(folder: Path) -> tuple[Any, Any] | None:
    """Rotations (T, 3, 3) and places (T, 3) of the camera in its world, if they lie there."""
    path = folder / CAMERA
    if not path.is_file():
        return None
    data = read_content(path).data
    for turn, move in (("world_cam_R", "world_cam_T"), ("pred_cam_R", "pred_cam_T")):
        if isinstance(data, dict) and {turn, move} <= set(data):
            return np.asarray(data[turn], np.float64), np.asarray(data[move], np.float64)
    return None
