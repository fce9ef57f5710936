"""Seams between clips, and chains of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import rotation
from runtime.chain import chain_clip, find_chain, load_motion, read_chain
from runtime.clip import Clip, load_clip, make_clip, save_clip
from runtime.errors import Refused
from runtime.foot_contacts import contacts
from runtime.robot import load_robot
from runtime.stitch import RATE_HZ, at_rate, decay, stitch

G1 = load_robot("g1_29dof")
WALK, TURN, SQUAT = (load_clip(name, G1) for name in ("walk", "turn_in_place", "squat"))


def moved(clip: Clip, yaw: float, x: float, y: float) -> Clip:
    """The same motion elsewhere in the world."""
    about_z = np.broadcast_to(np.array(rotation.quat_about_z(yaw)), clip.root_quat_wxyz.shape)
    return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos,
                     rotation.rotate_many(about_z, clip.root_pos) + np.array([x, y, 0]),
                     rotation.multiply_many(about_z, clip.root_quat_wxyz))


def test_a_seam_jumps_in_neither_position_nor_velocity() -> None:
    joined, seam = stitch(WALK, SQUAT, G1)
    at = round(seam.time_s * RATE_HZ)
    around = slice(at - 3, at + round(seam.blend_s * RATE_HZ) + 3)
    for values, most in ((joined.joint_pos, 6.0), (joined.root_pos, 0.6)):
        steps = np.diff(values[around], axis=0) * RATE_HZ
        assert np.abs(np.diff(steps, axis=0)).max() * RATE_HZ < most * RATE_HZ / 3  # no velocity appears at once
    plain = np.abs(np.diff(at_rate(WALK, RATE_HZ).joint_pos[: at + 1], axis=0)).max()
    assert np.abs(np.diff(joined.joint_pos[around], axis=0)).max() < plain + 0.05


def test_the_first_frames_and_the_last_are_the_clips_own() -> None:
    joined, seam = stitch(WALK, SQUAT, G1)
    at, end = round(seam.time_s * RATE_HZ), at_rate(SQUAT, RATE_HZ)
    np.testing.assert_allclose(joined.joint_pos[:at], at_rate(WALK, RATE_HZ).joint_pos[:at], atol=1e-9)
    tail = len(joined.joint_pos) - at - round(seam.blend_s * RATE_HZ) - 1
    np.testing.assert_allclose(joined.joint_pos[-tail:], end.joint_pos[-tail:], atol=1e-9)
    np.testing.assert_allclose(joined.root_pos[-tail:, 2], end.root_pos[-tail:, 2], atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.floats(-3, 3), st.floats(-5, 5), st.floats(-5, 5))
def test_where_the_second_clip_was_recorded_does_not_matter(yaw: float, x: float, y: float) -> None:
    one, _ = stitch(TURN, WALK, G1)
    other, _ = stitch(TURN, moved(WALK, yaw, x, y), G1)
    np.testing.assert_allclose(other.joint_pos, one.joint_pos, atol=1e-9)
    np.testing.assert_allclose(other.root_pos, one.root_pos, atol=1e-6)
    np.testing.assert_allclose(np.abs((other.root_quat_wxyz * one.root_quat_wxyz).sum(axis=1)), 1, atol=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.floats(-3, 3), st.floats(-5, 5))
def test_moved_both_the_whole_moves_with_them(yaw: float, x: float) -> None:
    one, _ = stitch(TURN, WALK, G1)
    other, _ = stitch(moved(TURN, yaw, x, 1.0), WALK, G1)
    np.testing.assert_allclose(moved(one, yaw, x, 1.0).root_pos, other.root_pos, atol=1e-6)


def test_the_second_clip_goes_on_where_the_first_faces() -> None:
    joined, seam = stitch(TURN, WALK, G1)
    at = round(seam.time_s * RATE_HZ)
    heading = rotation.heading_rad(joined.root_quat_wxyz[at])
    went = joined.root_pos[-1, :2] - joined.root_pos[at, :2]
    assert abs(heading) > 0.5  # it has turned
    assert abs(np.angle(np.exp(1j * (np.arctan2(went[1], went[0]) - heading)))) < 0.5


def test_the_same_feet_stand_at_a_cut() -> None:
    joined, seam = stitch(WALK, WALK, G1)
    assert seam.same_contacts
    stand = contacts(joined, G1)
    assert stand.shape[1] == 2 and 0.5 < stand.mean() < 1.0


def test_what_is_left_of_a_difference_ends_at_rest() -> None:
    place, speed = decay(401, 0.001)
    for values, start, slope in ((place, 1.0, 0.0), (speed, 0.0, 1.0)):
        rates = np.gradient(values, 0.001, edge_order=2)
        assert values[0] == start and rates[0] == pytest.approx(slope, abs=1e-2)
        assert values[-1] == pytest.approx(0) and rates[-1] == pytest.approx(0, abs=1e-2)


def test_a_seam_too_far_is_refused_by_name() -> None:
    far = WALK.joint_pos.copy()
    column = WALK.order.names.index("left_shoulder_pitch_joint")
    far[:, column] = G1.joints[G1.order.names.index("left_shoulder_pitch_joint")].lower_rad
    other = make_clip("arm_back", WALK.fps, WALK.order, far, WALK.root_pos, WALK.root_quat_wxyz)
    fast = make_clip("whirl", WALK.fps, WALK.order, -far, WALK.root_pos, WALK.root_quat_wxyz)
    with pytest.raises(Refused, match="arm_back and whirl"):
        stitch(other, fast, G1)


def test_other_channels_do_not_join() -> None:
    other = make_clip("human", WALK.fps, WALK.order, WALK.joint_pos, WALK.root_pos, WALK.root_quat_wxyz,
                      {"token": np.zeros((len(WALK.joint_pos), 64))})
    with pytest.raises(Refused, match="same channels"):
        stitch(WALK, other, G1)


def test_channels_go_along_and_the_human_s_root_turns() -> None:
    def human(clip: Clip) -> Clip:
        frames = len(clip.joint_pos)
        return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz,
                         {"smpl_quat_wxyz": clip.root_quat_wxyz, "smpl_joints": np.ones((frames, 72))})

    joined, _ = stitch(human(TURN), human(WALK), G1)
    np.testing.assert_allclose(
        np.abs((joined.channels["smpl_quat_wxyz"] * joined.root_quat_wxyz).sum(axis=1)), 1, atol=1e-6)
    np.testing.assert_allclose(joined.channels["smpl_joints"], 1, atol=1e-9)


# --- Files ------------------------------------------------------------------------------------------------------------


def chain_file(folder: Path, *actions: object, **more: object) -> Path:
    path = folder / "chain.json"
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": list(actions), **more}))
    return path


def test_the_shipped_chain_passes_a_clip_s_checks(tmp_path: Path) -> None:
    joined, seams = chain_clip(find_chain("demo"), G1)
    assert len(seams) == 4 and all(seam.same_contacts for seam in seams)
    save_clip(tmp_path / "joined.npz", joined)
    assert load_clip(tmp_path / "joined.npz", G1).duration_s == pytest.approx(joined.duration_s)


def test_parts_and_repeats_are_taken(tmp_path: Path) -> None:
    path = chain_file(tmp_path, {"clip": "squat", "start_s": 0.5, "end_s": 3.0}, {"clip": "squat", "repeats": 2})
    joined, seams = chain_clip(path, G1)
    assert len(seams) == 2
    assert joined.duration_s > 2.0 + 2 * (SQUAT.duration_s - 1.3)


def test_clips_lie_beside_the_file_or_are_shipped(tmp_path: Path) -> None:
    save_clip(tmp_path / "mine.npz", SQUAT)
    first, second = read_chain(chain_file(tmp_path, {"clip": "mine.npz"}, {"clip": "wave"}))
    assert first.clip == tmp_path / "mine.npz" and second.clip.name == "wave.npz"
    assert load_motion(str(tmp_path / "chain.json"), G1).duration_s > SQUAT.duration_s


@pytest.mark.parametrize(("actions", "more", "found"), [
    ([], {}, "not empty"),
    ([{}], {}, "clip"),
    ([{"clip": "walk", "speed": 2}], {}, "speed"),
    ([{"clip": "walk", "repeats": 0}], {}, "whole number"),
    ([{"clip": "walk", "repeats": 1000}], {}, "whole number"),
    ([{"clip": "walk", "start_s": 2, "end_s": 1}], {}, "after start_s"),
    ([{"clip": "walk", "blend_s": 0.0}], {}, "blend_s"),
    ([{"clip": "walk"}], {"loop": True}, "loop"),
    ([{"clip": "walk"}], {"format": "exoactor-chain/2"}, "exoactor-chain/1"),
    ([{"clip": "nowhere.npz"}], {}, "nowhere.npz"),
    ([{"clip": "walk", "start_s": 100}], {}, "actions\\[0\\]"),
])
def test_a_bad_chain_is_refused(actions: list[object], more: dict[str, object], found: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=found):
        chain_clip(chain_file(tmp_path, *actions, **more), G1)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text("{")
    with pytest.raises(Refused):
        read_chain(tmp_path / "chain.json")
    with pytest.raises(Refused, match=r"no|none"):
        read_chain(tmp_path / "absent.json")


def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        load_motion("x" * 5000, G1)
    with pytest.raises(Refused, match="no file xxx"):
        chain_clip(chain_file(tmp_path, {"clip": "x" * 5000}), G1)


def test_a_clip_that_is_fast_by_itself_is_no_fault_of_the_seam() -> None:
    limit = G1.joints[G1.order.names.index("left_wrist_yaw_joint")].velocity_rad_s
    joint_pos, column = SQUAT.joint_pos.copy(), SQUAT.order.names.index("left_wrist_yaw_joint")
    joint_pos[3, column] += 1.2 * limit / SQUAT.fps
    fast = make_clip("fast", SQUAT.fps, SQUAT.order, joint_pos, SQUAT.root_pos, SQUAT.root_quat_wxyz)
    joined, _ = stitch(WALK, fast, G1)
    assert joined.duration_s > 5


@pytest.mark.parametrize("fps", [120.0, 240.0])
def test_a_part_too_short_to_join_is_refused_by_name(fps: float) -> None:
    short = make_clip("short", fps, WALK.order, WALK.joint_pos[:3], WALK.root_pos[:3], WALK.root_quat_wxyz[:3])
    for pair in ((short, WALK), (WALK, short)):
        with pytest.raises(Refused, match="of short"):
            stitch(*pair, G1)


def test_seams_are_named_by_their_two_clips(tmp_path: Path) -> None:
    _, seams = chain_clip(chain_file(tmp_path, {"clip": "squat", "repeats": 4}), G1)
    assert {(seam.first, seam.second) for seam in seams} == {("squat.npz", "squat.npz")}
