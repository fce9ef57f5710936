"""WHAM's results: tracks of persons with SMPL poses in the camera's and in a y-up world; 30 frames a second usually.

The pickle (`wham_output.pkl`) has `pose_world`, `trans_world` a track; the program's interface gives matrices
(`poses_body`, `poses_root_world`). yohanshin/WHAM issues 73, 77, 114: one person may be split over several tracks, and
the path starts anew with each chunk, so chunks are joined where they follow each other, each moved to where the one
before it ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.content import Content, ReadOptions, as_json, rate_of, real
from export.motion.smpl import from_matrices, joint_rotations, places, smpl_motion, sound
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

F64 = npt.NDArray[np.float64]
SUMMARY = "pkl of WHAM: tracks with `pose_world` and `trans_world`, or `poses_body` and `poses_root_world`"
FPS = 30.0
MOST_GAPS = 10
JUMP_M = 0.5
"""A path that moves further in a frame has begun anew."""


def recognise(content: Content) -> bool:
    """By the keys of a track."""
    return content.kind in ("pickle", "npy") and bool(_tracks(content.data))


def _tracks(data: Any) -> dict[str, dict[str, Any]]:
    if isinstance(data, list):
        data = dict(enumerate(data))
    if not isinstance(data, dict):
        return {}
    if _is_track(data):
        return {"0": data}
    return {str(key): track for key, track in data.items() if _is_track(track)}


def _is_track(track: Any) -> bool:
    return isinstance(track, dict) and ({"pose_world", "trans_world"} <= set(track)
                                        or {"poses_body", "poses_root_world", "trans_world"} <= set(track))


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion of one person."""
    what, tracks = f"WHAM motion {content.path.name}", _tracks(content.data)
    if not tracks:
        raise Refused(what, expected="tracks with `pose_world` and `trans_world`", found=as_json(content),
                      what_to_do="choose another format with --from")
    if options.track is None and len(tracks) > 1:
        chosen = _one_person(tracks)
        if not chosen:
            raise Refused(what, expected="one person", found=f"tracks {', '.join(sorted(tracks))} at the same time",
                          what_to_do="choose with --track, several joined by +, e.g. --track 0+2")
    else:
        chosen = (options.track or next(iter(tracks))).split("+")
    unknown = [name for name in chosen if name not in tracks]
    if unknown:
        raise Refused("--track", expected=f"among {', '.join(sorted(tracks))}", found=", ".join(unknown),
                      what_to_do="choose a track that is there")
    parts = [_track(what, tracks[name]) for name in chosen]
    parts.sort(key=lambda part: int(part[3][0]))
    root, body, place, ids = (np.concatenate(column) for column in zip(*parts, strict=True))
    notes: list[str] = [f"joined tracks {', '.join(chosen)}"] if len(chosen) > 1 else []
    if (np.diff(ids) <= 0).any():
        raise Refused(what, expected="tracks one after another", found="tracks that overlap",
                      what_to_do="choose with --track")
    if ids[-1] - ids[0] > MOST_GAPS * len(ids):
        raise Refused(what, expected=f"a person who is seen in one frame of {MOST_GAPS} at least",
                      found=f"{len(ids)} frames from {ids[0]} to {ids[-1]}", what_to_do="choose with --track")
    root, place, seams = _joined(root, place)
    notes += [f"the path began anew {seams} times and was joined"] if seams else []
    body, root, place, gaps = _filled(body, root, place, ids)
    notes += [f"{gaps} missing frames were filled"] if gaps else []
    betas = np.asarray(tracks[chosen[0]].get("betas", np.zeros(10)), np.float64)
    return smpl_motion(
        content.path.stem, rate_of(what, options, None, FPS), options, root_wxyz=root, body_wxyz=body,
        translation=place, up=options.up or "y", betas=betas.reshape(-1, betas.shape[-1]).mean(axis=0),
        notes=tuple(notes),
    )


def _one_person(tracks: dict[str, dict[str, Any]]) -> list[str]:
    """All tracks, where none is there at the same time as another; [] otherwise."""
    seen: set[int] = set()
    for track in tracks.values():
        ids = {int(number) for number in np.asarray(_ids(track)).reshape(-1)}
        if not ids or seen & ids:
            return []
        seen |= ids
    return list(tracks)


def _ids(track: dict[str, Any]) -> Any:
    return next((track[key] for key in ("frame_ids", "frame_id") if key in track), ())


def _track(what: str, track: dict[str, Any]) -> tuple[F64, F64, F64, npt.NDArray[np.int64]]:
    """Root, body, place and frame numbers of one track."""
    if "pose_world" in track:
        pose = joint_rotations(what, track["pose_world"], "pose_world", (24,))
        root, body = pose[:, 0], pose[:, 1:]
    else:
        matrices = np.asarray(track["poses_root_world"], np.float64)
        if matrices.size != 9 * len(matrices):
            raise Refused(what, expected="`poses_root_world` (T, 3, 3)", found=f"{matrices.shape}",
                          what_to_do="export the result again")
        root = from_matrices(matrices.reshape(-1, 3, 3))
        body = from_matrices(real(what, track["poses_body"], (len(root), 23, 3, 3), "poses_body"))
    place = sound("translations", places(what, track["trans_world"], len(root), "trans_world"))
    ids = np.asarray(_ids(track), np.int64).reshape(-1)
    return root, body, place, ids if len(ids) == len(root) else np.arange(len(root))


def _joined(root: F64, place: F64) -> tuple[F64, F64, int]:
    """A path without the jumps back to where a chunk begins: heading and place go on from the frame before."""
    root, place = root.copy(), place.copy()
    seams = np.flatnonzero(np.linalg.norm(np.diff(place, axis=0), axis=1) > JUMP_M) + 1
    for at in seams:
        turn = _heading(root[at - 1]) - _heading(root[at])
        about_y = rotation.quat_from_vector_many(np.array([0.0, turn, 0.0]))
        step = place[at - 1] - place[max(at - 2, 0)]
        moved = rotation.rotate_many(about_y, place[at:] - place[at])
        place[at:] = moved + place[at - 1] + step
        root[at:] = rotation.multiply_many(np.broadcast_to(about_y, root[at:].shape), root[at:])
    return root, place, len(seams)


def _heading(quat: F64) -> float:
    """About y, of the direction that z is turned to."""
    forward = rotation.rotate_many(quat, np.array([0.0, 0.0, 1.0]))
    return float(np.arctan2(forward[0], forward[2]))


def _filled(body: F64, root: F64, place: F64, ids: npt.NDArray[np.int64]) -> tuple[F64, F64, F64, int]:
    """Every frame from the first to the last; missing ones between their neighbours."""
    wanted = np.arange(ids[0], ids[-1] + 1)
    gaps = len(wanted) - len(ids)
    if not gaps:
        return body, root, place, 0
    low = np.searchsorted(ids, wanted, side="right") - 1
    high = np.minimum(low + 1, len(ids) - 1)
    span = np.maximum(ids[high] - ids[low], 1)
    s = (wanted - ids[low]) / span
    return (rotation.slerp_many(body[low], body[high], np.repeat(s[:, None], body.shape[1], axis=1)),
            rotation.slerp_many(root[low], root[high], s), place[low] + s[:, None] * (place[high] - place[low]), gaps)
