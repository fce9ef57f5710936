"""`exoactor motion convert`: human motions to SONIC's channels, clips and folders, one file or many."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mujoco")

import exoactor
from export.motion.smpl import Y_UP_TO_Z_UP
from export.motion.smpl_channels import WRIST_JOINTS, human_clip, smpl_channels
from runtime import rotation
from runtime.clip import ALL_JOINTS, WRISTS, load_clip
from runtime.errors import Refused
from runtime.human_motion import PLAIN, HumanMotion, make_human_motion, save_human_motion
from runtime.manifest_reader import load_manifest
from runtime.needs import check_clip_feeds
from runtime.robot import load_robot
from tests import motion_files

G1 = load_robot("g1_29dof")


def posed(global_orient: tuple[float, float, float], seed: int = 0, frames: int = 3) -> HumanMotion:
    """A pose held, its root a rotation vector in a y-up world."""
    pose = np.random.default_rng(seed).normal(0, 0.4, (1, 24, 3))
    local = rotation.quat_from_vector_many(pose.repeat(frames, axis=0))
    root = rotation.quat_from_vector_many(np.array(global_orient))
    local[:, 0] = rotation.multiply_many(Y_UP_TO_Z_UP, root)
    return make_human_motion("posed", 50, local, np.zeros((frames, 3)), PLAIN)


@pytest.mark.parametrize(("orient", "quat"), [
    ((0, 0, 0), (0.707107, 0, 0, -0.707107)),
    ((0, np.pi / 2, 0), (1, 0, 0, 0)),
    ((0, np.pi, 0), (0.707107, 0, 0, 0.707107)),
    ((0.2, 0.5, -0.1), (0.855331, 0.034915, 0.104745, -0.506180)),
])
def test_a_human_s_root_is_what_sonic_is_sent(orient: tuple[float, float, float], quat: tuple[float, ...]) -> None:
    found = smpl_channels(posed(orient))["smpl_quat_wxyz"][0]
    np.testing.assert_allclose(found * np.sign(found @ np.array(quat)), quat, atol=2e-6)


def test_at_rest_left_up_forward_becomes_forward_left_up() -> None:
    local = np.tile([1.0, 0, 0, 0], (3, 24, 1))
    local[:, 0] = Y_UP_TO_Z_UP
    joints = smpl_channels(make_human_motion("rest", 50, local, np.zeros((3, 3))))["smpl_joints"][0].reshape(24, 3)
    at = np.zeros((24, 3))
    for joint, parent in enumerate((-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)):
        at[joint] = PLAIN.offsets_m[joint] + (at[parent] if parent >= 0 else 0)
    np.testing.assert_allclose(joints, at[:, [2, 0, 1]], atol=1e-12)


@settings(max_examples=25)
@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-3, 3)] * 3))
def test_joints_do_not_depend_on_where_the_human_faces(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> None:
    one, other = smpl_channels(posed(a, 5)), smpl_channels(posed(b, 5))
    np.testing.assert_allclose(one["smpl_joints"], other["smpl_joints"], atol=1e-9)
    np.testing.assert_allclose(one["smpl_pose"], other["smpl_pose"], atol=1e-9)


def test_a_human_s_clip_carries_channels_and_wrists_within_their_ranges() -> None:
    motion = posed((0, 0.3, 0), 2, 10)
    clip = human_clip(motion, G1, 50)
    assert clip.joints == WRISTS and set(clip.channels) == {"smpl_joints", "smpl_quat_wxyz", "smpl_pose"}
    columns = [clip.order.names.index(name) for name in WRIST_JOINTS]
    others = [column for column in range(29) if column not in columns]
    assert np.abs(clip.joint_pos[:, columns]).max() > 0.05 and not clip.joint_pos[:, others].any()
    for column in columns:
        assert G1.joints[column].lower_rad <= clip.joint_pos[0, column] <= G1.joints[column].upper_rad


def test_a_tracker_of_joints_refuses_a_human_s_clip() -> None:
    clip = human_clip(posed((0, 0, 0)), G1, 50)
    with pytest.raises(Refused, match="--retarget"):
        check_clip_feeds(load_manifest("g1-tracker"), "", clip)


def motion(*words: object) -> int:
    return exoactor.main(["motion", "convert", *map(str, words)])


def test_a_human_s_file_becomes_a_clip_a_folder_and_a_clip_again(tmp_path: Path) -> None:
    source = motion_files.amass_smplh(tmp_path / "a.npz", motion_files.walking())
    assert motion(source, tmp_path / "clip.npz") == 0
    assert motion(tmp_path / "clip.npz", tmp_path / "folder", "--to", "sonic") == 0
    assert "encoder_mode: 2" in (tmp_path / "folder" / "info.txt").read_text()
    assert motion(tmp_path / "folder", tmp_path / "back.npz") == 0
    one, other = load_clip(tmp_path / "clip.npz", G1), load_clip(tmp_path / "back.npz", G1)
    assert one.joints == other.joints == WRISTS and one.fps == other.fps == 50
    np.testing.assert_allclose(other.root_pos, one.root_pos, atol=1e-5)
    for name in one.channels:
        np.testing.assert_allclose(other.channels[name], one.channels[name], atol=1e-5)


def test_retargeted_it_has_all_joints_and_the_human_s_channels(tmp_path: Path) -> None:
    source = motion_files.amass_smplh(tmp_path / "a.npz", motion_files.walking(frames=20))
    assert motion(source, tmp_path / "clip.npz", "--retarget") == 0
    clip = load_clip(tmp_path / "clip.npz", G1)
    assert clip.joints == ALL_JOINTS and "smpl_joints" in clip.channels
    assert np.ptp(clip.joint_pos, axis=0).max() > 0.05


def test_many_files_go_at_once_and_a_bad_one_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    motion_files.amass_smplh(folder / "a.npz", motion_files.walking())
    motion_files.amass_smplx(folder / "below" / "b.npz", motion_files.walking())
    (folder / "c.npz").write_bytes(b"no archive")
    assert motion(folder, tmp_path / "out", "--json", "--jobs", 2) == 2
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(fact["source"]).name for fact in facts] == ["a.npz", "b.npz", "c.npz"] or len(facts) == 3
    assert sum("refused" in fact for fact in facts) == 1
    assert (tmp_path / "out" / "a.npz").is_file() and (tmp_path / "out" / "below" / "b.npz").is_file()
    assert not (tmp_path / "out" / "c.npz").exists()


def test_what_is_there_is_kept_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_human_motion(tmp_path / "h.npz", motion_files.walking())
    (tmp_path / "out.npz").write_text("precious")
    assert motion(tmp_path / "h.npz", tmp_path / "out.npz") == 2
    assert (tmp_path / "out.npz").read_text() == "precious" and "--force" in capsys.readouterr().err
    assert motion(tmp_path / "h.npz", tmp_path / "out.npz", "--force") == 0
    load_clip(tmp_path / "out.npz", G1)


def test_a_refused_conversion_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.bvh").write_text("HIERARCHY\nROOT a\n{\n")
    assert motion(tmp_path / "bad.bvh", tmp_path / "out.npz") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.bvh"]


def test_a_human_s_motion_can_be_kept_as_one(tmp_path: Path) -> None:
    from runtime.human_motion import load_human_motion

    source = motion_files.amass_smplh(tmp_path / "a.npz", motion_files.walking())
    assert motion(source, tmp_path / "human.npz", "--to", "human") == 0
    assert load_human_motion(tmp_path / "human.npz").frames == motion_files.walking().frames


def test_a_cluster_that_is_not_installed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    if importlib.util.find_spec("distributed") is not None:
        return  # then it would try to connect
    save_human_motion(tmp_path / "h.npz", motion_files.walking())
    folder = tmp_path / "in"
    folder.mkdir()
    save_human_motion(folder / "h.npz", motion_files.walking())
    assert motion(folder, tmp_path / "out", "--cluster", "tcp://127.0.0.1:1") == 2
    assert "exoactor[cluster]" in capsys.readouterr().err
