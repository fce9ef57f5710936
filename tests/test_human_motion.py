"""A human's motion: kinematics, what is refused, and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import (
    HUMAN_JOINTS,
    HUMAN_PARENTS,
    PLAIN,
    HumanMotion,
    load_human_motion,
    make_human_motion,
    save_human_motion,
)

UPRIGHT = rotation.quat_from_vector_many(np.array([np.pi / 2, 0, 0]))
"""Takes the rest axes (y up) into a z-up world."""


def random_motion(seed: int, frames: int = 7) -> HumanMotion:
    rng = np.random.default_rng(seed)
    local = rotation.quat_from_vector_many(rng.normal(0, 0.7, (frames, 24, 3)))
    return make_human_motion("random", 30, local, rng.normal(size=(frames, 3)))


def test_at_rest_it_stands_in_a_t_facing_along_minus_y() -> None:
    local = np.tile([1.0, 0, 0, 0], (3, 24, 1))
    local[:, 0] = UPRIGHT
    placed, _ = make_human_motion("rest", 30, local, np.zeros((3, 3))).in_world()
    at = dict(zip(HUMAN_JOINTS, placed[0], strict=True))
    assert at["head"][2] > 0.5 and at["left_foot"][2] < -0.8
    assert at["left_wrist"][0] > 0.6 and at["right_wrist"][0] < -0.6
    assert at["left_foot"][1] < at["left_ankle"][1] - 0.1  # toes point where it faces


@given(st.integers(0, 1000))
def test_bones_keep_their_length_and_hang_on_their_parents(seed: int) -> None:
    placed, turned = random_motion(seed).in_world()
    for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
        bone = rotation.rotate_many(rotation.conjugate_many(turned[:, parent]), placed[:, joint] - placed[:, parent])
        np.testing.assert_allclose(bone, np.tile(PLAIN.offsets_m[joint], (len(bone), 1)), atol=1e-12)


@given(st.integers(0, 1000))
def test_rotations_survive_their_other_forms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    v = rng.normal(size=(5, 3))
    v *= rng.uniform(0, np.pi, (5, 1)) / np.linalg.norm(v, axis=1, keepdims=True)
    q = rotation.quat_from_vector_many(v)
    np.testing.assert_allclose(rotation.rotation_vector_many(q), v, atol=1e-7)
    R = np.stack([rotation.rotate_many(q, np.eye(3)[axis]) for axis in range(3)], axis=-1)
    back = rotation.quat_from_matrix_many(R)
    np.testing.assert_allclose(np.abs((back * q).sum(axis=1)), 1, atol=1e-12)
    np.testing.assert_allclose(rotation.slerp_many(q[:1], q[1:2], np.array([0.3]))[0] @ rotation.slerp(q[0], q[1], 0.3)
                               , np.sign(rotation.slerp_many(q[:1], q[1:2], np.array([0.3]))[0]
                                         @ rotation.slerp(q[0], q[1], 0.3)), atol=1e-9)


@pytest.mark.parametrize("turn", [(np.pi, 0, 0), (0, np.pi, 0), (0, 0, np.pi), (0, 0, 0)])
def test_half_turns_survive_as_matrices(turn: tuple[float, float, float]) -> None:
    q = rotation.quat_from_vector_many(np.array(turn))
    R = np.stack([rotation.rotate_many(q, axis) for axis in np.eye(3)], axis=-1)
    assert abs(rotation.quat_from_matrix_many(R) @ q) == pytest.approx(1)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    motion = random_motion(3)
    hands = np.array([[0, -1]] * 3 + [[2, 1]] * 4, np.int8)
    motion = make_human_motion("hands", 29.876, motion.local_wxyz, motion.pelvis_m, hand_states=hands, has_place=False,
                               notes=("assumed the camera level",))
    save_human_motion(tmp_path / "m.npz", motion)
    back = load_human_motion(tmp_path / "m.npz")
    assert (back.fps, back.has_place, back.notes) == (29.876, False, motion.notes)
    np.testing.assert_allclose(back.local_wxyz, motion.local_wxyz, atol=1e-15)
    np.testing.assert_array_equal(back.pelvis_m, motion.pelvis_m)
    assert back.hand_states is not None
    np.testing.assert_array_equal(back.hand_states, hands)
    assert back.skeleton.source == PLAIN.source


def test_signs_of_quaternions_never_jump() -> None:
    local = random_motion(5).local_wxyz
    local[3:5] *= -1
    motion = make_human_motion("flipped", 30, local, np.zeros((7, 3)))
    assert ((motion.local_wxyz[1:] * motion.local_wxyz[:-1]).sum(axis=-1) >= 0).all()


@pytest.mark.parametrize(("change", "found"), [
    ({"fps": 0.0}, "0.0"),
    ({"pelvis_m": np.full((7, 3), np.nan)}, "frame 0"),
    ({"local_wxyz": np.zeros((7, 24, 4))}, "norm"),
    ({"local_wxyz": np.ones((7, 22, 4))}, "22"),
    ({"hand_states": np.full((7, 2), 3, np.int8)}, r"\(7, 2\)"),
])
def test_nonsense_is_refused(change: dict[str, object], found: str) -> None:
    motion = random_motion(1)
    arguments = {"fps": 30.0, "local_wxyz": motion.local_wxyz, "pelvis_m": motion.pelvis_m, **change}
    with pytest.raises(Refused, match=found):
        make_human_motion("bad", **arguments)  # type: ignore[arg-type]


def test_another_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", fps=30)
    with pytest.raises(Refused, match="exoactor-human/1"):
        load_human_motion(tmp_path / "other.npz")
