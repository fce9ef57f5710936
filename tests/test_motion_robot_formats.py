"""Robots' motions in other people's formats: written here as their sheets say, read by ours, and their traps."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from export.motion.content import ReadOptions
from export.motion.formats import read_motion
from export.motion.robot_motion import RobotMotion
from export.motion.sonic_writer import BODIES, body_poses, write_sonic_folder
from export.motion.tree_order import tree_order
from runtime import rotation
from runtime.clip import Clip, load_clip, make_clip
from runtime.errors import Refused
from runtime.robot import load_robot

G1 = load_robot("g1_29dof")
MOTOR_OF_ISAAC = [
    0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 22, 4, 10, 16, 23, 5, 11, 17, 24, 18, 25, 19, 26, 20, 27, 21, 28]
"""NVlabs/GR00T-WholeBodyControl `policy_parameters.hpp` @ 1983e88."""


def walking(fps: float = 50.0, frames: int = 61) -> Clip:
    """Every joint another path, a root that turns and goes: no two columns can be exchanged unseen."""
    t = np.arange(frames) / fps
    rng = np.random.default_rng(3)
    middle = np.array([(joint.lower_rad + joint.upper_rad) / 2 for joint in G1.joints])
    reach = np.array([(joint.upper_rad - joint.lower_rad) / 4 for joint in G1.joints])
    joint_pos = middle + reach * np.sin(2 * t[:, None] + rng.uniform(0, 6, 29))
    turn = np.stack([0.1 * np.sin(t), 0.05 * np.cos(t), 0.6 + 0.5 * t], axis=1)
    root = np.stack([0.8 * t, 0.3 * np.sin(t), 0.75 + 0.02 * np.sin(6 * t)], axis=1)
    return make_clip("walking", fps, G1.order, joint_pos, root, rotation.quat_from_vector_many(turn))


def assert_same(motion: Any, clip: Clip, fps: float | None = None, atol: float = 1e-5) -> None:
    assert isinstance(motion, RobotMotion)
    assert motion.fps == pytest.approx(fps or clip.fps, abs=1e-9)
    joints = motion.joint_pos[:, motion.order.index_of(clip.order)]
    np.testing.assert_allclose(joints, clip.joint_pos, atol=atol)
    np.testing.assert_allclose(motion.root_pos, clip.root_pos, atol=atol)
    np.testing.assert_allclose(np.abs((motion.root_quat_wxyz * clip.root_quat_wxyz).sum(axis=1)), 1, atol=1e-8)


XYZW = [1, 2, 3, 0]


def unitree_csv(path: Path, clip: Clip) -> Path:
    rows = np.hstack([clip.root_pos, clip.root_quat_wxyz[:, XYZW], clip.joint_pos])
    np.savetxt(path, rows, delimiter=",", fmt="%.9f")
    return path


def beyondmimic(path: Path, clip: Clip) -> Path:
    isaac = [G1.order.names[motor] for motor in MOTOR_OF_ISAAC]
    columns = [clip.order.names.index(name) for name in isaac]
    places, turns = body_poses(clip, G1, list(tree_order(G1).bodies))
    np.savez(path, fps=np.array([clip.fps]), joint_pos=clip.joint_pos[:, columns], joint_vel=clip.joint_vel[:, columns],
             body_pos_w=places, body_quat_w=turns, body_lin_vel_w=np.gradient(places, 1 / clip.fps, axis=0),
             body_ang_vel_w=np.zeros_like(places))
    return path


def holosoma(path: Path, clip: Clip) -> Path:
    rows = np.hstack([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos])
    speeds = np.hstack([clip.root_vel, clip.root_ang_vel, clip.joint_vel])
    np.savez(path, fps=clip.fps, joint_pos=rows, joint_vel=speeds, joint_names=np.array(clip.order.names),
             body_names=np.array(["world", "pelvis"]), body_pos_w=np.zeros((len(rows), 2, 3)),
             body_quat_w=np.zeros((len(rows), 2, 4)), body_lin_vel_w=np.zeros((len(rows), 2, 3)))
    return path


def omniretarget(path: Path, clip: Clip) -> Path:
    np.savez(path, fps=np.array(1 / clip.fps), qpos=np.hstack([clip.root_quat_wxyz, clip.root_pos, clip.joint_pos]))
    return path


def qpos(path: Path, clip: Clip) -> Path:
    rows = np.hstack([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos, np.ones((len(clip.joint_pos), 7))])
    np.savez(path, fps=clip.fps, qpos=rows, human_joints=np.zeros((len(rows), 22, 3)), cost=1.0)
    return path


def twist_pickle(path: Path, clip: Clip) -> Path:
    data = {"fps": np.float64(clip.fps), "root_pos": clip.root_pos, "root_rot": clip.root_quat_wxyz[:, XYZW],
            "dof_pos": clip.joint_pos, "local_body_pos": None, "link_body_list": ["pelvis"]}
    path = path.with_suffix(".pkl")
    path.write_bytes(pickle.dumps(data))
    return path


def twist_npz(path: Path, clip: Clip) -> Path:
    np.savez(path, fps=clip.fps, root_pos=clip.root_pos, root_quat_xyzw=clip.root_quat_wxyz[:, XYZW],
             dof_pos=clip.joint_pos[:, ::-1], joint_names=np.array(clip.order.names[::-1]))
    return path


def motion_lib(path: Path, clip: Clip) -> Path:
    data = {"one": {"root_trans_offset": clip.root_pos, "dof": clip.joint_pos, "root_rot": clip.root_quat_wxyz,
                    "pose_aa": np.zeros((len(clip.joint_pos), 30, 3)), "fps": clip.fps}}
    path = path.with_suffix(".pkl")
    path.write_bytes(pickle.dumps(data))
    return path


def bones_csv(path: Path, clip: Clip) -> Path:
    angles = np.degrees([rotation.roll_pitch_yaw(quat) for quat in clip.root_quat_wxyz])
    header = ["Frame", *(f"root_{kind}{axis}" for kind in ("translate", "rotate") for axis in "XYZ"),
              *(f"{name}_dof" for name in clip.order.names)]
    rows = np.hstack([np.arange(len(angles))[:, None], clip.root_pos * 100, angles, np.degrees(clip.joint_pos)])
    path = path.with_suffix(".csv")
    np.savetxt(path, rows, delimiter=",", header=",".join(header), comments="", fmt="%.9f")
    return path


def sonic_folder(path: Path, clip: Clip) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    write_sonic_folder(folder, clip, G1)
    return folder


WRITERS = {
    "unitree_csv": (unitree_csv, ".csv", 30.0), "beyondmimic": (beyondmimic, ".npz", None),
    "holosoma": (holosoma, ".npz", None), "omniretarget": (omniretarget, ".npz", None), "qpos": (qpos, ".npz", None),
    "twist_pickle": (twist_pickle, ".pkl", None), "twist_npz": (twist_npz, ".npz", None),
    "motion_lib": (motion_lib, ".pkl", None), "bones_csv": (bones_csv, ".csv", 120.0),
    "sonic_folder": (sonic_folder, "", None),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_robot_s_motion_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    write, suffix, fps = WRITERS[name]
    clip = walking()
    motion = read_motion(write(tmp_path / f"motion{suffix}", clip))
    assert_same(motion, clip, fps)


def test_the_tree_s_order_is_isaac_lab_s() -> None:
    order = tree_order(G1)
    assert [G1.order.names.index(name) for name in order.joints.names] == MOTOR_OF_ISAAC
    assert [order.bodies.index(name) for name in BODIES] == [0, 4, 10, 18, 5, 11, 19, 9, 16, 22, 28, 17, 23, 29]


@pytest.mark.parametrize("fps", [29.876276, 30.0, 119.88])
def test_a_rate_that_is_no_whole_number_is_kept(fps: float, tmp_path: Path) -> None:
    motion = read_motion(twist_pickle(tmp_path / "motion", walking(fps)))
    assert motion.fps == pytest.approx(fps, abs=1e-9)


def test_declared_velocities_come_along(tmp_path: Path) -> None:
    clip = walking()
    for path in (beyondmimic(tmp_path / "b.npz", clip), holosoma(tmp_path / "h.npz", clip)):
        motion = read_motion(path)
        assert isinstance(motion, RobotMotion) and motion.joint_vel is not None and motion.root_vel is not None
        np.testing.assert_allclose(motion.joint_vel[:, motion.order.index_of(clip.order)], clip.joint_vel, atol=1e-9)
        np.testing.assert_allclose(motion.root_vel, clip.root_vel, atol=1e-9)


def test_a_quaternion_first_is_noticed_and_said(tmp_path: Path) -> None:
    motion = read_motion(omniretarget(tmp_path / "o.npz", walking()))
    assert any("before the position" in note for note in motion.notes)
    assert any("time of a frame" in note for note in motion.notes)


def test_holosoma_and_beyondmimic_are_told_apart_by_names_and_width(tmp_path: Path) -> None:
    clip = walking()
    beyond = dict(np.load(beyondmimic(tmp_path / "b.npz", clip)))
    beyond["joint_pos"] = np.hstack([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos])
    np.savez(tmp_path / "nameless.npz", **beyond)
    with pytest.raises(Refused, match=r"36 columns.*--from holosoma"):
        read_motion(tmp_path / "nameless.npz")
    assert_same(read_motion(tmp_path / "nameless.npz", "holosoma"), clip)


def test_two_formats_that_fit_are_a_tie_for_the_user(tmp_path: Path) -> None:
    clip = walking()
    both = {**dict(np.load(twist_npz(tmp_path / "t.npz", clip))), **dict(np.load(qpos(tmp_path / "q.npz", clip)))}
    np.savez(tmp_path / "both.npz", **both)
    with pytest.raises(Refused, match=r"twist and holosoma fit.*--from"):
        read_motion(tmp_path / "both.npz")
    assert_same(read_motion(tmp_path / "both.npz", "twist"), clip)


def test_what_fits_nothing_is_told_what_would(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(Refused, match=r"something.*amass: npz of AMASS"):
        read_motion(tmp_path / "other.npz")


def test_another_robot_s_width_is_refused(tmp_path: Path) -> None:
    path = unitree_csv(tmp_path / "m.csv", walking())
    with pytest.raises(Refused, match=r"30 columns.*found 36"):
        read_motion(path, None, ReadOptions(robot=load_robot("g1_23dof")))


@pytest.mark.parametrize("file", ["joint_vel.csv", "body_quat.csv", "body_pos.csv"])
def test_a_folder_whose_files_differ_in_length_is_refused(file: str, tmp_path: Path) -> None:
    folder = sonic_folder(tmp_path / "clip", walking())
    lines = (folder / file).read_text().splitlines()
    (folder / file).write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(Refused, match=f"{file}.*61 rows.*60"):
        read_motion(folder)


def test_a_folder_without_header_would_lose_its_first_frame(tmp_path: Path) -> None:
    folder = sonic_folder(tmp_path / "clip", walking())
    lines = (folder / "joint_pos.csv").read_text().splitlines()
    (folder / "joint_pos.csv").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(Refused, match="header"):
        read_motion(folder)


def test_a_folder_of_the_least_that_sonic_asks_for_is_read(tmp_path: Path) -> None:
    folder, clip = sonic_folder(tmp_path / "clip", walking()), walking()
    for file in ("body_lin_vel.csv", "body_ang_vel.csv", "info.txt"):
        (folder / file).unlink()
    header = ",".join(f"root_{axis}" for axis in "xyz")
    np.savetxt(folder / "body_pos.csv", np.zeros((61, 3)), delimiter=",", header=header, comments="")
    quats = np.loadtxt(folder / "body_quat.csv", delimiter=",", skiprows=1)[:, :4]
    np.savetxt(folder / "body_quat.csv", quats, delimiter=",", header="w,x,y,z", comments="")
    motion = read_motion(folder)
    assert isinstance(motion, RobotMotion)
    np.testing.assert_allclose(np.abs((motion.root_quat_wxyz * clip.root_quat_wxyz).sum(axis=1)), 1, atol=1e-8)
    assert any("all zeros" in note for note in motion.notes)


def test_a_folder_is_at_fifty_hertz_whatever_the_clip_was(tmp_path: Path) -> None:
    clip = walking(fps=29.876, frames=40)
    motion = read_motion(sonic_folder(tmp_path / "clip", clip))
    assert motion.fps == 50 and motion.duration_s == pytest.approx(clip.duration_s, abs=0.02)
    np.testing.assert_allclose(motion.root_pos[0], clip.root_pos[0], atol=1e-8)


def test_angles_in_degrees_and_centimetres_would_be_far_off(tmp_path: Path) -> None:
    motion = read_motion(bones_csv(tmp_path / "b.csv", walking()))
    assert isinstance(motion, RobotMotion)
    assert np.abs(motion.joint_pos).max() < 4 and np.abs(motion.root_pos).max() < 3


def test_one_of_several_motions_has_to_be_named(tmp_path: Path) -> None:
    one = pickle.loads(motion_lib(tmp_path / "one", walking()).read_bytes())["one"]
    (tmp_path / "two.pkl").write_bytes(pickle.dumps({"a": one, "b": one}))
    with pytest.raises(Refused, match=r"a, b.*--track"):
        read_motion(tmp_path / "two.pkl")
    assert_same(read_motion(tmp_path / "two.pkl", None, ReadOptions(track="b")), walking())


def test_what_is_converted_passes_a_run_s_own_checks(tmp_path: Path) -> None:
    from export.motion.convert import Wish, convert

    clip = walking()
    fact = convert(unitree_csv(tmp_path / "m.csv", clip), tmp_path / "m.npz", Wish(fps=50))
    assert fact["frames"] == 61
    back = load_clip(tmp_path / "m.npz", G1)
    np.testing.assert_allclose(back.joint_pos, clip.joint_pos, atol=1e-6)


def test_one_corrupt_frame_does_not_change_how_columns_are_read(tmp_path: Path) -> None:
    data = dict(np.load(omniretarget(tmp_path / "o.npz", walking())))
    data["qpos"][7, :4] = np.nan
    np.savez(tmp_path / "bad.npz", **data)
    motion = read_motion(tmp_path / "bad.npz")
    assert isinstance(motion, RobotMotion)
    assert np.isnan(motion.root_quat_wxyz[7]).all() and np.isfinite(motion.root_pos).all()


def test_a_folder_whose_first_body_is_not_the_root_is_refused(tmp_path: Path) -> None:
    folder = sonic_folder(tmp_path / "clip", walking())
    (folder / "metadata.txt").write_text("Body part indexes:\n[4 0 10]\n")
    with pytest.raises(Refused, match="body 4"):
        read_motion(folder)


def test_joints_that_the_robot_lacks_are_left_out_of_a_table_with_names(tmp_path: Path) -> None:
    path = bones_csv(tmp_path / "b.csv", walking())
    motion = read_motion(path, None, ReadOptions(robot=load_robot("g1_23dof")))
    assert isinstance(motion, RobotMotion) and motion.joint_pos.shape[1] == 23
