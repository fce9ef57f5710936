"""Zeros by gravity and jig, ranges, and which joint each motor turns: on synthetic sweeps, and on hidden truths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import mapping
from calibration.bench import Recording
from calibration.envelope import enclose
from calibration.evidence import Judge, Seen, Wiring
from calibration.gravity import UNUSUAL, Gravity, fit_gravity, why_unseen
from calibration.hanging import hanging, safe_poses
from calibration.jig import Pose
from calibration.lockstep import CalibrationRun
from calibration.mapping import PERSON, Mapping
from calibration.range_sweep import Range, turns_lost
from calibration.recording import recording_dtype
from calibration.routine import Found, Routine
from calibration.sweeps import Swept, swept
from exoactor import main
from firmware_bridge.errors import BridgeError
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import Truth, read_truth
from runtime.errors import Refused
from runtime.robot import load_robot
from runtime.rotation import quat_from_matrix_many

G1 = enclose("g1_29dof", Gravity.envelope)
NAMES = [row.name for row in sorted(G1.joints, key=lambda row: row.motor)]
N = len(NAMES)
MODEL = hanging(G1)
ELBOW, KNEE, WRIST = "left_elbow_joint", "left_knee_joint", "left_wrist_pitch_joint"
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.1}


def truth(**parts: Any) -> Truth:
    return read_truth({"schema": "exoactor-truth/1", "noise": NOISE, **parts})


def carried_out(
    routine: Routine, of: Truth, *joints: str, slip_rad: float = 0.0
) -> tuple[CalibrationRun, Found | None]:
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, joints, np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=of))
    run.assistant.slip_rad = slip_rad
    run.run(400)
    return run, routine.fit(run.conductor.bench.recording()) if run.conductor.is_done else None


# Gravity


def test_a_model_that_hangs_weighs_alike_both_ways() -> None:
    """The slope of a potential is symmetric, whichever side of the waist the base is on."""
    q = 0.3 * np.random.default_rng(0).standard_normal(N)
    stiffness = MODEL.stiffness(q, np.array([0.05, 0.1, 0.0]))
    assert stiffness == pytest.approx(stiffness.T, abs=1e-6)


def test_what_hangs_on_the_waist_is_pelvis_and_legs() -> None:
    """Leaning the pelvis back by the waist lifts pelvis and legs, about 65 N m a radian, whatever the arms weigh."""
    lean = np.zeros(N)
    lean[NAMES.index("waist_pitch_joint")] = 0.2
    raised = lean.copy()
    raised[NAMES.index("left_shoulder_pitch_joint")] = -1.0
    waist = NAMES.index("waist_pitch_joint")
    first, second = (MODEL.torques(q, np.zeros(3))[waist] for q in (lean, raised))
    assert first == pytest.approx(second, abs=1e-9)
    assert abs(first) > 8


def test_a_torso_that_leans_is_all_that_hangs_leaning_the_other_way() -> None:
    q, lean = np.zeros(N), 0.1
    turned = q.copy()
    turned[NAMES.index("waist_pitch_joint")] += lean
    legs = [NAMES.index(name) for name in NAMES if "hip" in name or "knee" in name]
    tilted = MODEL.torques(q, np.array([0.0, -lean, 0.0]))
    assert MODEL.torques(turned, np.zeros(3))[legs] == pytest.approx(tilted[legs], abs=1e-6)


def made_rows(
    poses: list[np.ndarray], offset: np.ndarray, scale: np.ndarray, tilt: np.ndarray, noise: float
) -> list[Swept]:
    random = np.random.default_rng(4)
    none = np.zeros(N)
    return [Swept(pose + offset, scale * MODEL.torques(pose, tilt) + noise * random.standard_normal(N), none, none,
                  np.array([1.0, 0, 0, 0]), np.zeros(3)) for pose in poses]


def test_gravity_finds_offsets_and_torque_scales_and_says_how_well() -> None:
    random = np.random.default_rng(2)
    offset, scale = random.uniform(-0.08, 0.08, N), random.uniform(0.95, 1.05, N)
    poses = safe_poses(MODEL, G1, 20, 0.9, 0.15, 3)
    rows = made_rows(poses, offset, scale, np.array([0.003, -0.004, 0.0]), 0.004)
    fit = fit_gravity(MODEL, rows, G1.used, np.zeros(N))
    error = np.abs(fit.offset - offset)
    assert (error <= fit.half_width).mean() >= 0.9
    known = fit.half_width <= 0.02
    assert known.sum() >= 25 and error[known].max() < 0.02
    assert not known[NAMES.index("left_ankle_roll_joint")]  # half a kilogram below its own axis


@pytest.mark.parametrize("carried_n_m", [0.0, 1.5])
def test_held_out_poses_are_judged_by_what_is_expected_of_them(carried_n_m: float) -> None:
    """A torso that gives by 2 mrad in each pose turns a hip by more torque than noise; a weight by more yet."""
    random = np.random.default_rng(5)
    poses, hip = safe_poses(MODEL, G1, 24, 0.9, 0.15, 3), NAMES.index("left_hip_pitch_joint")
    rows = [made_rows([pose], np.zeros(N), np.ones(N), np.append(random.normal(0, 0.002, 2), 0.0), 0.004)[0]
            for pose in poses]
    fit = fit_gravity(MODEL, rows[4:], G1.used, np.zeros(N))
    off = np.array([row.tau - fit.torques(MODEL, row) for row in rows[:4]])
    off[:, hip] += carried_n_m
    limit = UNUSUAL * np.sqrt(np.mean([fit.expected_n_m(MODEL, row) ** 2 for row in rows[:4]], axis=0))
    is_usual = np.sqrt(np.mean(off**2, axis=0)) <= limit
    assert is_usual.all() if carried_n_m == 0 else not is_usual[hip]
    assert limit[hip] > 0.015


def test_a_joint_whose_axis_stays_along_gravity_is_not_observable() -> None:
    """A forearm that hangs down in all poses: its own turn weighs nothing, and the fit does not claim to know it."""
    poses = safe_poses(MODEL, G1, 20, 0.9, 0.15, 3)
    for pose in poses:
        pose[[NAMES.index(name) for name in NAMES if name.startswith(("left_shoulder", "left_wrist"))]] = 0
        pose[NAMES.index(ELBOW)] = np.pi / 2
    fit = fit_gravity(MODEL, made_rows(poses, np.zeros(N), np.ones(N), np.zeros(3), 0.004), G1.used, np.zeros(N))
    roll = NAMES.index("left_wrist_roll_joint")
    assert fit.half_width[roll] > 0.1
    assert fit.half_width[NAMES.index("right_wrist_roll_joint")] < 0.02
    assert "along gravity" in why_unseen(fit, roll)


def test_friction_leaves_with_half_the_sum_of_both_ways() -> None:
    rows = np.zeros(400, recording_dtype(N))
    rows["sequence"], rows["received_ns"] = np.arange(400), np.arange(400) * 2_000_000
    rows["tau"][:200], rows["tau"][200:] = 3.0 + 0.7, 3.0 - 0.7
    rows["tau"][:90], rows["tau"][200:290] = 3.0 - 0.7, 3.0 + 0.7  # it has not turned round yet
    rows["quat_wxyz"] = [1, 0, 0, 0]
    found = swept(Recording(rows, {"pose/0/up": (0, 200), "pose/0/down": (200, 400)}), "pose/0")
    assert found.tau == pytest.approx(np.full(N, 3.0))
    assert found.friction == pytest.approx(np.full(N, 0.7))


def test_no_pose_brings_limbs_together_on_the_way() -> None:
    poses = safe_poses(MODEL, G1, 6, 0.9, 0.15, 5)
    for i in range(5):
        way = poses[i + 1] - poses[i]
        assert not any(MODEL.touches(poses[i] + share * way) for share in np.linspace(0, 1, 23))
    crossed = np.zeros(N)
    crossed[NAMES.index("left_hip_roll_joint")], crossed[NAMES.index("right_hip_roll_joint")] = -0.3, 0.3
    assert MODEL.touches(crossed)


def test_a_robot_without_a_plant_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(BridgeError, match="plant"):
        hanging(replace(G1, name="somebody"))


# Mapping


def patterns_of(wiring: Wiring, noise: float = 0.005) -> list[Swept]:
    """What small patterns show of a robot wired so, with offsets."""
    random = np.random.default_rng(6)
    routine = Mapping()
    routine.prepare(enclose("g1_29dof", routine.envelope), NAMES, np.zeros(N))
    offset = random.uniform(-0.08, 0.08, N)
    rows = []
    for pattern in routine._patterns:
        base = np.zeros(N)
        base[[NAMES.index(name) for name in routine._arms]] = list(routine._arms.values())
        q = base + wiring.to_joints(pattern)
        tau = wiring.to_motors(MODEL.torques(q, np.zeros(3))) + noise * random.standard_normal(N)
        turn = quat_from_matrix_many(MODEL.base_in_torso(q)[None])[0]
        rows.append(Swept(wiring.to_motors(q) + offset, tau, np.zeros(N), np.zeros(N), turn, np.zeros(3)))
    return rows


RIGHT = Wiring(np.arange(N), np.ones(N))


@pytest.mark.parametrize(("exchanged", "backward"), [
    ((), ()), ((ELBOW, "right_elbow_joint"), ("waist_roll_joint",)),
    ((KNEE, "right_shoulder_yaw_joint"), (KNEE, WRIST)),
])
def test_a_wrong_wiring_is_found_and_a_right_one_not_doubted(
    exchanged: tuple[str, ...], backward: tuple[str, ...]
) -> None:
    wiring = RIGHT.exchanged(*(NAMES.index(name) for name in exchanged)) if exchanged else RIGHT
    wiring = wiring.reversed_at(*(NAMES.index(name) for name in backward))
    best, judged = Judge(MODEL, Seen(patterns_of(wiring), NAMES)).search(RIGHT, range(N))
    assert best.joint.tolist() == wiring.joint.tolist()
    assert best.sign.tolist() == wiring.sign.tolist()
    assert all(one.margin > 0 and one.by for one in judged.values())


def told(exchanged: Sequence[tuple[str, str]], backward: Sequence[str], known: Sequence[str]) -> tuple[Any, Any]:
    """A wiring, and what is found of it when a person has said what some motors turn."""
    wiring, start = RIGHT, RIGHT
    for pair in exchanged:
        wiring = wiring.exchanged(*(NAMES.index(name) for name in pair))
    wiring = wiring.reversed_at(*(NAMES.index(name) for name in backward))
    for motor in map(NAMES.index, known):
        holder = int(np.flatnonzero(start.joint == wiring.joint[motor])[0])
        start = start.exchanged(motor, holder) if holder != motor else start
        start = start.reversed_at(motor) if start.sign[motor] != wiring.sign[motor] else start
    free = [motor for motor in range(N) if NAMES[motor] not in known]
    return wiring, Judge(MODEL, Seen(patterns_of(wiring), NAMES)).search(start, free)


ARM = [f"left_{part}_joint" for part in ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll",
                                         "wrist_pitch", "wrist_yaw")]
SIDEWAYS = [name for name in ARM if "roll" in name or "yaw" in name]


def test_arms_in_each_others_place_look_alike_until_a_person_looks() -> None:
    """Mirror images weigh alike: plugs exchanged between the shoulders are told by nothing that is measured."""
    pairs = [(name, name.replace("left", "right")) for name in ARM]
    backward = [name for pair in pairs for name in pair if "roll" in name or "yaw" in name]
    wiring, (_, judged) = told(pairs, backward, ())
    assert judged[NAMES.index("left_elbow_joint")].margin < mapping.LOOK
    known = [f"{side}_shoulder_{axis}_joint" for side in ("left", "right") for axis in ("pitch", "roll")]
    wiring, (best, judged) = told(pairs, backward, known)
    assert best.joint.tolist() == wiring.joint.tolist() and best.sign.tolist() == wiring.sign.tolist()
    assert judged[NAMES.index("left_elbow_joint")].margin > mapping.LOOK


def test_a_reversed_shoulder_is_not_taken_for_the_rest_of_its_arm_reversed() -> None:
    """One reversal, or three the other way: a search by single motors stops at whichever it comes to first."""
    wiring, (best, _) = told([], SIDEWAYS[:1], ())
    assert best.sign.tolist() == wiring.sign.tolist()
    wiring, (best, _) = told([], SIDEWAYS[1:], SIDEWAYS[:1])
    assert best.sign.tolist() == wiring.sign.tolist()


def test_a_person_looks_at_what_mirror_images_hide() -> None:
    routine = Mapping()
    routine.prepare(enclose("g1_29dof", routine.envelope), NAMES, np.zeros(N))
    looked = {row.name for row in routine._looked_at}
    assert {"left_hip_pitch_joint", "left_hip_roll_joint", "left_shoulder_pitch_joint", "left_shoulder_roll_joint",
            "right_shoulder_roll_joint", "left_ankle_roll_joint", "right_ankle_roll_joint"} == looked


def test_motors_that_show_nothing_stay_open_rather_than_right() -> None:
    """Torques of no use: the wrist might be reversed for all that is seen, and the verdict says so."""
    rows = patterns_of(RIGHT)
    for row in rows:
        for name in NAMES:
            if "wrist" in name:
                row.tau[NAMES.index(name)] = 0.0
    _, judged = Judge(MODEL, Seen(rows, NAMES)).search(RIGHT, range(N))
    roll = judged[NAMES.index("left_wrist_roll_joint")]
    assert roll.margin < mapping.SURE
    routine = Mapping()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, NAMES, np.zeros(N))
    verdict = routine._verdict(next(row for row in robot.joints if row.name == "left_wrist_roll_joint"), roll)
    assert not verdict.ok and "open" in verdict.measured and verdict.what_to_do


@pytest.mark.slow
def test_a_reversed_and_an_exchanged_motor_are_named_and_the_ankles_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "PATTERNS", 12)
    pair = ["left_ankle_roll_joint", "right_ankle_roll_joint"]
    _, found = carried_out(Mapping(), truth(joints={KNEE: {"sign": -1, "coulomb_n_m": 0.5}}, swapped=[pair]), *NAMES)
    assert found is not None and not found.values
    wiring = found.facts["wiring"]
    assert (wiring[KNEE]["turns"], wiring[KNEE]["sign"]) == (KNEE, -1)
    assert [wiring[name]["turns"] for name in pair] == pair[::-1]
    assert wiring[pair[0]]["by"] == PERSON
    bad = {verdict.name.split(":")[0]: verdict.what_to_do for verdict in found.verdicts if not verdict.ok}
    assert set(bad) == {KNEE, *pair}
    assert "sign" in bad[KNEE] and "exchange" in bad[pair[0]]


# Range


@given(count=st.integers(-3, 3), off=st.floats(-0.2, 0.2), gear=st.floats(1, 11))
@settings(max_examples=200, deadline=None)
def test_a_lost_turn_is_counted_and_never_guessed(count: int, off: float, gear: float) -> None:
    knee, turn = next(row for row in G1.joints if row.name == KNEE), 2 * np.pi / gear
    found = turns_lost(count * turn + off, knee, turn)
    assert count in found or off < knee.lower_rad - 0.25
    assert found == [count] or turn < 2 * 0.25 + 1e-9 + abs(off)


def test_several_places_and_none_are_refused() -> None:
    knee = next(row for row in G1.joints if row.name == KNEE)
    assert turns_lost(0.1, knee, 2 * np.pi / 15) == [0]
    assert len(turns_lost(0.2, knee, 2 * np.pi / 15)) == 2  # Berkeley Humanoid Lite's gear: 24 degrees apart
    assert turns_lost(0.5, knee, 2 * np.pi / 6) == []
    routine = Range({KNEE: 15.0})
    routine.prepare(G1, [KNEE], np.zeros(N))
    assert not routine._turn_verdict(knee, 0.2).ok and not routine._turn_verdict(knee, 0.42).ok
    assert "turns" in routine._turn_verdict(knee, 0.42).measured
    assert routine._turn_verdict(knee, 0.1).ok


def test_gears_of_unknown_joints_are_refused() -> None:
    with pytest.raises(Refused, match="tail"):
        Range({"tail": 6.0}).prepare(G1, [KNEE], np.zeros(N))


@pytest.mark.slow
def test_a_range_is_swept_and_a_short_one_is_red() -> None:
    ankle = "left_ankle_roll_joint"
    run, found = carried_out(Range(), truth(joints={ankle: {"encoder_offset_rad": 0.05}}), ankle)
    assert found is not None and found.ok and not found.values
    assert found.facts["range"][ankle]["min_rad"] == pytest.approx(-0.2118, abs=0.02)
    assert any(ankle in line and "nan" not in line for line in run.conductor.bench.said)
    _, found = carried_out(Range(), truth(joints={ankle: {"upper_rad": 0.1}}), ankle)
    assert found is not None and next(v.name for v in found.verdicts if not v.ok) == f"{ankle}: travel"


@pytest.mark.slow
def test_a_lost_turn_is_seen_before_the_joint_moves_by_itself() -> None:
    """An elbow behind a gear of 12 that woke up a turn off: it is led, found, and not swept."""
    run, found = carried_out(Range({ELBOW: 12.0}), truth(joints={ELBOW: {"encoder_offset_rad": 2 * np.pi / 12}}), ELBOW)
    assert found is not None and not found.ok
    assert "+1 turns" in found.verdicts[0].measured and "power" in found.verdicts[0].what_to_do
    assert not any(ELBOW in line for line in run.conductor.bench.said)


# Jig


def test_a_jig_finds_a_limb_s_zeros_by_hand() -> None:
    hidden = {ELBOW: {"encoder_offset_rad": 0.06, "coulomb_n_m": 0.3}, WRIST: {"encoder_offset_rad": -0.03}}
    _, found = carried_out(Pose({ELBOW: 0.4}), truth(joints=hidden), ELBOW, WRIST, slip_rad=0.002)
    assert found is not None and found.ok
    values = {value.key: value for value in found.values}
    for name, row in hidden.items():
        value = values[f"joints.{name}.encoder_offset_rad"]
        assert value.value == pytest.approx(row["encoder_offset_rad"], abs=value.half_width)
        assert value.half_width < 0.01


def test_a_jig_of_multiples_takes_the_nearest_and_refuses_what_lies_between() -> None:
    routine = Pose(multiple_rad=np.pi / 4)
    routine.prepare(G1, [ELBOW], np.zeros(N))
    elbow = NAMES.index(ELBOW)

    def found(q: float) -> Found:
        rows = np.zeros(50, recording_dtype(N))
        rows["sequence"] = np.arange(50)
        rows["q"][:, elbow] = q
        return routine.fit(Recording(rows, {f"jig/{i}": (10 * i, 10 * i + 10) for i in range(5)}))

    assert found(0.74).ok and found(0.74).values[0].value == pytest.approx(0.74 - np.pi / 4, abs=1e-6)
    assert not found(0.4).ok


def test_a_jig_beyond_a_joint_s_range_is_refused() -> None:
    with pytest.raises(Refused, match="range"):
        Pose({KNEE: -1.0}).prepare(G1, [KNEE], np.zeros(N))


def test_options_reach_their_routine_and_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["calibrate", "pose", "--joints", ELBOW, "--pose", f"{ELBOW}=0.5", "--dry-run", "--yes"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "0.5" in capsys.readouterr().out
    assert main(["calibrate", "joint-zero", "--gears", "*=6", "--dry-run", "--yes", "--out", str(tmp_path)]) == 2
    assert main(["calibrate", "range", "--gears", "knee", "--dry-run", "--yes", "--out", str(tmp_path)]) == 2
    assert load_robot("g1_29dof").name == G1.name
