"""Takes on disk: a video of each, as our films are written, and what was true in its frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.imagine.film import RATE_HZ, SIZE
from export.imagine.mannequin import CAMERA, mannequin_mjcf, poses
from export.imagine.motion_estimator.takes import FRAMES, Take, draw
from export.motion.actor import FPS
from export.motion.video import save_mp4, video_frames
from firmware_bridge.picture import render_poses, seen_bodies
from runtime.human_motion import HumanMotion, Skeleton, make_human_motion

F64 = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
HELD_OUT_FRAMES = 150
"""Six seconds of a judged video are enough; some actions take twenty."""
_TURNING_S = 0.16
"""After a hand was told another state it shows neither."""


@dataclass(frozen=True)
class Truth:
    """What was true in a take's frames.

    Attributes:
        kind: the sort of motion. motion: at the video's rate (of a take to learn from: frames far apart).
        shape: (4,) of the body. view: the camera.
        clear: (T, 2) whether a hand has the state it was told; on the way there it has neither.
        seen: (T, 2) whether the camera sees a hand's middle.
    """

    kind: str
    motion: HumanMotion
    shape: F64
    position_m: F64
    axes: F64
    fovy_rad: float
    clear: npt.NDArray[np.bool_]
    seen: npt.NDArray[np.bool_]


def folder_of(place: Path, *, held_out: bool) -> Path:
    """Where takes of a sort lie."""
    return place / ("held-out" if held_out else "takes")


def shoot(take: Take, path: Path, *, whole: bool) -> None:
    """Renders a take to `path`.mp4 and its truth to `path`.npz, which is there last.

    Args:
        whole: frames that follow each other, as a video to be judged; else FRAMES, far apart.
    """
    motion = take.motion
    step = round(FPS / RATE_HZ)
    rows = (np.arange(0, motion.frames, step)[:HELD_OUT_FRAMES] if whole
            else np.unique(np.linspace(0, motion.frames - 1, FRAMES).round().astype(int)))
    every = poses(motion, take.around)
    text = mannequin_mjcf(motion.skeleton, take.around)
    images = render_poses(text, list(every[rows]), SIZE, CAMERA)
    seen = seen_bodies(text, list(every[rows]), CAMERA, ("left_hand", "right_hand"))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mp4(path.with_suffix(".mp4"), images, RATE_HZ)
    partial = path.with_suffix(".partial.npz")
    view = take.around.view
    np.savez(partial, kind=np.array(take.kind), local_wxyz=motion.local_wxyz[rows].astype(np.float32),
             pelvis_m=motion.pelvis_m[rows], offsets_m=motion.skeleton.offsets_m, shape=take.shape,
             hand_states=_states(motion)[rows], clear=_clear(_states(motion))[rows], seen=seen,
             position_m=np.array(view.position_m), axes=view.axes, fovy_rad=np.array(view.fovy_rad))
    os.replace(partial, path.with_suffix(".npz"))


def _states(motion: HumanMotion) -> npt.NDArray[np.int8]:
    return np.zeros((motion.frames, 2), np.int8) if motion.hand_states is None else motion.hand_states


def _clear(states: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    out = np.ones(states.shape, bool)
    after = round(_TURNING_S * FPS)
    for frame, hand in zip(*np.nonzero(np.diff(states, axis=0)), strict=True):
        out[frame + 1:frame + 1 + after, hand] = False
    return out


def shoot_all(
    place: Path, seed: int, count: int, say: Callable[[int], None], *, held_out: bool = False, workers: int = 1
) -> None:
    """Every take up to a number that is not there yet; what is there is kept. More than one of `workers`: processes."""
    folder = folder_of(place, held_out=held_out)
    missing = [number for number in range(count) if not _path(folder, number).with_suffix(".npz").exists()]
    done = count - len(missing)
    say(done)
    if workers == 1:
        for number in missing:
            _shoot_numbered(folder, seed, number, held_out)
            done += 1
            say(done)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = [pool.submit(_shoot_numbered, folder, seed, number, held_out) for number in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                say(done)
        finally:
            pool.shutdown(cancel_futures=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}"


def _shoot_numbered(folder: Path, seed: int, number: int, held_out: bool) -> None:
    shoot(draw(seed, number, held_out=held_out), _path(folder, number), whole=held_out)


def load_truth(path: Path) -> Truth:
    """Of a take's npz."""
    with np.load(path, allow_pickle=False) as data:
        motion = make_human_motion(path.stem, RATE_HZ, data["local_wxyz"].astype(np.float64), data["pelvis_m"],
                                   Skeleton(data["offsets_m"], "of a take"), hand_states=data["hand_states"])
        return Truth(str(data["kind"]), motion, data["shape"], data["position_m"], data["axes"],
                     float(data["fovy_rad"]), data["clear"], data["seen"])


def load_images(path: Path) -> Image:
    """(T, h, w, 3) of a take's video."""
    return np.stack(list(video_frames(path.with_suffix(".mp4"))))
