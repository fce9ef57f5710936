"""Formats of human motions: what a program would have written of a motion gives that motion back, traps and all."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.motion.content import ReadOptions, read_content
from export.motion.formats import FORMATS, format_module, motion_of, read_motion, recognised
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import PLAIN, HumanMotion, make_human_motion, save_human_motion
from tests import motion_files as files


def read(path: Path, source: str | None = None, **options: object) -> HumanMotion:
    motion = read_motion(path, source, ReadOptions(**options))  # type: ignore[arg-type]
    assert isinstance(motion, HumanMotion)
    return motion


def check_same(found: HumanMotion, wanted: HumanMotion, *, has_place: bool = True) -> None:
    """Same clock, rotations within 1e-4 rad, places within 1e-5 m but for a constant height."""
    assert (found.frames, found.has_place) == (wanted.frames, has_place)
    assert found.fps == pytest.approx(wanted.fps, rel=1e-9)
    turn = rotation.multiply_many(rotation.conjugate_many(found.local_wxyz), wanted.local_wxyz)
    assert np.abs(rotation.rotation_vector_many(turn)).max() < 1e-4
    if has_place:
        here, there = found.in_world()[0], wanted.in_world()[0]
        here[..., 2] += (there - here)[0, 0, 2]  # readers stand motions on the floor
        assert np.abs(here - there).max() < 1e-5


WALK = files.walking()
BARE = {"skeleton": PLAIN}


def plain_pickle(tree: object) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "motion.pkl"
        path.write_bytes(pickle.dumps(tree))
        return path

    return write


def plain_npz(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "motion.npz", **arrays)  # type: ignore[arg-type]
        return folder / "motion.npz"

    return write


def own(folder: Path) -> Path:
    save_human_motion(folder / "motion.npz", WALK)
    return folder / "motion.npz"


WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "our own": ("human", own),
    "AMASS SMPL-H": ("amass", lambda folder: files.amass_smplh(folder / "a_poses.npz", WALK)),
    "AMASS SMPL-X": ("amass", lambda folder: files.amass_smplx(folder / "a_stageii.npz", WALK)),
    "GVHMR": ("gvhmr", lambda folder: files.torch_archive(folder / "hmr4d_results.pt", {
        "smpl_params_global": files.smplx_group(WALK),
        "smpl_params_incam": {key: value * 0 for key, value in files.smplx_group(WALK).items()},
        "K_fullimg": np.zeros((31, 3, 3))})),
    "GENMO": ("gvhmr", plain_pickle({"body_params_global": files.smplx_group(WALK), "segment_info": None})),
    "a group alone": ("gvhmr", plain_npz(**files.smplx_group(WALK))),
    "WHAM": ("wham", lambda folder: files.wham(folder / "wham_output.pkl", {3: (WALK, np.arange(31))})),
    "WHAM's interface": ("wham", lambda folder: files.wham_api(folder / "api.pkl", WALK)),
    "OMOMO through InterMimic": (
        "omomo", lambda folder: files.torch_archive(folder / "o.pt", files.omomo_tensor(WALK))),
    "OMOMO": ("omomo", plain_pickle({
        "pose_body": files.vectors(WALK, y_up=False)[1], "root_orient": files.vectors(WALK, y_up=False)[0],
        "trans": WALK.pelvis_m, "betas": np.zeros((1, 16))})),
    "Kimodo": ("kimodo", plain_npz(
        local_rot_mats=files.matrices(np.concatenate([
            rotation.multiply_many(files.TO_Y_UP, WALK.local_wxyz[:, :1]), WALK.local_wxyz[:, 1:22]], axis=1)),
        root_positions=rotation.rotate_many(files.TO_Y_UP, WALK.pelvis_m), posed_joints=np.zeros((31, 22, 3)))),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_motion_comes_back_from_every_format(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    check_same(read(write(tmp_path), **({} if name == "human" else BARE)), WALK)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_format_is_told_by_content_alone(kind: str, tmp_path: Path) -> None:



    name, write = WRITERS[kind]
    assert recognised(read_content(write(tmp_path))) == [name]


def test_every_format_says_what_it_reads() -> None:
    for name in FORMATS:
        assert 10 < len(format_module(name).SUMMARY) < 140


def test_what_fits_none_is_refused_with_what_is_known(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", something=np.zeros(3))
    with pytest.raises(Refused, match=r"none that fits.*something") as refusal:
        read(tmp_path / "x.npz")
    assert all(name in str(refusal.value) for name in FORMATS)


def test_both_spellings_of_amass_s_rate_count_and_a_missing_one_is_asked_for(tmp_path: Path) -> None:
    motion = files.walking(fps=120)
    assert read(files.amass_smplh(tmp_path / "h.npz", motion)).fps == 120
    assert read(files.amass_smplx(tmp_path / "x.npz", motion)).fps == 120
    arrays = dict(np.load(files.amass_smplh(tmp_path / "n.npz", motion)))
    for key in ("mocap_framerate", "gender", "dmpls"):
        del arrays[key]
    np.savez(tmp_path / "n.npz", **arrays)
    with pytest.raises(Refused, match="--fps"):
        read(tmp_path / "n.npz")
    check_same(read(tmp_path / "n.npz", fps=120.0, **BARE), motion)


def test_a_shape_without_motion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="stage i"):
        read(files.amass_smplh(tmp_path / "a_stagei.npz", WALK))


def test_estimators_are_thirty_frames_a_second_and_y_up(tmp_path: Path) -> None:
    motion = read(WRITERS["GVHMR"][1](tmp_path), **BARE)
    placed = motion.in_world()[0]
    assert motion.fps == 30
    assert (placed[:, 15, 2] - placed[:, 10, 2] > 1).all()  # head above foot along z


def test_what_the_camera_saw_is_not_taken_for_the_world(tmp_path: Path) -> None:
    group = files.smplx_group(WALK)
    path = files.torch_archive(tmp_path / "a.pt", {"smpl_params_incam": group})
    with pytest.raises(Refused, match="none that fits"):
        read(path)


def test_gem_x_is_refused_with_why(tmp_path: Path) -> None:
    group = {**files.smplx_group(WALK), "identity_coeffs": np.zeros(45), "scale_params": np.zeros((31, 69))}
    with pytest.raises(Refused, match="SOMA"):
        read(files.torch_archive(tmp_path / "a.pt", {"body_params_global": group}))


def part(motion: HumanMotion, first: int, last: int, *, moved: tuple[float, float, float] = (0, 0, 0)) -> HumanMotion:
    pelvis = motion.pelvis_m[first:last] - motion.pelvis_m[first] * [1, 1, 0] * (moved != (0, 0, 0)) + np.array(moved)
    return make_human_motion("part", motion.fps, motion.local_wxyz[first:last], pelvis)


def test_one_person_over_several_tracks_of_wham_is_joined_by_frame_numbers(tmp_path: Path) -> None:
    path = files.wham(tmp_path / "w.pkl", {7: (part(WALK, 15, 31), np.arange(15, 31)),
                                           2: (part(WALK, 0, 15), np.arange(15))})
    check_same(read(path, **BARE), WALK)


def test_two_persons_at_once_are_not_mixed(tmp_path: Path) -> None:
    other = files.walking(seed=9)
    path = files.wham(tmp_path / "w.pkl", {1: (WALK, np.arange(31)), 4: (other, np.arange(31))})
    with pytest.raises(Refused, match="--track"):
        read(path)
    check_same(read(path, track="4", **BARE), other)
    with pytest.raises(Refused, match="--track"):
        read(path, track="5")


def test_a_path_that_begins_anew_goes_on_from_where_it_was(tmp_path: Path) -> None:
    slow = files.walking(fps=30, frames=61)
    path = files.wham(tmp_path / "w.pkl", {1: (part(slow, 0, 40), np.arange(40)),
                                           2: (part(slow, 40, 61, moved=(0, 0, 0.001)), np.arange(40, 61))})
    motion = read(path, **BARE)
    steps = np.linalg.norm(np.diff(motion.pelvis_m[:, :2], axis=0), axis=1)
    wanted = np.linalg.norm(np.diff(slow.pelvis_m[:, :2], axis=0), axis=1)
    assert np.abs(steps - wanted).max() < 0.01
    assert any("joined" in note for note in motion.notes)


@pytest.mark.parametrize("write", [files.phalp, files.tram])
def test_what_only_a_camera_saw_has_no_place(write: Callable[[Path, HumanMotion], Path], tmp_path: Path) -> None:
    path = write(tmp_path / ("a.npy" if write is files.tram else "a.pkl"), WALK)
    motion = read(path, **BARE)
    check_same(motion, WALK, has_place=False)
    assert any("camera" in note for note in motion.notes)
    assert not motion.pelvis_m.any()


def test_a_crowd_is_asked_about(tmp_path: Path) -> None:
    path = files.phalp(tmp_path / "a.pkl", WALK, people=2)
    with pytest.raises(Refused, match="--track"):
        read(path)
    check_same(read(path, track="2", **BARE), WALK, has_place=False)


def test_kimodo_s_other_skeletons_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", local_rot_mats=np.tile(np.eye(3), (5, 77, 1, 1)), root_positions=np.zeros((5, 3)))
    with pytest.raises(Refused, match="22 joints"):
        read(tmp_path / "k.npz")


@pytest.mark.parametrize("name", ["{}", "img/{}.jpg"])
def test_frame_10_comes_after_frame_9(name: str, tmp_path: Path) -> None:
    check_same(read(files.phalp(tmp_path / "a.pkl", WALK, name=name), **BARE), WALK, has_place=False)


def test_a_person_who_is_hardly_seen_is_refused_without_filling_years(tmp_path: Path) -> None:
    ids = np.arange(31)
    ids[-1] = 10**12
    with pytest.raises(Refused, match="--track"):
        read(files.wham(tmp_path / "w.pkl", {1: (WALK, ids)}))


@pytest.mark.parametrize("spoil", [lambda R: -R, lambda R: R * 1.1, lambda R: np.full_like(R, np.nan)])
def test_matrices_that_are_no_rotations_are_refused(spoil: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    matrices = files.matrices(WALK.local_wxyz[:, :22])
    np.savez(tmp_path / "k.npz", local_rot_mats=spoil(matrices), root_positions=WALK.pelvis_m)
    with pytest.raises(Refused, match="rotation matrices"):
        read(tmp_path / "k.npz")


def test_frames_that_are_not_finite_are_named(tmp_path: Path) -> None:
    arrays = dict(np.load(files.amass_smplh(tmp_path / "n.npz", WALK)))
    for key in ("poses", "trans"):
        spoiled = {**arrays, key: arrays[key].copy()}
        spoiled[key][7, 1] = np.inf
        np.savez(tmp_path / "n.npz", **spoiled)
        with pytest.raises(Refused, match="frame 7"):
            read(tmp_path / "n.npz")


ODD = (None, "text", [], {}, 7, -1, True, np.zeros(0), np.zeros((3, 0)), np.array("x"), np.array(np.nan), np.zeros(3),
       np.full((31, 63), 1e300), np.zeros((31, 3, 3)), np.zeros((2, 2, 2, 2)), np.zeros((31, 3), bool), [None] * 31,
       np.full((31, 10), np.inf), 10**30, {"smpl": [None]}, np.zeros((1, 72)))


def spoiled(rng: np.random.Generator, value: Any) -> Any:
    """A tree with one of its leaves, keys or branches exchanged."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[int(rng.integers(len(keys)))]
        out = dict(value) if isinstance(value, dict) else list(value)
        if isinstance(out, dict) and rng.random() < 0.15:
            del out[key]
        else:
            out[key] = spoiled(rng, value[key])
        return out
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "fi" and rng.random() < 0.5:
        return [value[:-1], value[None], value.T, value[..., :-1], value.astype(str), value * np.inf,
                value.astype(object)][int(rng.integers(7))]
    return ODD[int(rng.integers(len(ODD)))]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # infinity times zero, in the spoiling itself
@pytest.mark.parametrize("kind", WRITERS)
def test_whatever_stands_in_the_place_of_a_value_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    name, write = WRITERS[kind]
    content, rng, refused = read_content(write(tmp_path)), np.random.default_rng(3), 0
    for _ in range(60):
        changed = replace(content, data=spoiled(rng, content.data))
        for source in (None, name):
            try:
                motion = motion_of(changed, source, ReadOptions())
            except Refused:
                refused += 1
            else:
                assert isinstance(motion, HumanMotion)
                assert np.isfinite(motion.pelvis_m).all()
    assert refused > 25


# Odd but legal


@pytest.mark.parametrize("change", [
    lambda d: d.pop("betas"), lambda d: (d.pop("gender"), d.pop("dmpls")),
    lambda d: d.update(mocap_framerate=np.array([30])), lambda d: d.update(trans=d["trans"][:, None]),
    lambda d: d.update(poses=d["poses"].reshape(len(d["poses"]), -1, 3)),
    lambda d: d.update(poses=d["poses"].astype(np.float32), betas=np.zeros((31, 16))),
    lambda d: d.update(labels=np.array(["a", None], object), markers=np.zeros((31, 41, 3))),
], ids=["no shape", "no gender", "rate in a list", "axis of one", "joints apart", "single precision", "more keys"])
def test_amass_files_of_other_exporters_are_read_as_the_same_motion(change, tmp_path):
    motion = files.walking()
    data = dict(np.load(files.amass_smplh(tmp_path / "a.npz", motion)))
    change(data)
    np.savez(tmp_path / "b.npz", **data)
    check_same(read(tmp_path / "b.npz", **BARE), motion)


@pytest.mark.parametrize("change", [
    lambda g: g.update({key: value[None] for key, value in g.items()}), lambda g: g.update(betas=np.zeros(10)),
    lambda g: g.update(transl=g["transl"][:, None], global_orient=g["global_orient"][:, None]),
    lambda g: g.update(body_pose=np.concatenate([g["body_pose"], np.zeros((31, 6))], axis=1)),
    lambda g: g.update(body_pose=files.matrices(rotation.quat_from_vector_many(g["body_pose"].reshape(31, 21, 3)))),
], ids=["batch of one", "one shape", "axes of one", "SMPL's 23 joints", "matrices"])
def test_gvhmr_results_of_other_programs_are_read_as_the_same_motion(change, tmp_path):
    motion = files.walking()
    group = files.smplx_group(motion)
    change(group)
    path = files.torch_archive(tmp_path / "g.pt", {"smpl_params_global": group})
    check_same(read(path, **BARE), motion)


def test_two_persons_in_a_batch_are_refused(tmp_path):
    group = {key: np.stack([value, value]) for key, value in files.smplx_group(files.walking()).items()}
    with pytest.raises(Refused, match="body_pose"):
        read(files.torch_archive(tmp_path / "g.pt", {"smpl_params_global": group}))


@pytest.mark.parametrize("shape", [
    lambda track: {np.int64(3): track}, lambda track: [track], lambda track: {("a", 1): track},
    lambda track: {0: {**track, "pose_world": track["pose_world"][None], "trans_world": track["trans_world"][None]}},
], ids=["numpy's number as key", "list", "tuple as key", "batch of one"])
def test_wham_tracks_in_other_containers_are_read_as_the_same_motion(shape, tmp_path):
    motion = files.walking()
    path = files.wham(tmp_path / "w.pkl", {0: (motion, np.arange(31))})
    track = pickle.loads(path.read_bytes())[0]
    path.write_bytes(pickle.dumps(shape(track)))
    check_same(read(path, **BARE), motion)
