"""Calibration files: what is applied, and every kind that is refused before anything moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.motor_bus import MotorSample, Reading
from runtime.calibration_file import (
    MOST_BYTES,
    calibration_of,
    calibration_settings,
    digest,
    load_calibration,
    with_version,
    write_calibration,
    write_data,
)
from runtime.errors import Refused
from runtime.faults import BIT
from runtime.gate import Gate
from runtime.robot import load_robot
from runtime.rotation import multiply, rotate_many
from runtime.state import Calibration, ImuCalibration

G1 = load_robot("g1_29dof")
NOW = datetime(2030, 6, 1, tzinfo=timezone.utc)
OFFSETS = {"left_knee_joint": (0.02, -0.01), "waist_yaw_joint": (0.0, 0.1)}


def written(folder: Path, *, robot: str = G1.name, age_days: float = 10, valid_days: float = 90) -> Path:
    path = folder / "cal.json"
    write_calibration(path, robot, "G1-0042", OFFSETS, created=NOW - timedelta(days=age_days), valid_days=valid_days)
    return path


def test_offsets_arrive_at_their_motors(tmp_path: Path) -> None:
    file = load_calibration(written(tmp_path), G1, "G1-0042", NOW)
    calibration = file.for_robot(G1)
    knee, waist = (next(j.motor for j in G1.joints if j.name == name) for name in OFFSETS)
    assert calibration.encoder_offset_rad[knee] == pytest.approx(0.02)
    assert calibration.command_offset_rad[knee] == pytest.approx(-0.01)
    assert calibration.command_offset_rad[waist] == pytest.approx(0.1)
    assert (calibration.encoder_offset_rad != 0).sum() == 1
    assert (calibration.command_offset_rad != 0).sum() == 2
    assert file.age_days(NOW) == pytest.approx(10)


def test_without_a_file_nothing_is_offset() -> None:
    calibration = calibration_of(None, G1, None)
    assert not calibration.encoder_offset_rad.any()
    assert not calibration.command_offset_rad.any()


def test_in_simulation_no_serial_is_compared(tmp_path: Path) -> None:
    load_calibration(written(tmp_path), G1, None, NOW)


def edit(change: Callable[[dict[str, Any]], None], *, sealed: bool = True) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        data = json.loads(path.read_text())
        change(data)
        if sealed:
            data["versions"][-1]["sha256"] = digest(data, data["versions"][-1])
        path.write_text(json.dumps(data))

    return act


def knee_of(data: dict[str, Any]) -> dict[str, Any]:
    return data["versions"][-1]["joints"]["left_knee_joint"]


def last(data: dict[str, Any]) -> dict[str, Any]:
    return data["versions"][-1]


def imu(**changes: Any) -> dict[str, Any]:
    return {"mounting_wxyz": [1, 0, 0, 0], "gyro_bias_rad_s": [0, 0, 0], "accel_bias_m_s2": [0, 0, 0],
            "accel_scale": [1, 1, 1], **changes}


BAD = {
    "edited by hand": (edit(lambda data: knee_of(data).update(encoder_offset_rad=0.03), sealed=False), "by hand"),
    "another layout": (edit(lambda data: data.update(schema="exoactor-calibration/1")), "schema"),
    "another's serial": (edit(lambda data: data.update(serial="G1-0043"), sealed=False), "by hand"),
    "a version without the one before": (edit(lambda data: data["versions"][-1].update(before="x")), "by hand"),
    "no version": (edit(lambda data: data.update(versions=[data["versions"][0]][:0]), sealed=False), "not empty"),
    "an IMU without its mounting": (edit(lambda data: last(data).update(imu={})), "missing"),
    "an IMU turned far": (edit(lambda data: last(data).update(imu=imu(mounting_wxyz=[0.9, 0.43589, 0, 0]))),
                          "turn of"),
    "an IMU with no unit quaternion": (edit(lambda data: last(data).update(imu=imu(mounting_wxyz=[1, 1, 0, 0]))),
                                       "unit quaternion"),
    "a gyro far off": (edit(lambda data: last(data).update(imu=imu(gyro_bias_rad_s=[0.3, 0, 0]))), "-0.2 to 0.2"),
    "two numbers": (edit(lambda data: last(data).update(imu=imu(accel_scale=[1, 1]))), "three numbers"),
    "an unknown key": (edit(lambda data: last(data).update(legs=1)), "unknown legs"),
    "a missing key": (edit(lambda data: data.pop("serial"), sealed=False), "missing serial"),
    "an unknown joint": (edit(lambda data: last(data)["joints"].update(tail=knee_of(data))), "tail"),
    "a huge offset": (edit(lambda data: knee_of(data).update(encoder_offset_rad=0.51)), "-0.5 to 0.5"),
    "no number": (edit(lambda data: knee_of(data).update(encoder_offset_rad="0.1")), "a number"),
    "no time": (edit(lambda data: last(data).update(created_utc="yesterday")), "a time such as"),
    "no JSON": (lambda path: path.write_text("{"), "a JSON file"),
    "NaN": (lambda path: path.write_text(path.read_text().replace("0.02", "NaN")), "no number of JSON"),
    "too large": (lambda path: path.write_bytes(bytes(MOST_BYTES + 1)), "bytes"),
    "nothing": (lambda path: path.unlink(), "a readable file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_refused_in_words(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)
    BAD[name][0](path)
    with pytest.raises(Refused, match=BAD[name][1]) as refusal:
        load_calibration(path, G1, "G1-0042", NOW)
    assert refusal.value.what_to_do


@pytest.mark.parametrize(("age_days", "valid_days", "fine"), [
    (89.9, 90, True), (90.1, 90, False), (364.9, 3000, True), (365.1, 3000, False), (-0.9, 90, True), (-1.1, 90, False),
])
def test_an_old_one_is_refused_and_one_from_the_future(
    tmp_path: Path, age_days: float, valid_days: float, fine: bool
) -> None:
    path = written(tmp_path, age_days=age_days, valid_days=valid_days)
    if fine:
        load_calibration(path, G1, "G1-0042", NOW)
        return
    with pytest.raises(Refused, match="within the last"):
        load_calibration(path, G1, "G1-0042", NOW)


def test_another_robots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="serial G1-0043"):
        load_calibration(written(tmp_path), G1, "G1-0043", NOW)
    with pytest.raises(Refused, match="g1_23dof"):
        load_calibration(written(tmp_path, robot="g1_23dof"), G1, "G1-0042", NOW)


def test_a_real_robot_needs_its_serial_beside_the_file() -> None:
    args = SimpleNamespace(calibration="cal.json", serial=None, robot="g1")
    with pytest.raises(Refused, match="--serial"):
        calibration_settings(args)  # type: ignore[arg-type]
    args.robot = "sim"
    assert calibration_settings(args)["serial"] is None  # type: ignore[arg-type]


def test_both_offsets_reach_a_run(tmp_path: Path) -> None:
    """A file whose two offsets are one another's opposite changes nothing; one of them alone would."""
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    from export.recorder import settings_for
    from firmware_bridge.simulated_robot import SimulatedRobot
    from runtime.lockstep import Lockstep
    from runtime.policy import Policy

    path = tmp_path / "cal.json"
    write_calibration(path, G1.name, "x", {"left_elbow_joint": (0.1, 0.1)}, created=datetime.now(timezone.utc),
                      valid_days=1)
    elbow = next(joint.motor for joint in G1.joints if joint.name == "left_elbow_joint")

    def measured(calibration: str | None) -> tuple[float, float]:
        settings = settings_for("g1-tracker", clip="squat")
        settings = type(settings)(**{**vars(settings), "calibration": calibration})
        run = Lockstep(settings, Policy(settings), SimulatedRobot())
        for _ in range(1200):
            run.operate()
            run.tick()
        return float(run.gate.state.q[elbow]), float(run.robot.sample.q[elbow])

    (seen, true), (seen_with, true_with) = measured(None), measured(str(path))
    assert seen == pytest.approx(true, abs=1e-6)
    assert seen_with == pytest.approx(true_with - 0.1, abs=1e-5), "the encoder's offset was dropped"
    assert true_with == pytest.approx(true + 0.1, abs=0.03), "the command's offset was dropped"


def test_an_askew_imu_is_turned_back_before_anything_looks_at_it() -> None:
    """4 degrees of tilt, a bias and a scale: the state holds what a perfect IMU would have said."""
    half = np.radians(4) / 2
    mounting = np.array([np.cos(half), np.sin(half) * 0.6, 0, np.sin(half) * 0.8])
    turn = rotate_many(np.tile(mounting, (3, 1)), np.eye(3)).T  # base from IMU
    base_wxyz, gyro, accel = np.array([0.8, 0, 0.6, 0]), np.array([0.3, -0.2, 0.1]), np.array([1.0, 2.0, 9.0])
    bias, accel_bias, scale = np.array([0.01, 0.02, -0.01]), np.array([0.1, -0.2, 0.3]), np.array([1.02, 0.98, 1.01])
    gate = Gate(G1, 0.002, calibration=Calibration(29, ImuCalibration(turn, mounting, bias, accel_bias, scale)))
    sample = MotorSample.zeros(29)
    sample.mode_machine[0], sample.tick[0] = 5, 1
    sample.quat_wxyz[:] = multiply(base_wxyz, mounting)
    sample.gyro[:], sample.accel[:] = turn.T @ gyro + bias, (turn.T @ accel) * scale + accel_bias
    gate.review.look_at_state(Reading.NEW, sample, 10**9)
    assert gate.state.quat_wxyz == pytest.approx(base_wxyz, abs=1e-6)
    assert gate.state.gyro == pytest.approx(gyro, abs=1e-6)
    assert gate.state.accel == pytest.approx(accel, abs=1e-5)


def test_a_tilt_is_judged_by_the_calibrated_imu(tmp_path: Path) -> None:
    half = 0.2
    path = tmp_path / "cal.json"
    write_calibration(path, G1.name, "x", {}, created=NOW, valid_days=1,
                      imu=imu(mounting_wxyz=[float(np.cos(half)), float(np.sin(half)), 0, 0]))
    calibration = load_calibration(path, G1, "x", NOW).for_robot(G1)
    leaning = np.array([np.cos(0.35), np.sin(0.35), 0, 0])  # 0.7 rad: below the limit of 45 degrees, not with 0.4 more
    for given, is_tilted in ((None, True), (calibration, False)):
        gate = Gate(G1, 0.002, calibration=given)
        sample = MotorSample.zeros(29)
        sample.mode_machine[0], sample.tick[0] = 5, 1
        sample.quat_wxyz[:] = multiply(leaning, [np.cos(half), np.sin(half), 0, 0])
        flags = gate.review.look_at_state(Reading.NEW, sample, 10**9)
        assert bool(flags & BIT["TILT"]) is is_tilted


def test_versions_are_added_and_the_last_is_in_force(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = json.loads(path.read_text())
    knee = {"encoder_offset_rad": 0.3, "command_offset_rad": 0}
    second = {**data["versions"][0], "joints": {"left_knee_joint": knee}}
    second.pop("sha256")
    write_data(path, with_version(data, second))
    file = load_calibration(path, G1, "G1-0042", NOW)
    assert file.offsets == {"left_knee_joint": (0.3, 0)}
    assert len(file.data["versions"]) == 2
    data = json.loads(path.read_text())
    data["versions"][0]["valid_days"] = 80
    path.write_text(json.dumps(data))
    with pytest.raises(Refused, match="by hand"):
        load_calibration(path, G1, "G1-0042", NOW)
