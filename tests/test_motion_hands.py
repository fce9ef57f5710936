"""Hand tracks: three states out of keypoints or poses, mirrored or not, merged into a motion."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.motion.content import ReadOptions
from export.motion.formats import read_motion
from export.motion.hands import LONGEST_GAP, bend_of_keypoints, bend_of_pose, states_of, with_hands
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HumanMotion
from tests import motion_files as files

WALK = files.walking()


def keypoints(bend_deg: float, *, is_mirrored: bool = False, turn: float = 0.7) -> np.ndarray:
    """(21, 3) float32 of a hand whose finger joints are all bent so far, turned somehow, off the camera."""
    points = np.zeros((21, 3))
    points[1:5] = [[0.02, -0.02, 0], [0.04, -0.04, 0], [0.06, -0.05, 0], [0.08, -0.06, 0]]
    for finger, first in enumerate((5, 9, 13, 17)):
        place, angle = np.array([0.09, 0.02 * finger - 0.03, 0]), 0.0
        way = place / np.linalg.norm(place)
        points[first] = place
        for joint, length in enumerate((0.04, 0.025, 0.02)):
            angle += np.radians(bend_deg)
            place = place + length * (np.cos(angle) * way + np.sin(angle) * np.array([0, 0, -1.0]))
            points[first + joint + 1] = place
    points = rotation.rotate_many(rotation.quat_from_vector_many(np.full(3, turn)), points) + np.array([0.1, 0.2, 3])
    return (points * [-1, 1, 1] if is_mirrored else points).astype(np.float32)


def pose(bend_deg: float, *, is_mirrored: bool = False) -> np.ndarray:
    vectors = np.tile([0.02, 0.03, np.radians(bend_deg)], (15, 1))
    if is_mirrored:  # as the sheet has it: negate all, then x again
        vectors = -vectors * [-1, 1, 1]
    return vectors


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize(("bend", "state"), [(5, 0), (40, 1), (75, 2)])
def test_a_mirrored_hand_is_as_bent_as_another(bend: float, state: int, is_mirrored: bool) -> None:
    for found in (bend_of_keypoints(keypoints(bend, is_mirrored=is_mirrored)),
                  bend_of_pose(pose(bend, is_mirrored=is_mirrored)),
                  bend_of_pose(files.matrices(rotation.quat_from_vector_many(pose(bend, is_mirrored=is_mirrored))))):
        assert np.degrees(found) == pytest.approx(bend, abs=1)
        assert states_of(np.array([found]))[0] == state


def test_a_hand_at_the_edge_does_not_flicker() -> None:
    edge = np.radians(25 + 3 * (-1.0) ** np.arange(40))
    assert len(set(states_of(edge))) == 1
    sweep = np.radians([0, 28, 32, 28, 22, 19, 0])
    assert states_of(sweep).tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert states_of(np.radians([90, 52, 48, 58, 62])).tolist() == [2, 2, 1, 1, 2]


def test_a_hand_out_of_sight_is_held_for_a_quarter_of_a_second_and_then_not_known() -> None:
    bend = np.full(30, np.nan)
    bend[3] = np.radians(80)
    states = states_of(bend)
    assert states.tolist() == [-1] * 3 + [2] * (1 + LONGEST_GAP) + [-1] * (26 - LONGEST_GAP)


def frames(kind: str) -> Any:
    """Left opens when right closes, at frame 16; in a layout of one of the programs."""
    bends = [(75, 5) if k < 16 else (5, 75) for k in range(WALK.frames)]
    if kind == "a dictionary a frame":
        return {f"{k:06d}.jpg": {
            "right": np.array([0.0, 1.0]), "pred_mano_params": {"hand_pose": np.zeros((2, 15, 3, 3))},
            "pred_keypoints_3d": np.stack([keypoints(left, is_mirrored=True), keypoints(right)]),
        } for k, (left, right) in enumerate(bends)}
    if kind == "wilor-mini":
        return [[{"is_right": flag, "wilor_preds": {"hand_pose": pose(bend, is_mirrored=flag < 0.5)[None],
                                                    "global_orient": np.zeros((1, 1, 3))}}
                 for flag, bend in ((1.0, right), (0.0, left))] for left, right in bends]
    rows = [(k, flag, bend) for k, pair in enumerate(bends) for flag, bend in zip((0, 1), pair, strict=True)]
    return {"frame": np.array([row[0] for row in rows]), "right": np.array([row[1] for row in rows]),
            "pred_keypoints_3d": np.stack([keypoints(row[2], is_mirrored=not row[1]) for row in rows])}


@pytest.mark.parametrize("kind", ["a dictionary a frame", "wilor-mini", "rows with frame numbers"])
def test_left_is_left_in_every_layout(kind: str, tmp_path: Path) -> None:
    (tmp_path / "hands.pkl").write_bytes(pickle.dumps(frames(kind)))
    path = files.amass_smplh(tmp_path / "a.npz", WALK)
    motion = read_motion(path, None, ReadOptions(hands=tmp_path / "hands.pkl"))
    assert isinstance(motion, HumanMotion)
    assert motion.hand_states is not None
    assert motion.hand_states.tolist() == [[2, 0]] * 16 + [[0, 2]] * 15


def test_hands_of_another_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "h.pkl").write_bytes(pickle.dumps(frames("wilor-mini")[:9]))
    with pytest.raises(Refused, match="31 frames"):
        with_hands(WALK, tmp_path / "h.pkl")


@pytest.mark.parametrize("data", [{}, [], {"right": [1]}, [{"right": "x"}], [[1, 2]], {"a": {"right": np.ones(2)}},
                                  [{"right": np.ones(1), "pred_keypoints_3d": np.full((1, 21, 3), np.nan)}]])
def test_what_holds_no_hands_is_refused(data: Any, tmp_path: Path) -> None:
    (tmp_path / "h.pkl").write_bytes(pickle.dumps(data))
    with pytest.raises(Refused, match="hand"):
        with_hands(WALK, tmp_path / "h.pkl")
