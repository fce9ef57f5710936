"""PHALP's and 4DHumans' results: a dictionary a frame, with SMPL matrices of each person in the camera's axes.

shubham-goel/4D-Humans issues 100 and 153. Nothing says where the person is in the world: the motion is one in place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of
from export.motion.smpl import from_matrices, smpl_motion
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

SUMMARY = "pkl of PHALP or 4DHumans: a dictionary a frame with a list `smpl`"
FPS = 30.0
CAMERA_TO_Y_UP = np.array([0.0, 1.0, 0.0, 0.0])
"""A camera's y points down and its z away: half a turn about x."""
CAMERA_NOTE = "seen from a camera, which is taken to be level; where the person went is not known"


def recognise(content: Content) -> bool:
    """By the keys of its frames."""
    data = content.data
    if content.kind != "pickle" or not isinstance(data, dict) or not data:
        return False
    first = next(iter(data.values()))
    return isinstance(first, dict) and "smpl" in first and isinstance(first["smpl"], list)


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion of one person, in place."""
    what = f"PHALP motion {content.path.name}"
    frames = [frame for _, frame in sorted(content.data.items(), key=lambda item: (len(str(item[0])), str(item[0])))]
    roots, bodies, last, lost = [], [], None, 0
    track = _track(what, frames, options)
    for frame in frames:
        person = _person(frame, track)
        if person is None and last is None:
            continue  # not there yet
        lost += person is None
        last = person or last
        assert last is not None
        roots.append(np.asarray(last["global_orient"], np.float64).reshape(3, 3))
        body = np.asarray(last["body_pose"], np.float64)
        if body.size != 23 * 9:
            raise Refused(what, expected="`body_pose` (23, 3, 3)", found=f"{body.shape}",
                          what_to_do="export the result again")
        bodies.append(body.reshape(23, 3, 3))
    root = from_matrices(np.stack(roots))
    notes = (CAMERA_NOTE, *([f"{lost} frames without the person repeat the one before"] if lost else []))
    return smpl_motion(
        content.path.stem, rate_of(what, options, None, FPS), options,
        root_wxyz=rotation.multiply_many(np.broadcast_to(CAMERA_TO_Y_UP, root.shape), root),
        body_wxyz=from_matrices(np.stack(bodies)), translation=np.zeros((len(root), 3)), up="y",
        has_place=False, notes=notes,
    )


def _ids(frame: dict[str, Any]) -> list[str]:
    given = frame.get("tid", range(len(frame.get("smpl", []))))
    return [str(int(np.asarray(number).reshape(-1)[0])) for number in given]


def _track(what: str, frames: list[dict[str, Any]], options: ReadOptions) -> str:
    """The person to take: the only one, or the one asked for."""
    seen = sorted({name for frame in frames for name in _ids(frame)[: len(frame.get("smpl", []))]})
    if not seen:
        raise Refused(what, expected="a person", found="nobody", what_to_do="look at the video's detections")
    if options.track is None and len(seen) > 1:
        raise Refused(what, expected="one person", found=f"tracks {', '.join(seen)}", what_to_do="choose with --track")
    if options.track is not None and options.track not in seen:
        raise Refused("--track", expected=f"among {', '.join(seen)}", found=options.track,
                      what_to_do="choose a track that is there")
    return options.track or seen[0]


def _person(frame: dict[str, Any], track: str) -> dict[str, Any] | None:
    people = frame.get("smpl", [])
    found = [person for name, person in zip(_ids(frame), people, strict=False) if name == track]
    return found[0] if found and isinstance(found[0], dict) else None
