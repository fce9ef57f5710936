"""Calibration files: what is applied, and every kind that is refused before anything moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.calibration_file import (
    MOST_BYTES,
    calibration_of,
    calibration_settings,
    digest,
    load_calibration,
    write_calibration,
)
from runtime.errors import Refused
from runtime.robot import load_robot

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
            data["sha256"] = digest(data)
        path.write_text(json.dumps(data))

    return act


def knee_of(data: dict[str, Any]) -> dict[str, Any]:
    return data["joints"]["left_knee_joint"]


BAD = {
    "edited by hand": (edit(lambda data: knee_of(data).update(encoder_offset_rad=0.03), sealed=False), "by hand"),
    "another version": (edit(lambda data: data.update(schema="exoactor-calibration/2")), "schema"),
    "an unknown key": (edit(lambda data: data.update(imu=1)), "unknown imu"),
    "a missing key": (edit(lambda data: data.pop("serial")), "missing serial"),
    "an unknown joint": (edit(lambda data: data["joints"].update(tail=knee_of(data))), "tail"),
    "a huge offset": (edit(lambda data: knee_of(data).update(encoder_offset_rad=0.51)), "-0.5 to 0.5"),
    "no number": (edit(lambda data: knee_of(data).update(encoder_offset_rad="0.1")), "a number"),
    "no time": (edit(lambda data: data.update(created_utc="yesterday")), "a time such as"),
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
