"""The thermal soak: what readings in whole degrees tell, what ends it, and the routine against a hidden truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import history, thermal
from calibration.bench import Bench, Stopped
from calibration.envelope import enclose
from calibration.lockstep import CalibrationRun
from calibration.routine import Found
from calibration.thermal import Thermal, Warming, fit_warming
from exoactor import main
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import Truth, read_truth
from runtime.faults import Mode

HIPS = ["left_hip_pitch_joint", "right_hip_pitch_joint"]
C, COOLING, AMBIENT_C = 0.004, 0.02, 24.3


def read_out(rng: np.random.Generator, c: float, cooling: float, ambient_c: float) -> tuple[np.ndarray, ...]:
    """Ten looks a second at a motor that is loaded for 100 s and rests for 60: times, squared torques, readings."""
    time_s = np.arange(0, 160, 0.1) + rng.uniform(0, 0.002)
    fine_s = np.arange(0, 160.1, 0.01)
    torque = np.interp(fine_s, [0, 2, 100, 102], [1.0, 15.0, 15.0, 1.0])
    temperature = np.full(len(fine_s), ambient_c)
    for i in range(len(fine_s) - 1):
        now = temperature[i]
        temperature[i + 1] = now + 0.01 * (c * torque[i] ** 2 - cooling * (now - ambient_c))
    tau, temperature = np.interp(time_s, fine_s, torque), np.interp(time_s, fine_s, temperature)
    return time_s, (tau + 0.02 * rng.standard_normal(len(tau))) ** 2, np.floor(temperature)


def test_the_intervals_of_a_warming_cover_the_truth() -> None:
    rng, inside = np.random.default_rng(4), []
    for _ in range(40):
        truth = np.array([C, COOLING, AMBIENT_C]) * rng.uniform(0.7, 1.3, 3)
        found = fit_warming(*read_out(rng, *truth))
        assert found is not None
        errors = np.abs([found.c_per_n2m2s, found.cooling_per_s, found.ambient_c] - truth)
        inside += (errors <= found.half_width).tolist()
        assert (errors[:2] < 0.05 * truth[:2]).all()
    assert np.mean(inside) >= 0.9


def test_a_motor_that_hardly_warms_is_not_told() -> None:
    assert fit_warming(*read_out(np.random.default_rng(0), C / 30, COOLING, AMBIENT_C)) is None


def test_the_time_to_a_limit_is_when_the_temperature_gets_there() -> None:
    warming = Warming(C, COOLING, AMBIENT_C, AMBIENT_C, np.zeros(3))
    seconds = warming.seconds_to(80.0, 25.0)
    assert seconds is not None
    time_s = np.array([0.0, seconds])
    assert warming.temperatures(time_s, np.full(2, 25.0**2))[-1] == pytest.approx(80, abs=0.1)
    assert warming.seconds_to(80.0, warming.continuous_n_m(80.0) - 0.01) is None
    assert warming.seconds_to(80.0, warming.continuous_n_m(80.0) + 0.01) is not None


def test_a_motor_that_warms_much_faster_than_its_twin_is_found() -> None:
    found, left, right = Found(), *(Warming(c, COOLING, AMBIENT_C, AMBIENT_C, np.zeros(3)) for c in (C, 2 * C))
    thermal._compare_twins(found, dict(zip(HIPS, (left, right), strict=True)))
    assert [verdict.ok for verdict in found.verdicts] == [False]


def test_a_motor_at_the_limit_ends_the_soak_in_damping() -> None:
    """Before the gate's own limit: 80 C is the routine's, 90 C the gate's."""
    routine = Thermal()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, HIPS, np.zeros(robot.motors))
    hot = read_truth({"schema": "exoactor-truth/1", "heat": {"ambient_c": 78, "cooling_per_s": 0.05},
                      "joints": {HIPS[1]: {"heat_c_per_n2m2s": 0.5}}})
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=hot))
    ticks = 0
    while run.gate.machine.mode is not Mode.DAMP:
        run.tick()
        ticks += 1
        assert ticks < 10000
    assert HIPS[1] in run.conductor.stopped and "80 C" in run.conductor.stopped
    assert run.conductor.bench.temperature_c.max() < 83


def test_no_temperatures_are_no_low_temperatures() -> None:
    routine = Thermal()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, HIPS, np.zeros(robot.motors))
    with pytest.raises(Stopped, match="no motor temperatures"):
        next(routine.steps(Bench(robot, 0.002)))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """For motors that warm and cool in seconds; real ones take minutes."""
    for name, seconds in (("COLD_S", 1.0), ("LOAD_S", 14.0), ("REST_S", 10.0), ("CHECK_S", 3.0), ("MOVE_RAD_S", 0.9)):
        monkeypatch.setattr(thermal, name, seconds)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_a_soak_finds_how_hips_warm_and_a_simulation_can_load_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = {"left_hip_pitch_joint": (0.015, 0.1), "right_hip_pitch_joint": (0.012, 0.08)}
    truth = {"schema": "exoactor-truth/1", "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
             "heat": {"ambient_c": 27, "c_per_n2m2s": 0.012, "cooling_per_s": 0.08},
             "joints": {HIPS[0]: {"heat_c_per_n2m2s": 0.015, "heat_cooling_per_s": 0.1}}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    words = ["--truth", str(tmp_path / "truth.json"), "--yes", "--file", str(tmp_path / "cal.json")]
    assert main(["calibrate", "thermal", "--out", str(tmp_path / "out"), *words]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    values = {row["key"]: row for row in report["values"]}
    for name, (c, cooling) in hidden.items():
        for key, true in (("heat_c_per_n2m2s", c), ("heat_cooling_per_s", cooling)):
            row = values[f"plant.{name}.{key}"]
            assert row["value"] == pytest.approx(true, rel=0.05)
        assert abs(report["facts"][name]["ambient_c"] - 27) <= report["facts"][name]["ambient_half_width_c"]
    assert "left_wrist_yaw_joint" in report["facts"]["not_warm_enough"]
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    capsys.readouterr()
    assert main(["calibrate", "export", "--file", str(tmp_path / "cal.json")]) == 0
    exported: Truth = read_truth(json.loads(capsys.readouterr().out))
    assert exported.joints[HIPS[0]].heat_c_per_n2m2s == pytest.approx(0.015, rel=0.05)
    with_it = SimulatedRobot(hangs=True, truth=exported)
    assert with_it._imperfections is not None
    assert with_it._imperfections._cooling[0] == pytest.approx(0.1, rel=0.05)
    assert main(["calibrate", "diff", "--file", str(tmp_path / "cal.json")]) == 0
    assert f"plant.{HIPS[0]}.heat_cooling_per_s" in capsys.readouterr().out
    assert history.flat(history.open_data(tmp_path / "cal.json")["versions"][-1])
