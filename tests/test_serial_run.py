"""The same run over serial buses: same policy, same gate, an operator's word before there is torque."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

for library in ("serial", "mujoco", "onnxruntime", "mcap"):
    pytest.importorskip(library, reason=f"missing dependency: {library}")

import exoactor
from firmware_bridge.wiring import read_wiring
from runtime.errors import Refused
from runtime.gate_bus import refuse_clipped_gains, refuse_misfit
from runtime.hand import load_hand
from runtime.log_file import read_log
from runtime.robot import JointOrder, load_robot
from runtime.targets import TARGETS, target_among
from tests.serial_run import Emulator, demo_wiring, run_serial


@pytest.mark.slow
@pytest.mark.realtime
def test_a_squat_goes_over_four_serial_buses(tmp_path: Path) -> None:
    wiring = demo_wiring(tmp_path)
    data = json.loads(wiring.read_text())
    data["hands"] = {"protocol": "inspire-rh56", "left": "ports/left_hand", "right": "ports/right_hand"}
    wiring.write_text(json.dumps(data))
    (tmp_path / "grip.json").write_text(json.dumps({"format": "exoactor-chain/1", "actions": [
        {"clip": "squat", "end_s": 2.0, "hands": [{"hand": "right", "state": "closed", "at_s": 0.4}]}]}))
    emulator = Emulator(wiring)
    try:
        code, told = run_serial(wiring, tmp_path / "out", "--chain", str(tmp_path / "grip.json"))
    finally:
        end = emulator.end()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0 and report["outcome"] == "done" and not report["fell"], told
    assert report["tracking"]["joint_error_rad_mean"] < 0.1
    assert end["driven"] == 29 and not list((tmp_path / "ports").iterdir())
    hands = report["hands"]
    assert hands["connected"] == {"left": True, "right": True} and hands["findings"] == {}
    assert hands["events_told"] == 1 and hands["last_state"]["right"] == "closed"
    q = read_log(tmp_path / "out" / "log.mcap").topics["hands"]["q"][-1]
    model = load_hand("inspire-rh56")
    np.testing.assert_allclose(q[1], model.states_rad[2, 1], atol=0.05)
    np.testing.assert_allclose(q[0], 0, atol=0.01)


@pytest.mark.slow
@pytest.mark.realtime
def test_nothing_has_torque_without_an_operator_s_word(tmp_path: Path) -> None:
    wiring = demo_wiring(tmp_path)
    emulator = Emulator(wiring)
    try:
        code, told = run_serial(wiring, tmp_path / "out", "--clip", "squat", answers=False)
        assert code == 2 and "MOVE" in told
        code, told = run_serial(wiring, tmp_path / "dry", "--clip", "squat", "--duration", "1", "--dry-run")
        assert (tmp_path / "dry" / "log.mcap").stat().st_size > 100_000
        ports = json.loads((tmp_path / "dry" / "report.json").read_text())["buses"]
        assert len(ports) == 4 and sum(len(port["drives"]) for port in ports) == 29
        assert all(drive["rate_hz"] > 100 and not drive["is_driving"] for port in ports for drive in port["drives"])
    finally:
        end = emulator.end()
    assert end["driven"] == 0 and end["let_go"] == 0


def test_a_robot_is_named_by_target_or_wiring_file(tmp_path: Path) -> None:
    wiring, robot_target = demo_wiring(tmp_path), target_among(TARGETS)
    assert robot_target("g1") == "g1" and robot_target(str(wiring)) == str(wiring)
    assert robot_target("g1_serial_demo") == "g1_serial_demo"
    with pytest.raises(argparse.ArgumentTypeError, match="wiring file"):
        robot_target("g2")


def test_a_wiring_of_another_robot_or_without_an_imu_is_refused(tmp_path: Path) -> None:
    path = demo_wiring(tmp_path)
    wiring = read_wiring(path)
    assert refuse_misfit(wiring, load_robot("g1_29dof")) is wiring
    with pytest.raises(Refused, match="booster_t1"):
        refuse_misfit(wiring, load_robot("booster_t1"))
    data = json.loads(path.read_text())
    del data["imu"]
    path.write_text(json.dumps(data))
    with pytest.raises(Refused, match="walks"):
        refuse_misfit(read_wiring(path), load_robot("g1_29dof"))


def test_gains_that_a_drive_cannot_take_are_refused_and_not_clipped(tmp_path: Path) -> None:
    path, robot = demo_wiring(tmp_path), load_robot("g1_29dof")
    kp, kd = np.full(29, 99, np.float32), np.full(29, 2, np.float32)
    knee = robot.motor_index(JointOrder(("left_knee_joint",)))[0]
    kd[knee] = 6.31
    refuse_clipped_gains(read_wiring(path), robot, kp, kd)  # behind a gear of 1.5 the joint has up to 11.25
    data = json.loads(path.read_text())
    for bus in data["buses"]:
        for drive in bus["drives"]:
            drive.pop("gear", None)
    path.write_text(json.dumps(data))
    with pytest.raises(Refused, match=r"left_knee_joint: expected kd 6\.31.*at most 5\.00"):
        refuse_clipped_gains(read_wiring(path), robot, kp, kd)


@pytest.mark.slow
@pytest.mark.realtime
def test_check_and_damp_look_at_every_drive_and_none_gets_torque(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    wiring = demo_wiring(tmp_path)
    emulator = Emulator(wiring)
    try:
        exoactor.main(["check", "--robot", str(wiring), "--json"])
        found = {line["check"]: line for line in json.loads(capsys.readouterr().out)}
        assert found["ports and drives"]["measured"] == "4 ports, 29 drives"
        assert found["torque"]["ok"] and found["robot state"]["ok"] and found["IMU against gravity"]["ok"]
        assert sum(name.startswith("answers on") for name in found) == 4
        assert found["e-stop sources"]["measured"] == "none", "a serial robot has no wireless remote"
        assert exoactor.main(["damp", "--robot", str(wiring)]) == 0
        assert "none of 29 drives has any" in capsys.readouterr().err
    finally:
        assert emulator.end()["driven"] == 0
    assert exoactor.main(["damp", "--robot", str(wiring)]) == 1
    assert "left_knee_joint" in capsys.readouterr().err, "who could not be reached is named"
    assert exoactor.main(["check", "--robot", str(wiring), "--json"]) == 2
    last = json.loads(capsys.readouterr().out)[-1]
    assert not last["ok"] and "port" in last["check"]
