"""Bones of a shape, out of model files made here in SMPL's layout: none of a licence's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exoactor import main
from export.motion.body_models import bones_of
from export.motion.content import ReadOptions
from export.motion.formats import read_motion
from runtime.errors import Refused
from runtime.human_motion import PLAIN, HumanMotion
from tests import motion_files as files

PELVIS = np.array([0.0, -0.23, 0.03])


def model(joints: int = 24, vertices: int = 240) -> tuple[dict[str, Any], np.ndarray]:
    """Arrays of a body whose joints are the means of their vertices; the first shape direction is stature."""
    rng = np.random.default_rng(0)
    places = np.zeros((joints, 3))
    for joint in range(24):
        parent = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21][joint]
        places[joint] = PLAIN.offsets_m[joint] + (places[parent] if parent >= 0 else PELVIS)
    if joints > 24:
        places[36], places[51] = places[22], places[23]
    owner = np.arange(vertices) % joints
    template = places[owner] + rng.normal(0, 0.03, (vertices, 3))
    regressor = np.zeros((joints, vertices))
    for joint in range(joints):
        regressor[joint, owner == joint] = 1 / (owner == joint).sum()
        template[owner == joint] += places[joint] - template[owner == joint].mean(axis=0)
    directions = np.zeros((vertices, 3, 10))
    directions[:, :, 0] = 0.06 * template
    return {"v_template": template, "shapedirs": directions, "J_regressor": regressor}, places


def test_bones_are_the_model_s_and_grow_with_stature(tmp_path: Path) -> None:
    arrays, places = model()
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(pickle.dumps(arrays, 2))
    bones, pelvis = bones_of(tmp_path, "smpl", np.zeros(10))
    np.testing.assert_allclose(bones.offsets_m, PLAIN.offsets_m, atol=1e-12)
    np.testing.assert_allclose(pelvis, PELVIS, atol=1e-12)
    taller, pelvis = bones_of(tmp_path, "smpl", np.array([2.0]))
    np.testing.assert_allclose(taller.offsets_m, 1.12 * PLAIN.offsets_m, atol=1e-12)
    np.testing.assert_allclose(pelvis, 1.12 * places[0], atol=1e-12)


def test_an_npz_of_smpl_h_gives_the_hands_by_their_thumbs(tmp_path: Path) -> None:
    arrays, _ = model(52, 520)
    np.savez(tmp_path / "SMPLH_NEUTRAL.npz", **arrays)
    bones, _ = bones_of(tmp_path, "smplh", None)
    np.testing.assert_allclose(bones.offsets_m, PLAIN.offsets_m, atol=1e-12)


def test_the_pelvis_of_the_shape_is_added_to_a_translation(tmp_path: Path) -> None:
    """SMPL's translation is of the model's origin: the pelvis stands J0 from it, unturned."""
    arrays, _ = model(52, 520)
    np.savez(tmp_path / "SMPLH_NEUTRAL.npz", **arrays)
    walk = files.walking()
    path = files.amass_smplh(tmp_path / "a.npz", walk, trans=walk.pelvis_m - PELVIS)
    motion = read_motion(path, None, ReadOptions(smpl_models=tmp_path))
    assert isinstance(motion, HumanMotion)
    np.testing.assert_allclose(np.diff(motion.pelvis_m, axis=0), np.diff(walk.pelvis_m, axis=0), atol=1e-9)
    np.testing.assert_allclose(motion.pelvis_m[:, :2], walk.pelvis_m[:, :2], atol=1e-9)


def test_a_folder_without_models_and_models_without_joints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--smpl-models"):
        bones_of(tmp_path, "smpl", None)
    arrays, _ = model()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", v_template=arrays["v_template"])
    with pytest.raises(Refused, match="J_regressor"):
        bones_of(tmp_path, "smpl", None)


def test_bones_written_once_give_what_the_model_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, _ = model(52, 520)
    np.savez(tmp_path / "SMPLH_NEUTRAL.npz", **arrays)
    out = tmp_path / "bones.npz"
    assert main(["motion", "skeleton", str(out), "--smpl-models", str(tmp_path), "--model", "smplh"]) == 0
    assert "52 joints" in capsys.readouterr().out
    assert out.stat().st_size < 100_000
    for betas in (None, np.array([1.5, -1, 0.3])):
        for one, other in zip(bones_of(out, "smplh", betas), bones_of(tmp_path, "smplh", betas), strict=True):
            np.testing.assert_allclose(getattr(one, "offsets_m", one), getattr(other, "offsets_m", other), atol=1e-12)
    np.savez(out, format=np.array("exoactor-bones/1"), J_template=np.zeros((3, 3)))
    with pytest.raises(Refused, match="J_shapedirs"):
        bones_of(out, "smplh", None)


def test_a_model_of_other_sizes_is_refused(tmp_path: Path) -> None:
    arrays, _ = model()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **{**arrays, "v_template": arrays["v_template"][:-1]})
    with pytest.raises(Refused, match="vertices"):
        bones_of(tmp_path, "smpl", None)
    few = {**arrays, "J_regressor": arrays["J_regressor"][:20]}
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **few)
    with pytest.raises(Refused, match="24 joints"):
        bones_of(tmp_path, "smpl", None)
