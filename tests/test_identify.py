"""What a joint is made of: the fit on made-up records whose truth is known, and the routine on a hidden one."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration.bench import recording_dtype
from calibration.envelope import enclose
from calibration.hanging import hanging
from calibration.history import plant_truth
from calibration.identify import Identify
from calibration.joint_equations import equations, traces
from calibration.joint_fit import USUAL_SCALE, Fit, Model, fit_joint
from calibration.limb_torques import LimbTorques
from calibration.plant_routine import LAG_S, PERIOD_S
from calibration.plant_values import add_delay, add_friction, add_inertia
from calibration.routine import Found
from calibration.signals import between, held, margin, rise, smooth, solve
from exoactor import main
from firmware_bridge.imperfections import SUBSTEP_S
from firmware_bridge.motor_bus import KD, KP, TAU, MotorCommand, Q
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.robot import load_robot

G1 = load_robot("g1_29dof")
ELBOW = "left_elbow_joint"
TRUE = Model(coulomb=0.4, viscous=0.2, armature=0.006, scale=0.95, delay_s=0.0033)
NOISE = {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05}


class Pendulum:
    """One limb, of which everything is known: 0.03 kg m^2, 2 N m."""

    def torques(self, q: Any, dq: Any, ddq: Any) -> Any:
        return 0.03 * ddq + 2.0 * np.sin(q)


def recorded(true: Model, seed: int, seconds: float = 5.0, noise: float = 1.0) -> Any:
    """Rows of a robot with one motor, moved to and fro by torque alone."""
    random = np.random.default_rng(seed)
    hz, phase = random.uniform(0.7, 2.8, 3), random.uniform(0, 6, 3)

    def motion(t: Any) -> tuple[Any, ...]:
        w = 2 * np.pi * hz
        return tuple(sum(0.12 * w[i] ** n * np.sin(w[i] * t + phase[i] + n * np.pi / 2) for i in range(3))
                     for n in range(3))

    t = np.arange(round(seconds / PERIOD_S)) * PERIOD_S
    rows = np.zeros(len(t), recording_dtype(1))
    q, dq, _ = motion(t)
    rows["q"][:, 0] = q + noise * 2e-4 * random.standard_normal(len(t))
    rows["dq"][:, 0] = dq + noise * 0.02 * random.standard_normal(len(t))
    q, dq, ddq = motion(t + LAG_S + true.delay_s + PERIOD_S / 2)  # a held value stands for the middle of its period
    rubs = (true.coulomb + true.stribeck * np.exp(-((dq / true.stribeck_rad_s) ** 2))) * np.sign(dq)
    limb = Pendulum().torques(q, dq, ddq)
    rows["target"][:, 0, TAU] = (rubs + true.viscous * dq + true.armature * ddq + limb) / true.scale
    return rows


def fitted(rows: Any, scale: tuple[float, float] = USUAL_SCALE, delay_s: tuple[float, float] | None = None) -> Fit:
    seen = traces([rows], 0, Pendulum(), np.zeros(1), PERIOD_S)  # type: ignore[arg-type]
    return fit_joint(equations(seen, PERIOD_S, LAG_S), scale, delay_s)


def test_smoothing_keeps_what_is_straight() -> None:
    t = np.arange(400) * PERIOD_S
    n = margin(PERIOD_S, 0.006)
    assert smooth(3 * t + 2, PERIOD_S, 0.006)[n:-n] == pytest.approx(3 * t[n:-n] + 2, abs=1e-12)


@pytest.mark.parametrize("late_s", [0.0, 0.0007, 0.002, 0.0133])
def test_means_over_periods_are_exact_of_what_a_late_staircase_drives(late_s: float) -> None:
    """A bare rotor, its torque drawn a hundred times as finely: samples of its speed alone would show its ripple."""
    told = np.random.default_rng(0).normal(size=200)
    fine = PERIOD_S / 100
    t = np.arange(len(told) * 100) * fine
    torque = told[np.floor((t - late_s) / PERIOD_S + 1e-9).astype(int).clip(0)]
    dq = np.concatenate([[0.0], np.cumsum(torque) * fine])[::100][: len(told)]
    assert held(told, PERIOD_S, late_s) == pytest.approx(rise(dq, PERIOD_S), abs=1e-9)
    assert between(dq)[3] == pytest.approx((dq[3] + dq[4]) / 2)


def test_samples_of_a_joint_that_is_about_to_stop_are_left_out() -> None:
    """It keeps its sign all the while, but brakes at 150 rad/s^2: friction may let go before a joint stands."""
    dq = np.concatenate([np.full(200, 2.0), [1.7, 1.4], np.full(200, 1.1)])
    rows = np.zeros(len(dq), recording_dtype(1))
    rows["dq"][:, 0], rows["q"][:, 0] = dq, np.cumsum(dq) * PERIOD_S
    seen = traces([rows], 0, Pendulum(), np.zeros(1), PERIOD_S)  # type: ignore[arg-type]
    (_, kept), = equations(seen, PERIOD_S, LAG_S).told
    assert not set(range(194, 208)) & set(kept.tolist())
    assert kept.min() < 100 and kept.max() > 300


def test_instruments_take_out_what_noisy_regressors_bias() -> None:
    random = np.random.default_rng(1)
    true = random.normal(size=20000)
    seen, other = (true + 0.5 * random.normal(size=len(true)) for _ in range(2))
    blocks = np.arange(len(true)) // 50.0
    plain, _ = solve(seen[:, None], 2 * true, blocks)
    freed, covariance = solve(seen[:, None], 2 * true, blocks, other[:, None])
    assert plain[0] < 1.7
    assert freed[0] == pytest.approx(2, abs=3 * float(np.sqrt(covariance[0, 0])))


def test_a_motion_that_does_not_tell_two_unknowns_apart_is_refused() -> None:
    a = np.ones((100, 2))
    with pytest.raises(ValueError, match="do not determine"):
        solve(a, a[:, 0], np.arange(100) // 5.0)


def test_every_part_of_a_joint_is_found_without_noise() -> None:
    found = fitted(recorded(TRUE, 1, noise=1e-3)).model
    assert found.coulomb == pytest.approx(0.4, rel=0.01)
    assert found.viscous == pytest.approx(0.2, rel=0.01)
    assert found.armature == pytest.approx(0.006, rel=0.02)
    assert found.scale == pytest.approx(0.95, rel=0.005)
    assert found.delay_s == pytest.approx(0.0033, abs=5e-5)
    assert found.stribeck == 0


def test_what_goes_into_a_report_is_plain_numbers() -> None:
    found = Found()
    fit = fitted(recorded(TRUE, 4))
    add_friction(found, "joint", fit)
    add_inertia(found, "joint", fit)
    add_delay(found, {"joint": fit})
    assert json.dumps([*map(asdict, found.values), *map(asdict, found.verdicts), found.facts])


def test_friction_that_fades_with_speed_is_told_from_coulombs() -> None:
    found = fitted(recorded(Model(0.4, 0.2, 0.006, stribeck=0.5, stribeck_rad_s=0.2), 2, noise=0.1))
    assert found.model.coulomb == pytest.approx(0.4, rel=0.1)
    assert fitted(recorded(TRUE, 2, noise=0.1)).model.stribeck == 0


@pytest.mark.slow
def test_intervals_hold_the_truth_in_95_of_100_draws() -> None:
    inside = {name: 0 for name in ("coulomb", "viscous", "armature", "delay_s")}
    for seed in range(200):
        fit = fitted(recorded(TRUE, seed, seconds=3.0), (TRUE.scale, 1e-4))
        for name in inside:
            inside[name] += abs(getattr(fit.model, name) - getattr(TRUE, name)) <= fit.width[name]
    assert all(0.9 <= hits / 200 <= 0.99 for hits in inside.values()), inside


def test_a_known_torque_constant_that_is_wrong_scales_friction() -> None:
    """Why it is never assumed where gravity tells it."""
    assert fitted(recorded(TRUE, 3, noise=1e-3), (1.0, 1e-4)).model.coulomb == pytest.approx(0.4 / 0.95, rel=0.02)


def test_intervals_carry_what_is_not_known_of_the_torque_constant() -> None:
    """Nothing but the inertia of links turns this joint: friction and rotor are known no better than the drive."""
    rows = recorded(TRUE, 5, noise=0.1)
    heavy = fitted(rows)
    assert heavy.is_scale_told
    assert heavy.model.scale == pytest.approx(0.95, abs=0.01)

    class Weightless(Pendulum):
        def torques(self, q: Any, dq: Any, ddq: Any) -> Any:
            return 0.03 * ddq

    rows["target"][:, 0, TAU] -= (2.0 * np.sin(rows["q"][:, 0]) / 0.95).astype(np.float32)
    seen = traces([rows], 0, Weightless(), np.zeros(1), PERIOD_S)  # type: ignore[arg-type]
    fit = fit_joint(equations(seen, PERIOD_S, LAG_S))
    assert not fit.is_scale_told
    for name, most in (("coulomb", 0.4 * 0.12), ("armature", 0.036 * 0.12)):
        assert 0.9 * 0.098 * (most / 0.12) < fit.width[name] < most
        assert abs(getattr(fit.model, name) - getattr(TRUE, name)) <= fit.width[name]


def test_a_delay_that_others_have_told_is_believed() -> None:
    fit = fitted(recorded(TRUE, 6), delay_s=(TRUE.delay_s, 1e-5))
    assert fit.model.delay_s == pytest.approx(TRUE.delay_s, abs=4e-5)
    assert fit.width["delay_s"] < 2.1e-5


def test_a_value_that_is_not_told_is_left_out_and_the_others_are_written() -> None:
    fit, found = fitted(recorded(TRUE, 4)), Found()
    add_friction(found, "joint", replace(fit, width={**fit.width, "viscous": 1.0}))
    assert [value.key for value in found.values] == ["plant.joint.coulomb_n_m"]
    assert found.facts["not_told"] == ["joint.viscous_n_m_s_rad"]
    assert "left as it was" in found.verdicts[-1].measured


def test_no_interval_is_narrower_than_the_equation_is_true() -> None:
    fit, found = fitted(recorded(TRUE, 1, noise=1e-3)), Found()
    add_friction(found, "joint", fit)
    add_inertia(found, "joint", fit)
    widths = {value.key.split(".")[-1]: value.half_width / value.value for value in found.values}
    assert widths["coulomb_n_m"] == pytest.approx(0.02, abs=0.005)
    assert widths["armature_kg_m2"] >= 0.02


@pytest.mark.parametrize(("joint", "least_n_m"), [("left_shoulder_roll_joint", 1.0), ("right_hip_pitch_joint", 3.0)])
def test_a_limb_moves_where_its_weight_tells_and_nothing_is_touched(joint: str, least_n_m: float) -> None:
    """A shoulder roll about zero meets the chest, and gravity hardly turns it: its rotor was 240 % off there."""
    routine, robot = Identify(), enclose("g1_29dof", Identify.envelope)
    routine.prepare(robot, [joint], np.zeros(robot.motors))
    limb, model = routine._chosen[0], hanging(robot)
    pose = np.zeros(robot.motors)
    for row in robot.joints:
        pose[row.motor] = limb.posture.get(row.name, 0.0)
    torques = []
    for q in limb.ways["chirp"][0].q[::100]:
        pose[limb.joint.motor] = q
        assert not model.touches(pose)
        torques.append(model.torques(pose, np.zeros(3))[limb.joint.motor])
    assert max(torques) - min(torques) > least_n_m
    assert routine._limbs.inertia(pose)[limb.joint.motor] < 0.4


def test_a_heavy_joint_is_not_swept_faster_than_it_can_turn_round() -> None:
    """A waist that may take 2 rad/s^2 would run 1.5 rad on from 2.5 rad/s."""
    routine, robot = Identify(), enclose("g1_29dof", Identify.envelope)
    routine.prepare(robot, ["waist_roll_joint"], np.zeros(robot.motors))
    limb = routine._chosen[0]
    for way, _ in limb.ways.values():
        assert np.abs(way.q - limb.room.middle_rad).max() <= 1.05 * limb.room.reach_rad
        assert np.abs(way.tau).max() < 0.95 * limb.joint.effort_n_m


def test_limbs_weigh_and_resist_as_the_simulated_ones_do() -> None:
    """Arm, leg and waist in motion: what the drives give is friction and what the links take."""
    names = ("right_shoulder_pitch_joint", "right_hip_pitch_joint", "waist_pitch_joint")
    smooth_joints = {"schema": "exoactor-truth/1", "joints": {name: {"coulomb_n_m": 0.0} for name in names}}
    robot = SimulatedRobot(hangs=True, truth=read_truth(smooth_joints), timestep_s=SUBSTEP_S, is_fine=True)
    motors = [robot.joint_names.index(name) for name in names]
    command = MotorCommand(robot.motors)
    command.enabled = True
    command.block[:, KP], command.block[:, KD] = G1.column("kp"), G1.column("kd")
    limbs, model, data = LimbTorques(G1), robot.model, robot.data
    joints = [data.joint(name) for name in robot.joint_names]
    rotors = {name: float(model.dof_armature[model.joint(name).dofadr[0]]) for name in names}
    for tick in range(3200):
        command.block[motors, Q] = 0.2 * np.sin(0.0025 * tick)
        robot.command(command)
        before = [np.array([float(getattr(joint, key)[0]) for joint in joints]) for key in ("qpos", "qvel")]
        robot.step()
        after = np.array([float(joint.qvel[0]) for joint in joints])
        if tick % 400 == 399:
            change = (after - before[1]) / model.opt.timestep
            taken = limbs.torques(before[0][None], before[1][None], change[None])[0]
            for name, motor in zip(names, motors, strict=True):
                assert robot.sample.tau[motor] == pytest.approx(taken[motor] + rotors[name] * change[motor], abs=0.05)


def traced(**truth: Any) -> Any:
    """How an elbow follows a motion that no routine makes."""
    robot = SimulatedRobot(hangs=True, truth=read_truth({"schema": "exoactor-truth/1", **truth}))
    motor = robot.joint_names.index(ELBOW)
    command = MotorCommand(robot.motors)
    command.enabled = True
    command.block[:, KP], command.block[:, KD] = G1.column("kp"), G1.column("kd")
    out = []
    for tick in range(1500):
        command.block[motor, Q] = 0.5 + 0.3 * np.sin(0.02 * tick) + (0.1 if tick % 400 < 200 else 0.0)
        robot.command(command)
        robot.step()
        out.append(float(robot.data.joint(ELBOW).qpos[0]))
    return np.array(out)


@pytest.mark.slow
def test_an_identified_robots_simulation_moves_as_the_robot_does(tmp_path: Path) -> None:
    """By the commands, as typed: identify, export, and a motion that nothing was fitted to."""
    hidden = {"coulomb_n_m": 0.6, "viscous_n_m_s_rad": 0.3, "armature_kg_m2": 0.0045, "torque_scale": 0.94}
    delay = {"command_s": 0.0035, "state_s": 0.001}
    path, file = tmp_path / "truth.json", tmp_path / "cal.json"
    path.write_text(json.dumps({"schema": "exoactor-truth/1", "noise": NOISE, "joints": {ELBOW: hidden},
                                "delay": delay}))
    code = main(["calibrate", "identify", "--robot", "sim", "--lockstep", "--joints", ELBOW, "--truth", str(path),
                 "--yes", "--file", str(file), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0, [verdict for verdict in report["verdicts"] if not verdict["ok"]]
    found = plant_truth(json.loads(file.read_text())["versions"][-1])
    for key, true in hidden.items():
        assert found["joints"][ELBOW][key] == pytest.approx(true, rel=0.05), key
    assert found["delay"]["command_s"] == pytest.approx(0.0045, abs=0.001)
    assert "their sum" in report["facts"]["delay"]["not_separable"]
    true_way = traced(joints={ELBOW: hidden}, delay={"command_s": 0.0045})
    as_found, nominal = traced(joints=found["joints"], delay=found["delay"]), traced()
    error, before = (float(np.sqrt(np.mean((way - true_way) ** 2))) for way in (as_found, nominal))
    assert error < 0.1 * before
