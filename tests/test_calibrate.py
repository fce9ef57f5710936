"""Routines against hidden truths, through the gate; the file they keep; and everything that has to stop them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import history
from calibration.bench import Bench, Recording, Steps
from calibration.command import ROUTINES
from calibration.envelope import Envelope, enclose
from calibration.imu import GRAVITY_M_S2, Imu, allan_deviation, fit_accelerometer, wahba
from calibration.joint_zero import JointZero
from calibration.lockstep import CalibrationRun
from calibration.routine import Found, Value, interval, least_squares
from calibration.session import Order, carry_out
from exoactor import main
from firmware_bridge.ailments import Ailment, Ailments
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import Truth, read_truth
from runtime.calibration_file import load_calibration, write_calibration
from runtime.errors import Refused
from runtime.faults import BIT, Mode
from runtime.log_file import read_log
from runtime.robot import load_robot
from runtime.rotation import quat_from_vector_many, rotate_many

G1 = load_robot("g1_29dof")
ELBOW, ANKLE, WRIST = "left_elbow_joint", "left_ankle_roll_joint", "left_wrist_pitch_joint"
NOW = datetime(2030, 6, 1, tzinfo=timezone.utc)
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05}


def truth(**parts: Any) -> Truth:
    return read_truth({"schema": "exoactor-truth/1", "noise": NOISE, **parts})


def zeroed(joint: str, of: Truth) -> tuple[CalibrationRun, Found | None]:
    routine = JointZero()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, [joint], np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=of))
    run.run(120)
    return run, routine.fit(run.conductor.bench.recording()) if run.conductor.is_done else None


def test_a_joints_zero_is_found_by_its_stops_with_a_file_and_a_report(tmp_path: Path) -> None:
    """By the command, as typed: offset, friction, play and noise hidden in the robot."""
    hidden = {"encoder_offset_rad": -0.07, "coulomb_n_m": 0.4, "backlash_rad": 0.004}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"schema": "exoactor-truth/1", "noise": NOISE, "joints": {ANKLE: hidden}}))
    code = main(["calibrate", "joint-zero", "--robot", "sim", "--joints", ANKLE, "--truth", str(path), "--yes",
                 "--file", str(tmp_path / "cal.json"), "--serial", "G1-7", "--out", str(tmp_path / "out")])
    assert code == 0
    file = load_calibration(tmp_path / "cal.json", G1, "G1-7", datetime.now(timezone.utc))
    assert file.offsets[ANKLE] == pytest.approx((-0.07, -0.07), abs=0.01)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["outcome"] == "written" and all(row["ok"] for row in report["verdicts"])
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    log = read_log(tmp_path / "out" / "raw.mcap")
    gate = log.topics["gate"]
    effort = 0.5 * G1.column("effort_n_m")
    spring = np.abs(gate["command"][:, :, 3] * (gate["command"][:, :, 0] - gate["q"]))[gate["mode"] == Mode.TRACK]
    assert (spring <= effort * 1.05 + 0.2).all()  # q of the log is one tick newer than the target that was capped
    assert len(log.topics["routine"]) > 1000 and log.about["routine"] == "joint-zero"


def test_a_stop_that_is_not_the_tables_is_no_zero() -> None:
    """Something in the way of the ankle: the travel is short, so nothing may be written."""
    _, found = zeroed(ANKLE, truth(joints={ANKLE: {"upper_rad": 0.15}}))
    assert found is not None and not found.ok
    assert [verdict.name for verdict in found.verdicts if not verdict.ok] == [f"{ANKLE}: travel"]


def test_a_limb_that_weighs_on_its_joint_is_no_stop() -> None:
    """An arm raised backwards takes more torque than pressing a stop does, and stands a while before it moves."""
    shoulder = "left_shoulder_pitch_joint"
    _, found = zeroed(shoulder, truth(joints={shoulder: {"coulomb_n_m": 0.6, "encoder_offset_rad": 0.006}}))
    assert found is not None and found.ok
    assert found.values[0].value == pytest.approx(0.006, abs=0.002)


def test_a_joint_without_a_stop_gives_no_zero() -> None:
    """It turns on and on, which ends in damping, or its own weight stalls it, which is no travel of the table's."""
    run, found = zeroed(WRIST, truth(joints={WRIST: {"upper_rad": 6.0}}))
    assert run.gate.machine.mode is Mode.DAMP
    assert "without a stop" in run.conductor.stopped if found is None else not found.ok


class Sway:
    """Moves the elbow to and fro."""

    name, version, summary = "sway", "1", "for tests"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.35)
    hangs = True

    def prepare(self, robot: Any, joints: Sequence[str], offsets: Any) -> None: ...

    def plan(self) -> list[str]:
        return []

    def steps(self, bench: Bench) -> Steps[None]:
        for _ in range(4):
            yield from bench.move({ELBOW: 1.2}, 0.8)
            yield from bench.move({ELBOW: 0.0}, 0.8)

    def fit(self, recording: Recording) -> Found:
        return Found()


def swayed(
    *, of: Truth | None = None, held: Callable[[], bool] = lambda: True, ailment: Ailment | None = None
) -> tuple[CalibrationRun, list[Mode]]:
    routine = Sway()
    simulated = SimulatedRobot(hangs=True, truth=of or truth())
    run = CalibrationRun(routine, enclose("g1_29dof", routine.envelope), simulated, is_held=held)
    if ailment is not None:
        run.ailments = Ailments(simulated, [ailment], 1)
    modes = []
    for _ in range(6000):
        run.tick()
        modes.append(run.gate.machine.mode)
        if run.gate.machine.mode is Mode.DAMP:
            break
    return run, modes


@pytest.mark.parametrize("ticks", [700, 1234, 2345])
def test_a_released_dead_man_damps_within_20_ms(ticks: int) -> None:
    count = 0

    def held() -> bool:
        nonlocal count
        count += 1
        return count < ticks

    run, modes = swayed(held=held)
    assert run.conductor.stopped == "the dead-man was released"
    assert len(modes) - modes.index(Mode.TRACK) - ticks <= 10
    assert run.gate.seen_flags & BIT["OPERATOR_STOP"]


def test_an_obstacle_damps_20_ms_after_it_presses() -> None:
    run, _ = swayed(of=truth(joints={ELBOW: {"upper_rad": 0.6}}))
    assert "obstacle" in run.conductor.stopped and ELBOW in run.conductor.stopped
    assert run.gate.machine.mode is Mode.DAMP


@pytest.mark.parametrize(("name", "flag", "said"), [
    ("silence", "STATE_STALE", "STATE_LOST"), ("motor-error", "MOTOR_ERROR", "MOTOR_ERROR"),
    ("heat", "POLICY_FAULT", "is at 130 C"),  # the routine's own word: the gate weighs heat for longer than 20 ms
])
def test_a_lost_bus_a_hot_motor_and_a_motors_error_end_a_routine_damping(name: str, flag: str, said: str) -> None:
    run, _ = swayed(ailment=Ailment(name, 4.0, {"motor": 18, "c": 130}))
    assert run.gate.machine.mode is Mode.DAMP
    assert run.gate.seen_flags & BIT[flag]
    assert said in run.conductor.stopped
    assert not run.conductor.is_done


def test_an_envelope_wider_than_the_robot_is_refused() -> None:
    with pytest.raises(Refused, match="envelope"):
        enclose("g1_29dof", Envelope(velocity_rad_s=100, effort_ratio=0.5))
    with pytest.raises(Refused, match="envelope"):
        enclose("g1_29dof", Envelope(velocity_rad_s=1, effort_ratio=1.5))


def turned(vector: Sequence[float]) -> np.ndarray:
    return rotate_many(np.tile(quat_from_vector_many(np.array([vector]))[0], (3, 1)), np.eye(3)).T


def test_wahba_finds_a_rotation_and_how_well() -> None:
    rng, turn = np.random.default_rng(0), turned([0.05, -0.03, 0.2])
    inside = 0
    for _ in range(100):
        made = rng.normal(size=(200, 3)) * [0.1, 0.1, 0.02]
        found, width = wahba(made @ turn + 1e-3 * rng.normal(size=made.shape), made)
        error = found @ turn.T
        inside += int((np.abs([error[2, 1], error[0, 2], error[1, 0]]) <= width).sum())
        assert np.linalg.det(found) == pytest.approx(1)
    assert 0.9 <= inside / 300 <= 0.99


def test_wahba_needs_two_axes() -> None:
    made = np.outer(np.sin(np.arange(50)), [0, 0, 1.0])
    with pytest.raises(ValueError, match="one axis"):
        wahba(made, made)


def test_an_accelerometer_is_found_from_attitudes_and_not_from_three() -> None:
    rng = np.random.default_rng(1)
    bias, scale = np.array([0.1, -0.2, 0.3]), np.array([1.02, 0.98, 1.01])
    down = rng.normal(size=(14, 3))
    down *= GRAVITY_M_S2 / np.linalg.norm(down, axis=1)[:, None]
    found_bias, found_scale, width = fit_accelerometer(down * scale + bias + 1e-3 * rng.normal(size=down.shape))
    assert found_bias == pytest.approx(bias, abs=0.005)
    assert found_scale == pytest.approx(scale, abs=0.001)
    assert (width < 0.01).all()
    with pytest.raises(ValueError, match="do not determine"):
        fit_accelerometer(down[:3])


def test_allan_deviation_of_white_noise_falls_by_the_root_of_time() -> None:
    rates = 0.01 * np.random.default_rng(2).normal(size=(40000, 1))
    taus, found = allan_deviation(rates, 0.002)
    assert found[:8, 0] == pytest.approx(0.01 / np.sqrt(taus[:8] / 0.002), rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    hits = [abs(mean - 1) <= width for mean, width in (interval(rng.normal(1, 1, 4)) for _ in range(600))]
    assert 0.92 <= np.mean(hits) <= 0.98
    a = rng.normal(size=(60, 2))
    hits = [bool((np.abs(x - [1, 2]) <= width).all()) for x, width in
            (least_squares(a, a @ [1.0, 2.0] + rng.normal(size=60)) for _ in range(400))]
    assert 0.85 <= np.mean(hits) <= 0.96  # both at once


def kept(path: Path, *values: Value) -> None:
    data = history.read_data(path, G1.name, "G1-7")
    history.add(path, data, values, {"routine": "test"}, now=NOW, valid_days=90, operator="me")


def knee(value: float) -> Value:
    return Value("joints.left_knee_joint.encoder_offset_rad", value, 0.001)


def test_a_file_keeps_what_other_routines_found_and_every_version(tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    kept(path, knee(0.01))
    kept(path, *(Value(f"imu.mounting_rad.{axis}", angle, 0.001) for axis, angle in enumerate((0.0, 0.07, 0.0))))
    kept(path, knee(0.02), Value("plant.left_knee_joint.coulomb_n_m", 0.4, 0.02))
    file = load_calibration(path, G1, "G1-7", NOW)
    assert file.offsets == {"left_knee_joint": (0.02, 0.0)}
    assert file.imu is not None and file.imu.base_from_imu == pytest.approx(turned([0, 0.07, 0]), abs=1e-8)
    versions = file.data["versions"]
    assert len(versions) == 3 and versions[0]["joints"]["left_knee_joint"]["encoder_offset_rad"] == 0.01
    assert versions[2]["uncertainty"]["joints.left_knee_joint.encoder_offset_rad"] == 0.001
    assert history.plant_truth(versions[2])["joints"] == {"left_knee_joint": {"coulomb_n_m": 0.4}}
    read_truth(history.plant_truth(versions[2]))


def test_an_undo_adds_the_version_before_and_another_the_one_before_that(tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    for value in (0.01, 0.02, 0.03):
        kept(path, knee(value))
    for expected in (0.02, 0.01):
        history.undo(path, NOW)
        assert load_calibration(path, G1, "G1-7", NOW).offsets["left_knee_joint"][0] == expected
    with pytest.raises(Refused, match="undo"):
        history.undo(path, NOW)
    assert len(json.loads(path.read_text())["versions"]) == 5


def test_what_the_runtime_would_refuse_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    kept(path, knee(0.01))
    before = path.read_bytes()
    with pytest.raises(Refused, match=r"-0\.5 to 0\.5"):
        kept(path, knee(0.6))
    assert path.read_bytes() == before


def test_another_robots_file_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "cal.json"
    write_calibration(path, G1.name, "G1-8", {}, created=NOW, valid_days=1)
    with pytest.raises(Refused, match="serial G1-7"):
        history.read_data(path, G1.name, "G1-7")


def test_a_bad_verdict_writes_nothing_and_no_answer_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order("g1_29dof", tmp_path / "out", (ELBOW,), file=tmp_path / "cal.json")
    with pytest.raises(Refused, match="a yes"):
        carry_out(JointZero(), order, lambda line: None, lambda text: False)
    assert not (tmp_path / "out" / "raw.mcap").exists()
    routine = Sway()
    monkeypatch.setattr(routine, "fit", lambda recording: replace_verdict())
    report = carry_out(routine, order, lambda line: None, lambda text: True)
    assert report["outcome"] == "refused"
    assert not (tmp_path / "cal.json").exists()


def replace_verdict() -> Found:
    from calibration.routine import Verdict

    return Found([knee(0.1)], [Verdict("held-out", False, "worse", "better")])


def test_the_list_names_every_routine_and_looks_at_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ROUTINES)
    path = tmp_path / "cal.json"
    kept(path, knee(0.01))
    kept(path, knee(0.02))
    for what, expected in (("list", "test  me"), ("diff", "+0.02000"), ("undo", "version 1 is in force")):
        assert main(["calibrate", what, "--file", str(path)]) == 0
        assert expected in capsys.readouterr().out
    assert main(["calibrate", "export", "--file", str(path)]) == 2
    assert main(["calibrate", "diff"]) == 2


def test_a_robot_without_a_waist_cannot_find_its_imu() -> None:
    with pytest.raises(Refused, match="waist"):
        Imu().prepare(replace(G1, bodies={}), [], np.zeros(29))


def test_joints_whose_stops_are_out_of_reach_are_left_out_unless_they_are_named() -> None:
    robot, routine = load_robot("g1_29dof"), JointZero()
    names = [row.name for row in robot.joints]
    routine.prepare(robot, names, np.zeros(29))
    plan = "\n".join(routine.plan())
    assert plan.startswith("21 joints") and "waist_roll_joint" in plan and "gravity" in plan
    routine.prepare(robot, ["waist_roll_joint"], np.zeros(29))
    assert routine.plan()[0].startswith("1 joints") and len(routine.plan()) == 2
