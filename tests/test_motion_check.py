"""`exoactor motion check`: every check fails on a motion made to fail it, and passes on either side of its limit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

import exoactor
from export.motion.body_checks import check_robot_motion
from export.motion.check_command import controller_pose
from export.motion.check_limits import CHECKS, table_markdown
from export.motion.findings import ADVICE, OK, REFUSED, accepted, judge
from export.motion.human_checks import check_human_motion
from export.motion.repair import repair_motion
from export.motion.robot_motion import of_clip
from runtime.clip import clip_names, load_clip, save_clip
from runtime.human_motion import make_human_motion, save_human_motion
from runtime.robot import load_robot
from tests.shared_data import shared_data

ROBOT = load_robot("g1_29dof")
POSE = controller_pose("twist2", ROBOT)
KNEE = ROBOT.order.names.index("left_knee_joint")
WRIST = ROBOT.order.names.index("left_wrist_roll_joint")
ELBOW = ROBOT.order.names.index("left_elbow_joint")
WALK = of_clip(load_clip("walk", ROBOT))
STAND = of_clip(load_clip("arms_up", ROBOT))
HALF = np.array([0.70710678, 0.70710678, 0, 0])


def changed(motion=WALK, **edits):
    """A copy whose arrays were edited in place by functions."""
    arrays = {name: getattr(motion, name).copy() for name in ("joint_pos", "root_pos", "root_quat_wxyz")}
    for name, edit in edits.items():
        edit(arrays[name])
    return replace(motion, **arrays)


def put(index, value):
    def edit(array):
        array[index] = value
    return edit


def add(index, value):
    def edit(array):
        array[index] += value
    return edit


def turned(array, frames, angle):
    """Turn about z from `frames` on."""
    w, x, y, z = array[frames].T
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    array[frames] = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)


def verdicts(motion, pose=POSE):
    return {f.check: f for f in check_robot_motion(motion, ROBOT, pose=pose)}


def not_ok(motion, verdict=None):
    return {name for name, f in verdicts(motion).items() if f.verdict != OK and verdict in (None, f.verdict)}


@pytest.mark.parametrize("name", clip_names())
def test_shipped_clips_are_accepted_without_advice(name):
    assert not_ok(of_clip(load_clip(name, ROBOT))) == set()


@pytest.mark.parametrize("number", ["001", "002", "005", "007"])
def test_published_walks_are_accepted(number, capsys):
    path = shared_data(f"motions/twist2_walk_{number}.npz")
    assert exoactor.main(["motion", "check", str(path)]) == 0
    assert capsys.readouterr().out.endswith("accepted\n")


def repeated_in(motion):
    q = motion.joint_pos.copy()
    root = motion.root_pos.copy()
    q[200], root[200] = q[199], root[199]
    return replace(motion, joint_pos=q, root_pos=root)


def hold(arrays_rows):
    """The motion's frames at rows."""
    return replace(WALK, joint_pos=WALK.joint_pos[arrays_rows], root_pos=WALK.root_pos[arrays_rows],
                   root_quat_wxyz=WALK.root_quat_wxyz[arrays_rows])


def glide():
    """A standing robot that is pushed over the floor."""
    root = STAND.root_pos.copy()
    root[:, 0] += np.linspace(0, 1.0 * STAND.duration_s, len(root))
    return replace(STAND, root_pos=root)


def leap():
    """Half a metre up for two seconds, then down again, slowly enough to be no jump, at a run's pace."""
    t = np.arange(STAND.frames) / STAND.fps
    root = STAND.root_pos.copy()
    root[:, 2] += 0.35 * np.clip(np.minimum((t - 0.5) / 0.3, (3.5 - t) / 0.3), 0, 1)
    root[:, 0] += 0.7 * np.clip(t - 0.5, 0, 3.0)
    return replace(STAND, root_pos=root)


def crossed():
    """A hand driven into the thigh."""
    q = STAND.joint_pos.copy()
    for name, angle in (("left_shoulder_pitch_joint", 0.1), ("left_shoulder_roll_joint", -0.25),
                        ("left_shoulder_yaw_joint", 0.0), ("left_elbow_joint", 1.3)):
        q[:, ROBOT.order.names.index(name)] = angle
    return replace(STAND, joint_pos=q)


def shaken():
    """Wrist trembling within all other limits."""
    q = STAND.joint_pos.copy()
    q[:, WRIST] += 0.09 * np.sin(2 * np.pi * 16 * np.arange(len(q)) / STAND.fps)
    return replace(STAND, joint_pos=q)


def skated():
    root = STAND.root_pos.copy()
    root[:, 0] += 0.4 * np.arange(len(root)) / STAND.fps
    return replace(STAND, root_pos=root)


def lost():
    """A frame missing where the knee moves evenly."""
    q = STAND.joint_pos.copy()
    q[:, ELBOW] = 0.3 + 0.02 * np.clip(np.arange(len(q)) - 50, 0, 60)
    q[100:, ELBOW] += 0.02
    return replace(STAND, joint_pos=q)


FAILS = {
    "finite": (REFUSED, changed(joint_pos=put((30, 3), np.nan))),
    "quaternion_norm": (REFUSED, changed(root_quat_wxyz=put(40, WALK.root_quat_wxyz[40] * 1.02))),
    "quaternion_order": (REFUSED, replace(STAND, root_quat_wxyz=STAND.root_quat_wxyz[:, [1, 0, 2, 3]])),
    "rate": (ADVICE, replace(STAND, fps=10.0)),
    "duration": (ADVICE, replace(STAND, fps=(STAND.frames - 1) / 601)),
    "repeated": (ADVICE, repeated_in(WALK)),
    "gaps": (ADVICE, lost()),
    "root_speed": (REFUSED, changed(root_pos=add((slice(0, 2), 0), -1.0))),
    "root_jump": (REFUSED, changed(root_pos=add((slice(0, 2), 0), -0.08))),
    "root_turn": (REFUSED, changed(root_quat_wxyz=lambda q: turned(q, slice(300, None), 1.5))),
    "joint_range": (REFUSED, changed(STAND, joint_pos=put((slice(None), WRIST), 1.97222 + 0.06))),
    "joint_speed": (REFUSED, changed(joint_pos=add((slice(100, None), WRIST), 1.2))),
    "joint_acceleration": (ADVICE, changed(STAND, joint_pos=add((100, WRIST), 0.25))),
    "joint_jerk": (ADVICE, shaken()),
    "root_low": (REFUSED, changed(STAND, root_pos=add((slice(None), 2), -0.85))),
    "root_high": (REFUSED, changed(STAND, root_pos=add((slice(None), 2), 1.5))),
    "ground": (ADVICE, changed(STAND, root_pos=add((slice(None), 2), 0.05))),
    "penetration": (ADVICE, changed(WALK, root_pos=lambda p: p.__setitem__(
        (slice(200, 216), 2), p[200:216, 2] - 0.06 * np.sin(np.linspace(0, np.pi, 16))))),
    "floating": (REFUSED, leap()),
    "gliding": (REFUSED, glide()),
    "foot_skate": (ADVICE, skated()),
    "self_collision": (ADVICE, crossed()),
    "velocity_factor": (REFUSED, replace(WALK, joint_vel=np.gradient(WALK.joint_pos, 1 / 30, axis=0))),
    "velocity_error": (ADVICE, replace(WALK, joint_vel=np.gradient(WALK.joint_pos, 1 / 50, axis=0)
                                       + np.random.default_rng(1).normal(0, 0.5, WALK.joint_pos.shape))),
    "start_pose": (ADVICE, changed(STAND, joint_pos=put((slice(None), WRIST), 1.8))),
    "end_rest": (ADVICE, skated()),
    "joints": (REFUSED, replace(STAND, order=type(STAND.order)((*STAND.order.names[:-1], "tail_joint")))),
    "frames": (REFUSED, replace(STAND, joint_pos=STAND.joint_pos[:2], root_pos=STAND.root_pos[:2],
                                root_quat_wxyz=STAND.root_quat_wxyz[:2])),
}
ALONG = {
    "duration": {"rate"}, "root_speed": {"root_jump"}, "root_low": {"ground", "penetration"},
    "root_high": {"ground"}, "gliding": {"end_rest"}, "foot_skate": {"end_rest"}, "end_rest": {"foot_skate"},
    "joint_speed": {"joint_acceleration", "joint_jerk"},
    "quaternion_order": {"ground", "penetration", "self_collision", "gliding"},
    "joint_range": {"start_pose"}, "floating": {"gliding", "foot_skate"}, "joint_acceleration": {"joint_jerk"},
    "self_collision": {"start_pose"}, "joint_jerk": {"joint_acceleration"}, "root_turn": {"foot_skate", "gliding"},
    "velocity_factor": {"velocity_error"},
}
"""What cannot but fail together: a motion that jumps a metre also jumps beyond what is usual around."""


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "body_turn"])
def test_each_check_finds_what_it_is_for_and_nothing_unrelated(check):
    verdict, motion = FAILS[check]
    found = verdicts(motion)[check]
    assert found.verdict == verdict, found
    assert not_ok(motion) <= {check} | ALONG.get(check, set())


@pytest.mark.parametrize("check", list(CHECKS))
def test_either_side_of_every_limit(check):
    row = CHECKS[check]
    if row.refused is not None:
        assert judge(check, row.refused, 50).verdict != REFUSED
        assert judge(check, row.refused + 1e-6, 50).verdict == REFUSED
    if row.advice is not None:
        assert judge(check, row.advice, 50).verdict == OK
        assert judge(check, row.advice + 1e-6, 50).verdict == ADVICE
    assert judge(check, np.nan, 50).verdict != OK


def test_a_teleport_is_refused_with_frame_value_and_limit(tmp_path, capsys):
    motion = changed(root_pos=add((slice(0, 2), 0), -1.0))
    save_clip(tmp_path / "bad.npz", motion.to_clip())
    assert exoactor.main(["motion", "check", str(tmp_path / "bad.npz")]) == 2
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("refused: root_speed"))
    assert re.fullmatch(r"refused: root_speed \d\d\.\d+ m/s in frames 1 to 2 \(0\.02 to 0\.04 s\), limit 6 m/s", line)


def test_wrong_rate_is_named_by_its_factor():
    found = verdicts(FAILS["velocity_factor"][1])["velocity_factor"]
    assert "0.600 times" in found.detail and "a rate of 30 Hz instead of 50" in found.detail


REPAIRED = ["finite", "quaternion_norm", "repeated", "gaps", "root_speed", "root_jump", "joint_range",
            "joint_acceleration", "velocity_factor"]


@pytest.mark.parametrize("check", REPAIRED)
def test_what_repair_claims_to_mend_is_mended_and_told(check):
    motion = FAILS[check][1]
    mended, changes = repair_motion(motion, ROBOT, check_robot_motion(motion, ROBOT, pose=POSE))
    assert changes
    after = verdicts(mended)
    assert after.get(check, judge(check, 0, 50)).verdict == OK
    assert accepted(list(after.values()))


def test_a_motion_too_fast_is_slowed_down_and_keeps_its_frames():
    fast = replace(of_clip(load_clip("walk_fast", ROBOT)), fps=300.0)
    findings = check_robot_motion(fast, ROBOT, pose=POSE)
    assert {f.check: f for f in findings}["joint_speed"].verdict in (ADVICE, REFUSED)
    mended, changes = repair_motion(fast, ROBOT, findings)
    assert any("slowed down" in line for line in changes)
    np.testing.assert_array_equal(mended.joint_pos, fast.joint_pos)
    assert verdicts(mended)["joint_speed"].verdict == OK


def test_repair_of_a_sound_motion_changes_nothing_bit_for_bit(tmp_path, capsys):
    source = tmp_path / "walk.npz"
    save_clip(source, WALK.to_clip())
    assert exoactor.main(["motion", "check", str(source), "--repair", str(tmp_path / "out.npz")]) == 0
    assert (tmp_path / "out.npz").read_bytes() == source.read_bytes()
    assert "repaired: nothing to do" in capsys.readouterr().out
    same, changes = repair_motion(WALK, ROBOT, check_robot_motion(WALK, ROBOT, pose=POSE))
    assert same is WALK and changes == []


def test_a_motion_above_the_floor_is_set_on_it_by_one_constant(tmp_path):
    save_clip(tmp_path / "high.npz", changed(STAND, root_pos=add((slice(None), 2), 0.2)).to_clip())
    out = tmp_path / "out.npz"
    assert exoactor.main(["motion", "check", str(tmp_path / "high.npz")]) == 2
    assert exoactor.main(["motion", "check", str(tmp_path / "high.npz"), "--repair", str(out)]) == 0
    moved = load_clip(out, ROBOT).root_pos - STAND.root_pos
    assert np.ptp(moved, axis=0).max() < 1e-9
    assert verdicts(of_clip(load_clip(out, ROBOT)))["ground"].value < 1e-6


@pytest.mark.parametrize(("motion", "words"), [
    (changed(joint_pos=put((slice(100, 130), 3), np.nan)), "0.60 s without numbers from frame 100"),
    (changed(root_pos=add((slice(200, None), 0), 1.0)), "one from frame 199 to 200"),
    (changed(root_quat_wxyz=put(40, 0.0)), "frame 40"),
])
def test_repair_refuses_what_it_cannot_mend(motion, words, tmp_path, capsys):
    save_clip(tmp_path / "bad.npz", replace(WALK, name="bad").to_clip())
    np.savez(tmp_path / "bad.npz", format="exoactor-clip/1", fps=50.0, joint_names=np.array(ROBOT.order.names),
             joint_pos=motion.joint_pos, root_pos=motion.root_pos, root_quat_wxyz=motion.root_quat_wxyz)
    assert exoactor.main(["motion", "check", str(tmp_path / "bad.npz"), "--repair", str(tmp_path / "o.npz")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "o.npz").exists()


def test_json_report_keeps_its_form(tmp_path, capsys):
    save_clip(tmp_path / "bad.npz", changed(root_pos=add((slice(0, 2), 0), -1.0)).to_clip())
    assert exoactor.main(["motion", "check", str(tmp_path / "bad.npz"), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"schema", "file", "kind", "name", "fps", "frames", "duration_s", "accepted", "findings",
                         "notes", "repairs"}
    assert told["schema"] == "exoactor-motion-check/1" and told["accepted"] is False and told["repairs"] is None
    for row in told["findings"]:
        assert set(row) == {"check", "value", "limit", "unit", "verdict", "from_frame", "to_frame", "from_s", "to_s",
                            "detail", "what_to_do", "repair"}
        assert row["check"] in CHECKS and row["verdict"] in (OK, ADVICE, REFUSED)


def human(turn_rad=0.0, place=0.0):
    frames = 60
    local = np.zeros((frames, 24, 4))
    local[..., 0] = 1
    local[:, 0] = HALF  # SMPL's y up becomes z up
    local[30:, 18] = (np.cos(turn_rad / 2), np.sin(turn_rad / 2), 0, 0)
    pelvis = np.zeros((frames, 3))
    pelvis[:, 2] = 0.96
    pelvis[30:, 0] = place
    return make_human_motion("human", 30.0, local, pelvis)


def test_a_standing_human_is_accepted_and_a_robot_s_part_is_named(tmp_path, capsys):
    save_human_motion(tmp_path / "h.npz", human())
    assert exoactor.main(["motion", "check", str(tmp_path / "h.npz")]) == 0
    assert "need --retarget" in capsys.readouterr().out


@pytest.mark.parametrize(("motion", "check"), [(human(turn_rad=2.5), "body_turn"), (human(place=0.5), "root_speed")])
def test_a_human_that_teleports_is_refused(motion, check):
    refused = {f.check: f for f in check_human_motion(motion) if f.verdict == REFUSED}
    assert refused[check].frames == (29, 30)


def test_every_file_that_check_accepts_can_be_loaded(tmp_path):
    for name, (_, motion) in FAILS.items():
        if name in ("finite", "frames", "joints") or not accepted(check_robot_motion(motion, ROBOT, pose=POSE)):
            continue
        save_clip(tmp_path / f"{name}.npz", motion.to_clip())
        load_clip(tmp_path / f"{name}.npz", ROBOT)


def test_the_page_has_the_code_s_own_table():
    text = (Path(__file__).parents[1] / "docs" / "motion_check.md").read_text("utf-8")
    assert f"<!-- checks -->\n{table_markdown()}\n<!-- /checks -->" in text
