"""Hand tracks of WiLoR: three states a hand, to go with a human's motion of the same video.

rolpotamias/WiLoR issues 1, 18 and 33 (and wilor-mini issue 5) show what programs keep: a record a frame with `right`
or `is_right` a hand and `pred_keypoints_3d` (n, 21, 3), or `pred_mano_params` / `hand_pose` (n, 15, 3, 3) or
(n, 15, 3). A left hand comes mirrored, as if it were a right one; how far fingers are bent is the same in a mirror, and
that is all that is used here: the mean bend of the twelve joints of the four fingers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.content import Content, as_json, read_content
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

F64 = npt.NDArray[np.float64]
FINGERS = tuple(tuple([0, *range(first, first + 4)]) for first in (5, 9, 13, 17))
"""Keypoints of index, middle, ring and little finger, each from the wrist on; 1 to 4 are the thumb's."""
OPEN_RAD, CLOSED_RAD = np.radians(25.0), np.radians(55.0)
"""Mean bends between the three states: ours; a flat hand has about 0 to 15 degrees, a fist 70 to 85."""
MARGIN_RAD = np.radians(5.0)
"""A state is left this far beyond where it is entered."""
LONGEST_GAP = 8
"""Frames without a hand that its last state covers: a quarter of a second of video."""
MOST_FRAMES = 1_000_000
_FLAGS = ("right", "is_right")


def with_hands(motion: HumanMotion, path: Path) -> HumanMotion:
    """A motion with the hands of a file that was made of the same frames.

    Raises:
        Refused: the file holds no hands, or for less than half of the motion.
    """
    states = hand_states_of(f"hand tracks {path.name}", read_content(path))
    if not 0.5 * motion.frames <= len(states) <= 2 * motion.frames:
        raise Refused(f"hand tracks {path.name}", expected=f"about the motion's {motion.frames} frames",
                      found=f"{len(states)}", what_to_do="give the tracks of the same video at the same rate")
    out = np.full((motion.frames, 2), -1, np.int8)
    out[: len(states)] = states[: motion.frames]
    known = (out >= 0).mean(axis=0)
    note = f"hands of {path.name}: left known in {known[0]:.0%} of the frames, right in {known[1]:.0%}"
    return replace(motion, hand_states=out, notes=(*motion.notes, note))


def hand_states_of(what: str, content: Content) -> npt.NDArray[np.int8]:
    """(T, 2) states of left and right, indices of HAND_STATES, -1 where nothing is known."""
    bends = _bends(what, content)
    return np.stack([states_of(bends[:, side]) for side in (0, 1)], axis=1)


def states_of(bend_rad: F64) -> npt.NDArray[np.int8]:
    """(T,) states of a hand's mean bend; NaN where it was not seen. A state that is entered is not left at once."""
    out = np.full(len(bend_rad), -1, np.int8)
    state, unseen = -1, 0
    for frame, bend in enumerate(bend_rad):
        if np.isnan(bend):
            unseen += 1
            state = state if unseen <= LONGEST_GAP else -1
        else:
            unseen = 0
            low, high = OPEN_RAD, CLOSED_RAD
            if state >= 0:
                low += MARGIN_RAD if state == 0 else -MARGIN_RAD
                high += -MARGIN_RAD if state == 2 else MARGIN_RAD
            state = 0 if bend < low else 2 if bend > high else 1
        out[frame] = state
    return out


def bend_of_keypoints(points: F64) -> float:
    """Mean angle between neighbouring bones of the four fingers, rad; (21, 3), mirrored or not."""
    angles = []
    for finger in FINGERS:
        bones = np.diff(points[list(finger)], axis=0)
        bones = bones / np.maximum(np.linalg.norm(bones, axis=1, keepdims=True), 1e-9)
        angles.append(np.arccos(np.clip((bones[1:] * bones[:-1]).sum(axis=1), -1, 1)))
    return float(np.mean(angles))


def bend_of_pose(pose: F64) -> float:
    """Mean angle of the first twelve of MANO's fifteen joints (all but the thumb's), rad; (15, 3, 3) or vectors."""
    vectors = pose if pose.ndim == 2 else rotation.rotation_vector_many(rotation.quat_from_matrix_many(pose))
    return float(np.linalg.norm(vectors[:12], axis=1).mean())


def _bends(what: str, content: Content) -> F64:
    """(T, 2) mean bends of left and right; NaN where there is none."""
    records = _records(content.data)
    if not any(_hands(record) for record in records):
        raise Refused(what, expected="a record a frame with `right` and `pred_keypoints_3d` or `hand_pose`",
                      found=as_json(content), what_to_do="write WiLoR's outputs of every frame, in order")
    out = np.full((len(records), 2), np.nan)
    for frame, record in enumerate(records):
        for is_right, bend in _hands(record):
            if np.isnan(out[frame, is_right]):  # of two that claim to be one hand, the first
                out[frame, is_right] = bend
    return out


def _records(data: Any) -> list[Any]:
    """What there is of each frame; numbered frames in their order, those between with nothing."""
    if isinstance(data, dict) and any(flag in data for flag in _FLAGS):
        numbers = np.asarray(data["frame"]).reshape(-1) if "frame" in data else np.zeros(0)
        flags = np.asarray(data[next(flag for flag in _FLAGS if flag in data)]).reshape(-1)
        if numbers.dtype.kind not in "iu" or len(numbers) != len(flags) or not numbers.size:
            return [data]
        last = int(numbers.max())
        if numbers.min() < 0 or last > MOST_FRAMES:
            return []
        return [[_row(data, int(row)) for row in np.flatnonzero(numbers == number)] for number in range(last + 1)]
    if isinstance(data, dict):
        return [data[key] for key in sorted(data, key=lambda key: (len(str(key)), str(key)))]  # 9 before 10
    return data if isinstance(data, list) else []


def _row(data: dict[Any, Any], row: int) -> dict[Any, Any]:
    out: dict[Any, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            out[key] = _row(value, row)
        elif isinstance(value, np.ndarray) and value.ndim and len(value) > row:
            out[key] = value[row : row + 1]
    return out


def _hands(record: Any) -> list[tuple[int, float]]:
    """(1 for right, bend) of each hand in a frame's record, a list of hands or one dictionary of arrays."""
    if isinstance(record, list):
        return [hand for item in record for hand in _hands(item)]
    if not isinstance(record, dict):
        return []
    flags = next((np.asarray(record[flag]).reshape(-1) for flag in _FLAGS if flag in record), None)
    inner = record.get("wilor_preds", record)
    if flags is None or not isinstance(inner, dict) or flags.dtype.kind not in "biuf":
        return []
    mano = inner.get("pred_mano_params", inner)
    pose = mano.get("hand_pose") if isinstance(mano, dict) else None
    out = []
    for row, flag in enumerate(flags):
        bend = _bend(inner.get("pred_keypoints_3d"), row, (21, 3), bend_of_keypoints)
        bend = _bend(pose, row, (15, 3, 3), bend_of_pose) if bend is None else bend
        bend = _bend(pose, row, (15, 3), bend_of_pose) if bend is None else bend
        if bend is not None:
            out.append((int(flag > 0.5), bend))
    return out


def _bend(values: Any, row: int, shape: tuple[int, ...], measure: Any) -> float | None:
    """Of one hand's array, if it is one of that shape."""
    if values is None or isinstance(values, (dict, str)):
        return None
    array = np.asarray(values)
    array = array[None] if array.shape == shape else array
    if array.dtype.kind != "f" or array.shape[1:] != shape or row >= len(array) or not np.isfinite(array[row]).all():
        return None
    return float(measure(array[row].astype(np.float64)))
