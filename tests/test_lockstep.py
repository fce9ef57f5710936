"""Whole runs on simulated time: published controllers on recorded walks, pushed, delayed and cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.faults import FAULTS, Mode
from runtime.log_file import read_log
from runtime.report import make_report
from runtime.settings import RunSettings
from tests.shared_data import shared_data

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from firmware_bridge.simulated_robot import Disturbance, Push, SimulatedRobot
from runtime.lockstep import Lockstep, run_lockstep
from runtime.policy import Policy

NEVER = (float("inf"), 0)


def tracker(out: Path, walk: str = "twist2_walk_001", **changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": "twist2", "robot": "g1_29dof", "model": str(shared_data("policies/twist2_1017_20k.onnx")),
        "clip": str(shared_data(f"motions/{walk}.npz")), "command": (0.0, 0.0, 0.0), "duration_s": None,
        "target": "sim", "domain": 0, "interface": None, "peers": (), "out": str(out), **changes,
    })


def report_of(settings: RunSettings, out: Path, robot: SimulatedRobot | None = None) -> dict[str, Any]:
    policy = Policy(settings)
    factor = run_lockstep(settings, policy, robot or SimulatedRobot(), out, NEVER)
    notes = {"warnings": [], "errors": [], "gate_restarts": 0}
    return make_report(out, policy.manifest, real_time_factor=factor, notes=notes)


@pytest.mark.parametrize("walk", [
    "twist2_walk_001",
    *(pytest.param(f"twist2_walk_{number}", marks=pytest.mark.slow) for number in ("002", "005", "007")),
])
def test_a_published_tracker_follows_a_recorded_walk(tmp_path: Path, walk: str) -> None:
    report = report_of(tracker(tmp_path, walk), tmp_path)
    assert (report["outcome"], report["fell"], report["faults"]) == ("done", False, [])
    assert report["tracking"]["joint_error_rad_mean"] <= 0.075
    assert report["tracking"]["root_height_error_m_mean"] <= 0.03
    assert report["damping_frames"] >= 1000
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_velocity_controller_walks(tmp_path: Path) -> None:
    model = str(shared_data("policies/ppo_g1_29dof.onnx"))
    settings = tracker(tmp_path, controller="holosoma-velocity", model=model, clip=None, command=(0.5, 0.0, 0.0),
                       duration_s=10.0)
    report = report_of(settings, tmp_path)
    assert (report["outcome"], report["fell"]) == ("done", False)
    assert report["tracking"]["speed_m_s_mean"] >= 0.35


def test_the_same_run_twice_is_the_same_to_the_bit(tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        out = tmp_path / name
        out.mkdir()
        robot = SimulatedRobot(disturbance=Disturbance(noise_q_rad=0.005, noise_gyro_rad_s=0.1, loss=0.02, seed=3))
        report_of(tracker(out, duration_s=2.0), out, robot)
        logs.append(read_log(out / "log.mcap").topics)
    for field in ("q", "command", "flags", "mode"):
        np.testing.assert_array_equal(logs[0]["gate"][field], logs[1]["gate"][field])
    np.testing.assert_array_equal(logs[0]["policy"]["observation"], logs[1]["policy"]["observation"])


@pytest.mark.slow
@pytest.mark.parametrize("force", [(250, 0, 0), (-250, 0, 0), (0, 250, 0), (0, -250, 0)])
def test_a_walk_survives_a_push_of_25_newton_seconds(tmp_path: Path, force: tuple[float, float, float]) -> None:
    settings = tracker(tmp_path, duration_s=6.0)
    robot = SimulatedRobot(disturbance=Disturbance(pushes=(Push(7, 0.1, force),)))
    lockstep = Lockstep(settings, Policy(settings), robot)
    lockstep.run(30)
    assert lockstep.gate.machine.cause == -1, FAULTS[lockstep.gate.machine.cause].flag


@pytest.mark.slow
def test_a_walk_survives_twenty_milliseconds_of_latency_and_lost_frames(tmp_path: Path) -> None:
    settings = tracker(tmp_path, duration_s=6.0)
    lockstep = Lockstep(settings, Policy(settings), SimulatedRobot(disturbance=Disturbance(latency_s=0.02, loss=0.05)))
    lockstep.run(30)
    assert lockstep.gate.machine.cause == -1


def until_tracking(lockstep: Lockstep, ticks: int = 200) -> None:
    while lockstep.gate.machine.mode is not Mode.TRACK:
        lockstep.operate()
        lockstep.tick()
    for _ in range(ticks):
        lockstep.operate()
        lockstep.tick()


@pytest.mark.parametrize(("harm", "flag"), [
    (lambda lockstep: setattr(lockstep, "press", (0.0, 1 << 3)), "REMOTE_STOP"),
    (lambda lockstep: lockstep.robot.sample.mode_machine.__setitem__(0, 1), "MODE_MACHINE"),
    (lambda lockstep: setattr(lockstep, "policy_tick", lambda: None), "TARGET_STALE"),
    (lambda lockstep: lockstep.robot.data.qvel.__setitem__(slice(0, 3), (6, 0, 4)), "TILT"),
])
def test_harm_on_the_way_ends_in_damping_that_lasts(
    tmp_path: Path, harm: Callable[[Lockstep], None], flag: str
) -> None:
    settings = tracker(tmp_path)
    lockstep = Lockstep(settings, Policy(settings), SimulatedRobot())
    until_tracking(lockstep)
    harm(lockstep)
    lockstep.run(30)
    assert lockstep.gate.machine.mode is Mode.DAMP
    assert FAULTS[lockstep.gate.machine.cause].flag == flag


def test_another_variant_is_not_armed(tmp_path: Path) -> None:
    settings = tracker(tmp_path)
    with pytest.raises(Refused, match="arming"):
        Lockstep(settings, Policy(settings), SimulatedRobot(mode_machine=1)).run(5)
