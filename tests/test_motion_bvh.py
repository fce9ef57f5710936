"""BVH: round trips through a writer of our own, its traps, and real clips against their publisher's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, make_human_motion
from tests import motion_files as files
from tests.shared_data import shared_data
from tests.test_motion_formats import check_same, read

WALK = files.walking()


@pytest.mark.parametrize("order", ["ZXY", "ZYX", "XYZ", "YXZ", "XZY", "YZX"])
def test_angles_come_back_in_every_order(order: str, tmp_path: Path) -> None:
    check_same(read(files.bvh(tmp_path / "a.bvh", WALK, order=order)), WALK)


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45])
def test_the_unit_is_seen_by_the_legs(unit: float, tmp_path: Path) -> None:
    motion = read(files.bvh(tmp_path / "a.bvh", WALK, unit=unit))
    check_same(motion, WALK)
    assert any("unit" in note for note in motion.notes)


@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig_", "subject1:"])
def test_makers_prefixes_do_not_count(prefix: str, tmp_path: Path) -> None:
    check_same(read(files.bvh(tmp_path / "a.bvh", WALK, prefix=prefix)), WALK)


def test_line_ends_of_any_kind_are_ends(tmp_path: Path) -> None:
    path = files.bvh(tmp_path / "a.bvh", WALK, line_end="\r\n")
    head, motion = path.read_bytes().split(b"MOTION\r\n")
    path.write_bytes(head + b"MOTION\n" + motion.replace(b"\r\n", b"\n"))
    check_same(read(path), WALK)


def test_a_t_pose_in_frame_0_is_no_motion(tmp_path: Path) -> None:
    motion = read(files.bvh(tmp_path / "a.bvh", WALK, t_pose=True))
    assert motion.frames == WALK.frames
    assert any("left out" in note for note in motion.notes)
    check_same(read(files.bvh(tmp_path / "b.bvh", WALK, t_pose=False)), WALK)


def test_someone_with_arms_out_in_frame_0_is_no_t_pose(tmp_path: Path) -> None:
    """The first frame of a motion, 15 degrees off a T: neither taken for rest nor left out."""
    local = WALK.local_wxyz.copy()
    local[:, 1:22] = rotation.quat_from_vector_many(np.full(3, 0.15))
    motion = make_human_motion("near T", 30, local, WALK.pelvis_m)
    check_same(read(files.bvh(tmp_path / "a.bvh", motion, t_pose=False)), motion)


@pytest.mark.parametrize("droop_deg", [35, 50, 65])
def test_an_a_pose_is_raised_and_said_to_be(droop_deg: float, tmp_path: Path) -> None:
    path = files.bvh(tmp_path / "a.bvh", WALK, droop=np.radians(droop_deg), t_pose=False)
    motion = read(path)
    assert any("raised" in note for note in motion.notes)
    here, there = motion.in_world()[0], WALK.in_world()[0]
    here[..., 2] += (there - here)[0, 0, 2]
    assert np.abs(here - there).max() < 0.02  # an arm of the plain figure is not quite level


def test_a_figure_that_stands_in_no_t_is_refused(tmp_path: Path) -> None:
    path = files.bvh(tmp_path / "a.bvh", WALK, t_pose=False)
    text = path.read_text().replace(f"OFFSET {WALK.skeleton.offsets_m[4, 0] / 0.01:.9e}", "OFFSET 9.0e1")
    path.write_text(text)
    with pytest.raises(Refused, match="T-pose"):
        read(path)


def test_joints_with_other_names_are_refused_by_name(tmp_path: Path) -> None:
    path = files.bvh(tmp_path / "a.bvh", WALK)
    path.write_text(path.read_text().replace("LeftForeArm", "Tentacle"))
    with pytest.raises(Refused, match=r"left_elbow.*Tentacle"):
        read(path)


@pytest.mark.parametrize("change", [
    ("Frames: 32", "Frames: 33"), ("Frames: 32", "Frames: -1"), ("Frames: 32", "Frames: 99999999999999"),
    ("Frame Time: 0.0", "Frame Time: nan 0.0"), ("HIERARCHY", "LOWERARCHY"), ("CHANNELS 3", "CHANNELS 4"),
    ("JOINT Spine", "JOINT Hips"), ("}", "", ), ("Xposition", "Qposition"),
])
def test_damaged_files_are_refused(change: tuple[str, str], tmp_path: Path) -> None:
    path = files.bvh(tmp_path / "a.bvh", WALK)
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(Refused):
        read(path)


def lafan1_text(arm_deg: float) -> str:
    """LAFAN1's skeleton in its T-pose, its hips turned so that it stands along y and faces z; arms lowered."""
    side = """JOINT {S}UpLeg
{{ OFFSET 0.1 1.86 {s}10.5
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}Leg
{{ OFFSET 43.5 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}Foot
{{ OFFSET 42.37 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}Toe
{{ OFFSET 17.3 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
End Site
{{ OFFSET 0 0 0
}} }} }} }} }}
"""
    arm = """JOINT {S}Shoulder
{{ OFFSET 19.75 -1.48 {s}6.0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}Arm
{{ OFFSET 11.28 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}ForeArm
{{ OFFSET 33 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
JOINT {S}Hand
{{ OFFSET 25.2 0 0
CHANNELS 3 Zrotation Yrotation Xrotation
End Site
{{ OFFSET 0 0 0
}} }} }} }} }}
"""
    plain = "CHANNELS 3 Zrotation Yrotation Xrotation\n"
    text = "HIERARCHY\nROOT Hips\n{ OFFSET -224 91 -431\n"
    text += "CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation\n"
    text += side.format(S="Left", s="") + side.format(S="Right", s="-")
    for name, offset in (("Spine", "6.9 -2.6 0"), ("Spine1", "12.59 0 0"), ("Spine2", "12.34 0 0")):
        text += f"JOINT {name}\n{{ OFFSET {offset}\n{plain}"
    text += f"JOINT Neck\n{{ OFFSET 25.8 0 0\n{plain}JOINT Head\n{{ OFFSET 11.77 0 0\n{plain}"
    text += "End Site\n{ OFFSET 0 0 0\n} } }\n" + arm.format(S="Left", s="") + arm.format(S="Right", s="-")
    text += "} } } }\n"
    leg = "180 0 180 0 0 0 68.5454 0 0 21.4546 0 0"
    left = f"-90 -90 -90 0 {arm_deg} 0 0 0 0 0 0 0"
    right = f"-90 90 90 0 {-arm_deg} 0 0 0 0 0 0 0"
    row = f"0 90 0 90 0 90 {leg} {leg} {'0 0 0 ' * 5}{left} {right}\n"
    return text + f"MOTION\nFrames: 5\nFrame Time: 0.033333\n{row * 5}"


def test_lafan1_s_skeleton_whose_zero_pose_is_a_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(lafan1_text(0))
    motion = read(tmp_path / "a.bvh")
    assert motion.fps == 30
    turn = rotation.rotation_vector_many(motion.local_wxyz)
    assert np.abs(turn[:, 1:]).max() < 1e-6  # at rest
    at = dict(zip(HUMAN_JOINTS, motion.in_world()[0][0], strict=True))
    assert at["left_wrist"][2] - at["left_shoulder"][2] == pytest.approx(0, abs=1e-6)
    assert at["head"][2] - at["left_ankle"][2] > 1.3
    forward = at["left_foot"] - at["left_ankle"]
    left = at["left_hip"] - at["right_hip"]
    assert np.cross(left, [0, 0, 1]) @ forward > 0  # toes point where it faces, left is left
    assert at["left_wrist"] @ left > at["right_wrist"] @ left


def test_lafan1_s_arms_hang_when_they_are_turned_down(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(lafan1_text(80))
    at = dict(zip(HUMAN_JOINTS, read(tmp_path / "a.bvh").in_world()[0][0], strict=True))
    for side in ("left", "right"):
        way = at[f"{side}_wrist"] - at[f"{side}_shoulder"]
        assert abs(way[2]) > 0.95 * np.linalg.norm(way)


CLIPS = {  # pelvis heights of the publisher's table, m; None where the file's unit has no meaning
    "cmu_07_01_walk": (0.805, 0.894), "cmu_12_01_walk_native_units": (15.6 * 0.0254 / 0.45, 16.4 * 0.0254 / 0.45),
    "cmu_09_12_walk_turn_back_sideways": (0.786, 0.853), "cmu_13_01_sit_high_stool_stand": (0.677, 0.845),
    "cmu_14_31_sit_low_stool_stand": (0.395, 0.836), "cmu_02_06_bend_scoop_lift": (0.415, 0.852),
    "cmu_13_30_squats": (0.270, 0.868), "cmu_14_07_reach_up_tiptoe": (0.730, 0.945),
    "cmu_14_12_wipe_window": (0.786, 0.836), "cmu_13_26_direct_traffic_wave": (0.764, 0.847),
    "cmu_13_35_climb_three_steps": (0.768, 1.413), "fair_wave_hello": (23.6 * 0.0445, 23.7 * 0.0445),
}
FLAT = [name for name in CLIPS if "climb" not in name]


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_stand_as_high_as_their_publisher_measured(name: str) -> None:
    motion = read(shared_data(f"mocap/bvh/{name}.bvh"))
    low, high = CLIPS[name]
    z = motion.pelvis_m[:, 2]
    moved = next((float(note.split()[2]) for note in motion.notes if note.startswith("moved by")), 0.0)
    assert abs(moved) < 0.06
    assert z.min() - moved == pytest.approx(low, abs=0.011)
    assert z.max() - moved == pytest.approx(high, abs=0.011)


@pytest.mark.parametrize("name", FLAT)
def test_real_clips_on_flat_ground_have_a_foot_on_the_floor(name: str) -> None:
    motion = read(shared_data(f"mocap/bvh/{name}.bvh"))
    lower = motion.in_world()[0][:, [HUMAN_JOINTS.index("left_foot"), HUMAN_JOINTS.index("right_foot")], 2].min(axis=1)
    assert lower.min() > 0.0
    assert np.median(lower) < 0.13


@pytest.mark.parametrize("name", ["cmu_07_01_walk", "cmu_12_01_walk_native_units", "cmu_09_12_walk_turn_back_sideways"])
def test_real_walkers_face_where_they_go(name: str) -> None:
    motion = read(shared_data(f"mocap/bvh/{name}.bvh"))
    last = int(2.2 * motion.fps)
    way = (motion.pelvis_m[last] - motion.pelvis_m[0])[:2]
    facing = rotation.rotate_many(motion.local_wxyz[:last, 0], np.array([0.0, 0, 1])).mean(axis=0)[:2]
    assert way @ facing > np.cos(np.radians(5)) * np.linalg.norm(way) * np.linalg.norm(facing)


@pytest.mark.parametrize(("clip", "derived", "first", "step"), [
    ("cmu_09_12_walk_turn_back_sideways", "cmu_09_12_amass_layout", 8, 1),
    ("cmu_02_06_bend_scoop_lift", "cmu_02_06_gvhmr_layout", 9, 2),
])
def test_real_clips_agree_with_what_their_publisher_derived(clip: str, derived: str, first: int, step: int) -> None:
    motion = read(shared_data(f"mocap/bvh/{clip}.bvh"))
    other = read(shared_data(f"mocap/smpl/{derived}.npz"))
    turn = rotation.multiply_many(rotation.conjugate_many(motion.local_wxyz[first::step][: other.frames]),
                                  other.local_wxyz)
    assert np.abs(rotation.rotation_vector_many(turn)).max() < 1e-5
    place = motion.pelvis_m[first::step][: other.frames]
    np.testing.assert_allclose(place - place[0], other.pelvis_m - other.pelvis_m[0], atol=1e-6)
