"""Seams between clips, and chains of them."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.recorder import settings_for
from runtime import check_command, rotation
from runtime.chain import chain_clip, find_chain, load_motion, read_chain
from runtime.clip import Clip, load_clip, make_clip, save_clip
from runtime.errors import Refused
from runtime.foot_contacts import contacts
from runtime.preflight import Check, check_controller
from runtime.resample import at_rate
from runtime.robot import load_robot
from runtime.stitch import RATE_HZ, decay, stitch
from runtime.tape import Tape

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


def test_a_token_is_one_or_the_other_and_changes_in_the_middle_of_the_seam() -> None:
    def told(clip: Clip, value: float) -> Clip:
        return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz,
                         {"token": np.full((len(clip.joint_pos), 64), value)})

    joined, seam = stitch(told(TURN, 1.0), told(WALK, 2.0), G1)
    token = joined.channels["token"][:, 0]
    assert set(np.unique(token)) == {1.0, 2.0}, "nothing in between"
    changes = int(np.argmax(token == 2.0)) / RATE_HZ
    assert changes == pytest.approx(seam.time_s + seam.blend_s / 2, abs=1 / RATE_HZ)


def test_rotation_vectors_near_half_a_turn_are_blended_as_rotations() -> None:
    """+3.1 and -3.1 rad are nearly the same rotation: in line the blend would pass through no turn at all."""

    def posed(clip: Clip, angle: float) -> Clip:
        pose = np.zeros((len(clip.joint_pos), 63))
        pose[:, 0] = angle
        return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz,
                         {"smpl_pose": pose})

    joined, _ = stitch(posed(TURN, 3.1), posed(WALK, -3.1), G1)
    assert np.abs(joined.channels["smpl_pose"][:, 0]).min() > 3.0


def test_on_the_floor_nothing_goes_back_where_a_walk_is_cut_into_standing() -> None:
    frames, still = 101, load_clip("squat", G1)
    moving = make_clip("moving", 50.0, still.order, np.repeat(still.joint_pos[:1], frames, axis=0),
                       np.stack([np.arange(frames) * 0.02, np.zeros(frames), np.full(frames, 0.79)], axis=1),
                       np.repeat(still.root_quat_wxyz[:1], frames, axis=0))
    joined, seam = stitch(moving, still, G1, (1.0,))
    forward = np.diff(joined.root_pos[:, 0]) * 50
    assert forward.min() > -0.05 and forward.max() < 1.05  # the squat's own hips move by 0.02 m/s
    after = joined.root_pos[-1, 0] - joined.root_pos[round(seam.time_s * RATE_HZ), 0]
    assert after == pytest.approx(0.5, abs=0.1)  # half of the second that the blend takes, at 1 m/s


# --- Continuity -------------------------------------------------------------------------------------------------------


@st.composite
def made_clips(draw: st.DrawFn) -> Clip:
    """A motion within the limits: joints that swing, a root that goes anywhere at up to 1.5 m/s and turns."""
    seed, frames = draw(st.integers(0, 2**32 - 1)), draw(st.integers(40, 200))
    fps, heading = draw(st.sampled_from([30.0, 50.0, 120.0])), draw(st.floats(-3.1, 3.1))
    speed, turn = draw(st.floats(-1.0, 1.5)), draw(st.floats(-1.0, 1.0))
    rng, t = np.random.default_rng(seed), np.arange(frames) / fps
    default = WALK.joint_pos[0]
    swing = rng.uniform(0, 0.2, 29) * np.sin(np.outer(t * 2 * np.pi, rng.uniform(0.2, 1.0, 29)) + rng.uniform(0, 6, 29))
    yaw = heading + turn * t
    quat = np.stack([np.cos(yaw / 2), 0 * t, 0 * t, np.sin(yaw / 2)], axis=1)
    steps = speed / fps * np.stack([np.cos(yaw), np.sin(yaw), 0 * t], axis=1)
    height = 0.75 + 0.02 * np.sin(t * 6 + rng.uniform(0, 6))
    place = np.cumsum(steps, axis=0) + rng.uniform(-5, 5, 3) * [1, 1, 0]
    place[:, 2] = height
    return make_clip(f"made {seed}", fps, WALK.order, default + swing, place, quat)


@settings(max_examples=40, deadline=None)
@given(made_clips(), made_clips())
def test_whatever_is_joined_is_continuous_in_position_and_velocity(first: Clip, second: Clip) -> None:
    """Bounds: accelerations of a quintic over 0.3 s, from what the two differ by at most, and the clips' own."""
    joined, seam = stitch(first, second, G1)
    at = round(seam.time_s * RATE_HZ)
    around = slice(max(at - 3, 0), at + round(seam.blend_s * RATE_HZ) + 3)
    limit = np.array([G1.joints[i].velocity_rad_s for i in G1.order.index_of(joined.order)])
    steps = np.diff(joined.joint_pos[around], axis=0) * RATE_HZ
    assert (np.abs(steps) <= limit * 1.0001).all(), "within every joint's speed limit"
    apart = np.abs(first.joint_pos).max(axis=0) + np.abs(second.joint_pos).max(axis=0)
    speeds = np.abs(first.joint_vel).max(axis=0) + np.abs(second.joint_vel).max(axis=0)
    jerkless = 5.78 * 2 * apart / seam.blend_s**2 + 8 * speeds / seam.blend_s + 10
    assert (np.abs(np.diff(steps, axis=0)) * RATE_HZ <= jerkless).all(), "no velocity appears at once"
    floor = np.diff(joined.root_pos[around], axis=0) * RATE_HZ
    assert np.linalg.norm(floor[:, :2], axis=1).max() < 1.5 * 2 + 0.1
    assert np.linalg.norm(np.diff(floor[:, :2], axis=0), axis=1).max() < 3.0 / seam.blend_s * 1.875 / RATE_HZ + 0.1
    turned = (joined.root_quat_wxyz[around][1:] * joined.root_quat_wxyz[around][:-1]).sum(axis=1)
    assert 2 * np.arccos(np.clip(np.abs(turned), 0, 1)).max() * RATE_HZ < 4.0
    tail = len(joined.joint_pos) - at - round(seam.blend_s * RATE_HZ) - 1
    if tail > 0:
        wanted = at_rate(second, RATE_HZ).joint_pos[-tail:]
        np.testing.assert_allclose(joined.joint_pos[-tail:], wanted, atol=1e-9)


def test_a_long_chain_costs_no_more_a_seam_than_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a seam is given to look at does not grow with what lies before it."""
    seen: list[int] = []

    def looked(first: Clip, *more: Any) -> Any:
        seen.append(len(first.joint_pos))
        return stitch(first, *more)

    monkeypatch.setattr("runtime.tape.stitch", looked)
    tape = Tape(G1, 3600.0)
    for _ in range(30):
        tape.append(SQUAT)
    assert max(seen) < 2 * 4.0 * RATE_HZ + len(SQUAT.joint_pos) and len(tape.seams) == 29
    whole = tape.clip("whole")
    assert whole.duration_s == pytest.approx(tape.frames / RATE_HZ, abs=0.03)
    assert np.abs(np.diff(whole.joint_vel, axis=0)).max() < 1.0, "no seam where parts were put aside"
    with pytest.raises(Refused, match="at most 5 s"):
        Tape(G1, 5.0).append(SQUAT)


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
    first, second = read_chain(chain_file(tmp_path, {"clip": "mine.npz"}, {"clip": "wave"})).actions
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
    ([{"clip": "walk", "blend_s": None}], {}, "blend_s"),
    ([{"clip": "walk", "start_s": None}], {}, "start_s"),
    ([{"clip": "walk", "start_s": True}], {}, "start_s"),
    ([{"clip": "walk", "end_s": float("nan")}], {}, "NaN"),
    ([{"clip": "walk", "end_s": float("inf")}], {}, "Infinity"),
    ([{"clip": "walk", "repeats": True}], {}, "repeats"),
    ([{"clip": "walk", "repeats": None}], {}, "repeats"),
    ([{"clip": "walk"}], {"done": 1}, "done"),
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


# --- Preflight --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "found"), [
    (["--chain", "demo"], "4 seams"), (["--clip", "walk"], "9.5 s at 50.00 Hz"),
])
def test_a_check_looks_at_the_motion_of_a_run(words: list[str], found: str) -> None:
    lines = {line.check: line for line in checked(words)}
    assert all(line.ok for line in lines.values()) and found in lines["clip"].measured


def test_a_check_refuses_the_chain_that_a_run_would(tmp_path: Path) -> None:
    path = chain_file(tmp_path, {"clip": "walk"}, {"clip": "walk", "start_s": 99})
    assert any("actions[1]" in line.check for line in checked(["--chain", str(path)]) if line.is_red)
    with pytest.raises(Refused, match="shipped chain"):
        checked(["--chain", "walk"])


def checked(words: list[str]) -> list[Check]:
    """What `exoactor check` says of controller and motion."""
    parser = argparse.ArgumentParser()
    check_command.add_arguments(parser)
    return list(check_controller(replace(settings_for("g1-tracker"),
                                         clip=check_command.motion_of(parser.parse_args(words)))))
