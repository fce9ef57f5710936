"""The list before a run: every line green from good readings and red from each bad one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.remote import button_mask
from firmware_bridge.sim_options import parse_press
from runtime.calibration_file import write_calibration
from runtime.errors import Refused
from runtime.limits import Limits
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.preflight import Check, check_calibration, check_limits, refuse_red
from runtime.preflight_estop import check_remote, press_simulated_remote
from runtime.preflight_machine import (
    Interface,
    Machine,
    check_machine,
    read_governors,
    read_interface,
    read_machine,
    read_slowed,
)
from runtime.preflight_pose import check_imu, check_motors, check_pose
from runtime.preflight_robot import Calibrated, Watch, check_link, check_peers
from runtime.robot import load_robot
from runtime.run_command import _preflight
from runtime.settings import RunSettings
from runtime.state import Calibration, ImuCalibration
from tests.live_run import LiveRun
from tests.test_processes import REAL, on_a_fit_computer, simulated_robot, words
from tests.wire_observer import WireObserver

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).resolve().parents[1]
LIVE_DOMAIN = 118
MOTORS = 29


def of(checks: list[Check], name: str) -> Check:
    found = [check for check in checks if check.check == name]
    assert len(found) == 1, [check.check for check in checks]
    return found[0]


def assert_whole(checks: list[Check]) -> None:
    """Each line says what, how much and what to do, and no two are of one name."""
    names = [check.check for check in checks]
    assert len(set(names)) == len(names)
    for check in checks:
        assert check.measured and check.limit
        assert check.ok or check.what_to_do


# --- This computer ----------------------------------------------------------------------------------------------------

GOOD_MACHINE = Machine(
    python=(3, 10, 0), has_fifo=True, may_lock=True, cores=2, shared_free=64 << 20, disk_free=2 << 30,
    wall_behind_s=0.0, governors=("performance",), slowed=(), interface=Interface("eth0", True, False),
)
BAD_MACHINES: dict[str, tuple[dict[str, Any], bool]] = {
    "python": ({"python": (3, 9, 18)}, True),
    "real-time scheduling": ({"has_fifo": False}, True),
    "locked memory": ({"may_lock": False}, True),
    "processor cores": ({"cores": 1}, True),
    "shared memory": ({"shared_free": (64 << 20) - 1}, True),
    "disk for logs": ({"disk_free": (2 << 30) - 1}, True),
    "processor governor": ({"governors": ("performance", "powersave")}, False),
    "thermal throttling": ({"slowed": ("Processor by 3",)}, False),
    "wall clock": ({"wall_behind_s": 86401.0}, False),
    "network interface": ({"interface": Interface("eth0", False, False)}, True),
    "robot network closed": ({"interface": Interface("eth0", True, True)}, True),
}


def test_a_good_computer_is_green_on_a_robot() -> None:
    checks = list(check_machine(GOOD_MACHINE, strict=True))
    assert {check.check for check in checks} == set(BAD_MACHINES)
    assert all(check.ok for check in checks)
    assert_whole(checks)


@pytest.mark.parametrize("name", BAD_MACHINES)
def test_each_lack_of_a_computer_is_one_line(name: str) -> None:
    change, is_required = BAD_MACHINES[name]
    checks = list(check_machine(replace(GOOD_MACHINE, **change), strict=True))
    assert [check.check for check in checks if not check.ok] == [name]
    assert of(checks, name).required is is_required
    assert_whole(checks)


@pytest.mark.parametrize("name", ["real-time scheduling", "locked memory", "processor cores", "network interface"])
def test_what_only_a_robot_needs_is_advice_in_simulation(name: str) -> None:
    checks = list(check_machine(replace(GOOD_MACHINE, **BAD_MACHINES[name][0]), strict=False))
    assert not of(checks, name).ok and not of(checks, name).is_red


def test_what_the_kernel_does_not_tell_is_no_fault() -> None:
    checks = list(check_machine(replace(GOOD_MACHINE, governors=(), slowed=None, interface=None), strict=True))
    assert all(check.ok for check in checks)
    assert of(checks, "thermal throttling").measured == "not told by the kernel"


def test_this_computer_can_be_read(tmp_path: Path) -> None:
    machine = read_machine(tmp_path / "not" / "yet", None, tmp_path, tmp_path)
    assert machine.cores == len(os.sched_getaffinity(0)) and machine.disk_free > 0 and machine.shared_free > 0
    assert machine.python == sys.version_info[:3] and machine.interface is None
    assert (machine.governors, machine.slowed) == ((), None)
    assert machine.wall_behind_s < 0


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def test_governors_and_throttling_are_read_from_sysfs(tmp_path: Path) -> None:
    for core, governor in enumerate(("schedutil", "performance", "schedutil")):
        put(tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{governor}\n")
    assert read_governors(tmp_path) == ("performance", "schedutil")
    for number, (kind, state) in enumerate((("pwm-fan", "3"), ("Processor", "0"), ("cpu-throttle-alert", "2"))):
        put(tmp_path / f"class/thermal/cooling_device{number}/type", kind)
        put(tmp_path / f"class/thermal/cooling_device{number}/cur_state", state)
    assert read_slowed(tmp_path) == ("cpu-throttle-alert by 2",)


ROUTE = "Iface\tDestination\tGateway\tFlags\n{name}\t00000000\t0100A8C0\t0003\neth1\t007BA8C0\t00000000\t0001\n"
ROUTE6 = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 {{flags}} {{name}}\n"


@pytest.mark.parametrize(
    ("route", "route6", "has_default"),
    [
        (ROUTE.format(name="wlan0"), "", False),
        (ROUTE.format(name="eth1"), "", True),
        ("", ROUTE6.format(flags="00450003", name="eth1"), True),
        ("", ROUTE6.format(flags="00200200", name="eth1"), False),
        ("", ROUTE6.format(flags="00450003", name="wlan0"), False),
    ],
)
def test_the_default_route_is_found(tmp_path: Path, route: str, route6: str, has_default: bool) -> None:
    put(tmp_path / "class/net/eth1/operstate", "up\n")
    put(tmp_path / "net/route", route)
    put(tmp_path / "net/ipv6_route", route6)
    assert read_interface("eth1", tmp_path, tmp_path) == Interface("eth1", True, has_default)
    assert not read_interface("eth9", tmp_path, tmp_path).is_up


# --- The robot --------------------------------------------------------------------------------------------------------


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


# --- What a run makes of it ------------------------------------------------------------------------------------------


def run_settings(out: Path, **change: Any) -> RunSettings:
    return RunSettings(
        controller="twist2", robot="", model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None,
        **{"target": "g1", "domain": 0, "interface": "eth0", "peers": (), "out": str(out), **change},
    )


LINES = {
    "red": Check("a", False, "1", "2", "mend a"),
    "advice": Check("b", False, "3", "4", "look at b", required=False),
    "good": Check("c", True, "5", "6", ""),
}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What the list gives, to be filled."""
    lines: list[Check] = []
    monkeypatch.setattr("runtime.run_command.list_for_run", lambda settings, manifest: iter(lines))
    return lines


ADMITTED: Any = SimpleNamespace(manifest=None)


def test_a_run_refuses_on_a_red_line_and_keeps_the_list(tmp_path: Path, listed: list[Check]) -> None:
    listed.extend(LINES.values())
    with pytest.raises(Refused, match="mend a"):
        _preflight(run_settings(tmp_path), ADMITTED)
    written = json.loads((tmp_path / "preflight.json").read_text(encoding="utf-8"))
    assert written == [check.as_dict() for check in LINES.values()]


def test_a_dry_run_goes_on_and_says_it(
    tmp_path: Path, listed: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    listed.extend(LINES.values())
    warnings = _preflight(run_settings(tmp_path, dry_run=True), ADMITTED)
    assert len(warnings) == 2 and "mend a" in warnings[0] and "look at b" in warnings[1]
    assert capsys.readouterr().err.count("WARNING: preflight") == 2


def test_a_simulated_run_is_not_told_advice_but_refuses_on_red(tmp_path: Path, listed: list[Check]) -> None:
    listed.append(LINES["advice"])
    assert _preflight(run_settings(tmp_path, target="sim"), ADMITTED) == []
    listed.append(LINES["red"])
    with pytest.raises(Refused):
        _preflight(run_settings(tmp_path, target="sim"), ADMITTED)


@pytest.mark.parametrize(
    ("text", "start_s"), [("8,L2+B", 8.0), ("0,L2+B", 0.0), ("never,L2+B", float("inf"))]
)
def test_a_simulated_remote_is_pressed_at_a_time_or_by_a_signal(text: str, start_s: float) -> None:
    assert parse_press(text) == (start_s, button_mask(["L2", "B"]))


# --- For real ---------------------------------------------------------------------------------------------------------


def checked(*words: object) -> SimpleNamespace:
    done = subprocess.run(
        [sys.executable, "-m", "exoactor", "check", *map(str, words), "--json"], cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=False,
    )
    assert done.stdout, done.stderr
    return SimpleNamespace(code=done.returncode, lines={line["check"]: line for line in json.loads(done.stdout)})


def test_a_simulated_robot_is_green_and_its_remote_really_stops() -> None:
    result = checked("--robot", "sim", "--domain", LIVE_DOMAIN)
    assert all(set(line) == {"check", "ok", "measured", "limit", "what_to_do", "required"}
               for line in result.lines.values())
    red = [line for line in result.lines.values() if line["required"] and not line["ok"]]
    assert (result.code, red) == (0, [])
    assert "REMOTE_STOP after" in result.lines["remote pressed"]["measured"]
    assert result.lines["motion service"]["measured"] == "released"
    assert result.lines["battery"]["measured"] == "80 %"
    assert "from the pelvis'" in result.lines["torso IMU"]["measured"]


def test_a_check_looks_at_joints_by_their_calibration(tmp_path: Path) -> None:
    """A file that is wrong for this robot by half a radian at the knee."""
    path = tmp_path / "cal.json"
    write_calibration(path, "g1_29dof", "sim", {"left_knee_joint": (0.45, 0.45)}, created=datetime.now(timezone.utc),
                      valid_days=1)
    result = checked("--robot", "sim", "--domain", LIVE_DOMAIN, "--calibration", str(path))
    assert "left_knee_joint -0.4" in result.lines["joints within range"]["measured"]


def test_a_robot_whose_motion_service_is_active_is_red() -> None:
    domain = LIVE_DOMAIN - 1
    words = [sys.executable, "-m", "exoactor", "sim", "--domain", str(domain), "--motion-service", "ai",
             "--press", "0,L2+B"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sim:
        try:
            assert sim.stdout is not None and "ready" in sim.stdout.readline()
            result = checked("--robot", "dds", "--domain", domain)
        finally:
            sim.terminate()
    red = {name for name, line in result.lines.items() if line["required"] and not line["ok"]}
    assert result.code == 2
    assert red == {"motion service", "stop combination released"}
    assert "'ai' is active" in result.lines["motion service"]["measured"]


@on_a_fit_computer
def test_no_robot_is_armed_whose_motion_service_is_active(tmp_path: Path) -> None:
    with (
        simulated_robot(LIVE_DOMAIN - 2, "--motion-service", "ai"),
        WireObserver(LIVE_DOMAIN - 2, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(LIVE_DOMAIN - 2, *REAL)) as run,
    ):
        assert run.finish() == 2
        wire.stop()
    assert "motion service: expected released, found 'ai' is active" in run.errors
    assert "Type MOVE" not in run.errors and run.report["refusal"]["what"] == "motion service"
    assert wire.writers == [] and len(wire.frames) == 0
