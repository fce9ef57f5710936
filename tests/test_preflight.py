"""What a preflight says of a robot, its limits and its calibration: green from good readings, red from each bad one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.remote import button_mask
from runtime.calibration_file import write_calibration
from runtime.errors import Refused
from runtime.limits import Limits
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.preflight import Check, check_calibration, check_limits, refuse_red
from runtime.preflight_estop import check_remote, press_simulated_remote
from runtime.preflight_machine import (
    check_machine,
)
from runtime.preflight_pose import check_imu, check_motors, check_pose
from runtime.preflight_robot import Calibrated, Watch, check_link, check_peers
from runtime.robot import load_robot
from runtime.state import Calibration, ImuCalibration
from tests.preflight_lines import GOOD_MACHINE, assert_whole, of, run_settings

ROOT = Path(__file__).resolve().parents[1]
MOTORS = 29


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest("twist2")


def good_watch() -> Watch:
    """An upright robot at rest that hangs straight, as a second of watching sees it."""
    sample = MotorSample.zeros(MOTORS)
    sample.mode_machine[0], sample.temperature_c[:], sample.battery_percent[0] = 5, 35, 80
    sample.remote[:2] = (0x55, 0x51)
    return Watch(
        sample, received=500, lost_ratio=0.0, windows=1, accel=np.array([0, 0, 9.81]), torso_rad=0.0,
        participants=["robot"], motion_mode="",
    )


def all_lines(watch: Watch, manifest: Manifest, target: str = "g1") -> list[Check]:
    strict, robot = target == "g1", manifest.robot
    return [
        *check_link(watch, "domain 0, interface eth0", strict=strict), *check_peers(watch, target),
        *check_imu(watch, robot), *check_pose(watch.sample, manifest), *check_motors(watch, robot, False),
        *check_remote(watch.sample, robot, strict=strict),
    ]


def motor(manifest: Manifest, joint: str) -> int:
    return next(row.motor for row in manifest.robot.joints if row.name == joint)


def turned(angle_rad: float) -> tuple[float, float, float, float]:
    return (float(np.cos(angle_rad / 2)), float(np.sin(angle_rad / 2)), 0.0, 0.0)


Change = Callable[[Watch, Manifest], None]


def set_q(joint: str, value: float) -> Change:
    def change(watch: Watch, manifest: Manifest) -> None:
        watch.sample.q[motor(manifest, joint)] = value

    return change


def put_in(name: str, value: object) -> Change:
    """A part of the watch or, as "sample.NAME", of its sample."""

    def change(watch: Watch, manifest: Manifest) -> None:
        if name.startswith("sample."):
            getattr(watch.sample, name.partition(".")[2])[...] = value
        else:
            setattr(watch, name, value)

    return change


def tilted(angle_rad: float) -> Change:
    """Orientation and gravity together: an IMU that is right about a robot that leans."""

    def change(watch: Watch, manifest: Manifest) -> None:
        watch.sample.quat_wxyz[:] = turned(angle_rad)
        watch.accel = 9.81 * np.array([0, np.sin(angle_rad), np.cos(angle_rad)])

    return change


RED: dict[str, tuple[str, Change]] = {
    "a state in fifty lost": ("states lost", put_in("lost_ratio", 0.011)),
    "a wrong CRC": ("state CRC", put_in("rejected", 1)),
    "another writer": ("other commander", put_in("others", ["someone"])),
    "an active mode": ("motion service", put_in("motion_mode", "ai")),
    "gravity to the side": ("IMU against gravity", put_in("accel", np.array([9.81, 0, 0]))),
    "gravity upside down": ("IMU against gravity", put_in("accel", np.array([0, 0, -9.81]))),
    "gravity in g": ("IMU against gravity", put_in("accel", np.array([0, 0, 1.0]))),
    "no gravity": ("IMU against gravity", put_in("accel", np.zeros(3))),
    "gravity not a number": ("IMU against gravity", put_in("accel", np.full(3, np.nan))),
    "quaternion x, y, z, w": ("IMU against gravity", put_in("sample.quat_wxyz", (0, 0, 0.6, 0.8))),
    "a gyro that drifts": ("gyro at rest", put_in("gyro", np.array([0, -0.051, 0]))),
    "a gyro not a number": ("gyro at rest", put_in("gyro", np.array([np.nan, 0, 0]))),
    "a robot that lies": ("upright", tilted(0.8)),
    "a torso far from its pelvis": ("torso IMU", put_in("torso_rad", 0.27)),
    "a knee bent backwards": ("joints within range", set_q("left_knee_joint", -0.5)),
    "a knee not a number": ("joints within range", set_q("left_knee_joint", float("nan"))),
    "a knee a turn off": ("legs at the start pose", set_q("right_knee_joint", 1.5)),
    "another variant": ("mode_machine", put_in("sample.mode_machine", 1)),
    "a robot that moves": ("joints at rest", put_in("moving_rad_s", 1.0)),
    "a hot motor": ("motor temperature", put_in("sample.temperature_c", 80)),
    "a motor's error": ("motor errors", put_in("sample.motor_error", 0x400)),
    "an empty battery": ("battery", put_in("sample.battery_percent", 14)),
    "a remote that is off": ("wireless remote", put_in("sample.remote", 0)),
}
WARNED: dict[str, tuple[str, Change]] = {
    "a wall clock that is set": ("clocks in step", put_in("wall_drift_s", -0.011)),
    "a switcher that says nothing": ("motion service", put_in("motion_mode", None)),
    "a torso a little off": ("torso IMU", put_in("torso_rad", 0.1)),
    "a torso unheard of": ("torso IMU", put_in("torso_rad", float("nan"))),
    "an arm bent": ("arms at the start pose", set_q("left_elbow_joint", 1.9)),
    "an arm's sign": ("left and right alike", set_q("left_shoulder_roll_joint", -0.6)),
    "a battery unheard of": ("battery", put_in("sample.battery_percent", np.nan)),
}


def test_a_good_robot_is_green(manifest: Manifest) -> None:
    checks = all_lines(good_watch(), manifest)
    assert all(check.ok for check in checks), [check for check in checks if not check.ok]
    assert_whole(checks)
    refuse_red(checks)


def test_every_line_about_a_robot_can_be_red_or_warned_about(manifest: Manifest) -> None:
    names = {check.check for check in all_lines(good_watch(), manifest)}
    covered = {name for name, _ in [*RED.values(), *WARNED.values()]}
    assert names - covered == {"robot state", "participants", "stop combination released"}


@pytest.mark.parametrize("fault", RED)
def test_each_fault_of_a_robot_is_red(manifest: Manifest, fault: str) -> None:
    name, change = RED[fault]
    watch = good_watch()
    change(watch, manifest)
    checks = all_lines(watch, manifest)
    assert of(checks, name).is_red
    assert_whole(checks)
    with pytest.raises(Refused, match=name):
        refuse_red(checks)


@pytest.mark.parametrize("fault", WARNED)
def test_each_doubt_about_a_robot_is_advice(manifest: Manifest, fault: str) -> None:
    name, change = WARNED[fault]
    watch = good_watch()
    change(watch, manifest)
    checks = all_lines(watch, manifest)
    assert not of(checks, name).ok and not of(checks, name).is_red
    assert not any(check.is_red for check in checks)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (put_in("lost_ratio", 0.01), "states lost"),
        (put_in("torso_rad", 0.087), "torso IMU"),
        (set_q("right_knee_joint", 0.89), "legs at the start pose"),
        (set_q("right_knee_joint", -0.08), "joints within range"),
        (put_in("moving_rad_s", 0.99), "joints at rest"),
        (put_in("sample.temperature_c", 79), "motor temperature"),
        (put_in("sample.battery_percent", 15), "battery"),
        (tilted(0.78), "upright"),
    ],
)
def test_a_limit_itself_is_still_good(manifest: Manifest, change: Change, line: str) -> None:
    watch = good_watch()
    change(watch, manifest)
    assert of(all_lines(watch, manifest), line).ok


def test_pose_and_imu_are_looked_at_calibrated(manifest: Manifest) -> None:
    """A knee and an IMU that are off, with a file that says so: red as they read, green as they are."""
    raw, knee, tilt = good_watch(), motor(manifest, "left_knee_joint"), 0.4
    sample, mounting = raw.sample, np.array(turned(tilt))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    sample.q[knee], sample.quat_wxyz[:] = -0.45, mounting
    sample.gyro[:], sample.accel[:] = turn.T @ np.zeros(3) + [0.1, 0, 0], turn.T @ np.array([0, 0, 9.81])
    imu = ImuCalibration(turn, mounting, np.array([0.1, 0, 0]), np.zeros(3), np.ones(3))
    offset = Calibration(MOTORS, imu)
    offset.encoder_offset_rad[knee] = -0.45
    red = {}
    for name, calibration in (("raw", Calibration(MOTORS)), ("calibrated", offset)):
        seen = Calibrated(sample, manifest.robot, calibration)
        seen.look()
        watch = replace(raw, sample=seen.sample, gyro=seen.sample.gyro.copy(), accel=seen.sample.accel.copy())
        red[name] = {line.check for line in all_lines(watch, manifest) if line.is_red}
    assert {"joints within range", "gyro at rest"} <= red["raw"]
    assert red["calibrated"] == set()
    assert seen.sample.remote[0] == 0x55 and sample.q[knee] == np.float32(-0.45)


def test_no_robot_names_domain_and_interface(manifest: Manifest) -> None:
    checks = list(check_link(Watch(MotorSample.zeros(MOTORS)), "domain 7, interface eth0", strict=True))
    assert [check.check for check in checks] == ["robot state"] and checks[0].is_red
    assert "domain 7, interface eth0" in checks[0].measured and "domain 7" in checks[0].what_to_do


def test_losses_are_advice_where_no_robot_is_moved(manifest: Manifest) -> None:
    watch = good_watch()
    watch.lost_ratio = 0.5
    assert not of(all_lines(watch, manifest, "dds"), "states lost").is_red


def test_our_own_simulated_robot_has_to_answer_for_its_motion_service(manifest: Manifest) -> None:
    watch = good_watch()
    watch.motion_mode, watch.motion_error = None, "the motion switcher answers with error 3203"
    line = of(all_lines(watch, manifest, "sim"), "motion service")
    assert line.is_red and "3203" in line.measured


@pytest.mark.parametrize("keys", [("L2", "B"), ("select",)])
def test_a_held_stop_combination_is_red(manifest: Manifest, keys: tuple[str, ...]) -> None:
    watch = good_watch()
    bits = button_mask(keys)
    watch.sample.remote[2:4] = (bits & 0xFF, bits >> 8)
    assert of(all_lines(watch, manifest), "stop combination released").is_red


def test_half_of_a_stop_combination_is_none(manifest: Manifest) -> None:
    watch = good_watch()
    watch.sample.remote[2] = button_mask(["L2"]) & 0xFF
    assert of(all_lines(watch, manifest), "stop combination released").ok


class RobotWithRemote:
    """A bus whose robot's remote does, or does not, tell what is pressed."""

    def __init__(self, tells: bool) -> None:
        self.sample = good_watch().sample
        self._tells, self._tick = tells, 0

    def press(self) -> None:
        bits = button_mask(["L2", "B"]) if self._tells else 0
        self.sample.remote[2:4] = (bits & 0xFF, bits >> 8)

    def wait(self, timeout_s: float) -> bool:
        time.sleep(0.001)
        return True

    def read(self) -> Reading:
        self._tick += 1
        self.sample.tick[0] = self._tick
        return Reading.NEW


@pytest.mark.parametrize("tells", [True, False])
def test_a_press_of_the_remote_reaches_the_gate_or_is_red(manifest: Manifest, tells: bool) -> None:
    bus: Any = RobotWithRemote(tells)
    line = press_simulated_remote(bus, manifest.robot, bus.press)
    assert line.ok is tells and line.required
    assert ("REMOTE_STOP" if tells else "nothing") in line.measured


# --- Limits, calibration, verdict -------------------------------------------------------------------------------------


def test_a_loosened_limit_is_named() -> None:
    assert check_limits(Limits()).ok
    line = check_limits(Limits(tilt_rad=1.5, battery_no_motion=5))
    assert not line.ok and not line.is_red
    assert "tilt_rad" in line.measured and "battery_no_motion" in line.measured


def test_a_robot_without_calibration_is_told_so(tmp_path: Path) -> None:
    assert check_calibration(run_settings(tmp_path, target="sim"), load_robot("g1_29dof")).ok
    line = check_calibration(run_settings(tmp_path), load_robot("g1_29dof"))
    assert not line.ok and not line.is_red and "none is used" in line.measured


def test_a_calibration_is_looked_at_where_one_is_named(tmp_path: Path) -> None:
    robot, path = load_robot("g1_29dof"), tmp_path / "cal.json"
    named = replace(run_settings(tmp_path), calibration=str(path), serial="G1-0042")
    write_calibration(path, robot.name, "G1-0042", {}, created=datetime.now(timezone.utc), valid_days=9)
    assert check_calibration(named, robot).ok
    assert "G1-0042" in check_calibration(named, robot).measured
    assert check_calibration(replace(named, serial="G1-0043"), robot).is_red
    path.unlink()
    assert check_calibration(named, robot).is_red


def test_one_red_line_is_refused_as_itself_and_several_all_by_name() -> None:
    good, advice = Check("a", True, "1", "2", ""), Check("b", False, "1", "2", "x", required=False)
    red = [Check(name, False, f"found {name}", f"limit {name}", f"mend {name}") for name in ("c", "d")]
    refuse_red([good, advice])
    with pytest.raises(Refused) as error:
        refuse_red([good, advice, red[0]])
    assert (error.value.what, error.value.found) == ("c", "found c")
    with pytest.raises(Refused) as error:
        refuse_red([*red, good])
    assert all(part in str(error.value) for part in ("found c", "limit c", "mend c", "found d", "limit d", "mend d"))


def test_the_page_names_every_line(manifest: Manifest, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "preflight.md").read_text(encoding="utf-8")
    table = page.partition("<!-- checks -->")[2].partition("<!-- /checks -->")[0]
    listed = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    bus: Any = RobotWithRemote(True)
    lines = [
        *check_machine(GOOD_MACHINE, strict=True), check_limits(Limits()),
        check_calibration(run_settings(tmp_path), manifest.robot),
        *all_lines(good_watch(), manifest), press_simulated_remote(bus, manifest.robot, bus.press),
    ]
    assert {check.check for check in lines} == listed - {"e-stop sources", "e-stop SPEC", "e-stop KIND pressed"}
