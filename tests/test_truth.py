"""What a truth does to a simulated robot, each key alone, so that a calibration has something exact to find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.identify import Identify
from firmware_bridge.errors import BridgeError
from firmware_bridge.imperfections import SUBSTEP_S
from firmware_bridge.motor_bus import KD, KP, TAU, MotorCommand, Q
from firmware_bridge.simulated_robot import HEALTHY_C, SimulatedRobot
from firmware_bridge.truth import load_truth, read_truth

KNEE, ELBOW = "left_knee_joint", "right_elbow_joint"
OTHER = "left_elbow_joint"
STEPS = 750


def robot(**truth: Any) -> SimulatedRobot:
    return SimulatedRobot(hangs=True, truth=read_truth({"schema": "exoactor-truth/1", **truth}))


def slot(of: SimulatedRobot, joint: str) -> int:
    return of.joint_names.index(joint)


def held(of: SimulatedRobot, targets: dict[str, float], steps: int = STEPS) -> SimulatedRobot:
    """Held stiffly at zero but for some joints, until it rests."""
    command = MotorCommand(of.motors)
    command.enabled = True
    command.block[:, KP], command.block[:, KD] = 200, 5
    for joint, value in targets.items():
        command.block[slot(of, joint), Q] = value
    for _ in range(steps):
        of.command(command)
        of.step()
    return of


def angle(of: SimulatedRobot, joint: str) -> float:
    return float(of.data.joint(joint).qpos[0])


def test_an_encoder_offset_shifts_what_is_read_and_what_is_obeyed() -> None:
    tried = held(robot(joints={ELBOW: {"encoder_offset_rad": 0.1}}), {ELBOW: 0.3})
    assert angle(tried, ELBOW) == pytest.approx(0.2, abs=0.02)
    assert tried.sample.q[slot(tried, ELBOW)] == pytest.approx(angle(tried, ELBOW) + 0.1, abs=1e-6)


def test_a_command_offset_shifts_only_what_is_obeyed() -> None:
    tried = held(robot(joints={ELBOW: {"command_offset_rad": 0.1}}), {ELBOW: 0.3})
    assert angle(tried, ELBOW) == pytest.approx(0.2, abs=0.02)
    assert tried.sample.q[slot(tried, ELBOW)] == pytest.approx(angle(tried, ELBOW), abs=1e-6)


def test_a_reversed_motor_turns_and_reads_the_other_way_and_is_stable() -> None:
    tried = held(robot(joints={ELBOW: {"sign": -1}}), {ELBOW: 0.3})
    assert angle(tried, ELBOW) == pytest.approx(-0.3, abs=0.02)
    assert tried.sample.q[slot(tried, ELBOW)] == pytest.approx(0.3, abs=0.02)


def test_swapped_motors_answer_on_each_others_slot() -> None:
    tried = held(robot(swapped=[[ELBOW, OTHER]]), {ELBOW: 0.3})
    assert angle(tried, OTHER) == pytest.approx(0.3, abs=0.02)
    assert angle(tried, ELBOW) == pytest.approx(0.0, abs=0.02)
    assert tried.sample.q[slot(tried, ELBOW)] == pytest.approx(0.3, abs=0.02)


def test_a_torque_scale_is_hidden_from_the_drive() -> None:
    true = held(robot(joints={ELBOW: {"torque_scale": 2.0, "coulomb_n_m": 0.0}}), {})
    thought = true.sample.tau[slot(true, ELBOW)]
    plain = held(robot(joints={ELBOW: {"coulomb_n_m": 0.0}}), {})
    assert thought == pytest.approx(plain.sample.tau[slot(plain, ELBOW)] / 2, rel=0.02)


def test_friction_and_inertia_are_the_plants() -> None:
    tried = robot(joints={KNEE: {"coulomb_n_m": 1.5, "viscous_n_m_s_rad": 0.7, "armature_kg_m2": 0.05}})
    dof = tried.model.joint(KNEE).dofadr[0]
    assert tried.model.dof_frictionloss[dof] == 1.5
    assert tried.model.dof_damping[dof] == 0.7
    assert tried.model.dof_armature[dof] == 0.05


def test_stribeck_friction_holds_more_at_rest_than_in_motion() -> None:
    tried = robot(joints={ELBOW: {"coulomb_n_m": 1.0, "stribeck_n_m": 2.0, "stribeck_rad_s": 0.1}})
    dof = tried.model.joint(ELBOW).dofadr[0]
    held(tried, {}, 100)
    assert tried.model.dof_frictionloss[dof] == pytest.approx(3.0, abs=0.1)
    tried.data.qvel[dof] = 1.0
    tried.step()
    assert tried.model.dof_frictionloss[dof] < 1.5


def test_a_hard_stop_ends_the_way() -> None:
    tried = held(robot(joints={KNEE: {"upper_rad": 0.5}}), {KNEE: 0.8})
    assert angle(tried, KNEE) == pytest.approx(0.5, abs=0.03)


def test_backlash_lets_the_encoder_lean_to_the_side_of_the_torque() -> None:
    tried = robot(joints={ELBOW: {"backlash_rad": 0.02}})
    command = MotorCommand(tried.motors)
    command.enabled, command.block[:, KD] = True, 5
    gaps = []
    for torque in (5.0, -5.0):  # to its stops
        command.block[slot(tried, ELBOW), TAU] = torque
        for _ in range(STEPS):
            tried.command(command)
            tried.step()
        gaps.append(tried.sample.q[slot(tried, ELBOW)] - angle(tried, ELBOW))
    assert gaps == pytest.approx([0.01, -0.01], abs=1e-4)


@pytest.mark.parametrize("delay_s", [0.004, 0.0055])
def test_a_command_is_obeyed_after_its_delay(delay_s: float) -> None:
    tried = held(robot(delay={"command_s": delay_s}), {}, 400)
    command = MotorCommand(tried.motors)
    command.enabled, command.block[:, KP], command.block[:, KD] = True, 200, 5
    command.block[slot(tried, ELBOW), TAU] = 20
    tried.command(command)
    before = tried.time_s
    still = tried.data.joint(ELBOW).qvel[0]
    while abs(tried.data.joint(ELBOW).qvel[0] - still) < 0.05 and tried.time_s < before + 0.1:
        tried.step()
    assert delay_s < tried.time_s - before <= delay_s + 0.0041


def test_a_state_is_as_old_as_its_delay() -> None:
    tried = robot(delay={"state_s": 0.006})
    true = []
    for _ in range(50):
        tried.step()
        true.append(angle(tried, KNEE))
    assert tried.sample.q[slot(tried, KNEE)] == pytest.approx(true[-4], abs=1e-6)
    assert tried.sample.tick[0] == 100


def test_the_imu_is_askew_biased_scaled_and_noisy() -> None:
    half = np.radians(10) / 2
    tried = robot(imu={"mounting_wxyz": [float(np.cos(half)), 0, float(np.sin(half)), 0], "accel_scale": [1, 1, 1.1],
                       "gyro_bias_rad_s": [0.01, -0.02, 0.03], "accel_bias_m_s2": [0.1, 0, 0]})
    held(tried, {})
    tried.sense_accelerometer()
    turn = np.array([[np.cos(2 * half), 0, -np.sin(2 * half)], [0, 1, 0], [np.sin(2 * half), 0, np.cos(2 * half)]])
    assert tried.sample.gyro == pytest.approx(turn @ tried.data.qvel[3:6] + [0.01, -0.02, 0.03], abs=1e-6)
    w, x, y, z = tried.base_orientation
    down = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]) * 9.81
    assert tried.sample.accel == pytest.approx(turn @ down * [1, 1, 1.1] + [0.1, 0, 0], abs=0.1)
    measured = tried.sample.quat_wxyz
    assert 2 * np.arcsin(measured[2]) - 2 * np.arcsin(tried.base_orientation[2]) == pytest.approx(2 * half, abs=1e-3)


def test_motors_warm_up_by_their_torque() -> None:
    tried = held(robot(heat={"c_per_n2m2s": 1.0, "ambient_c": 20}), {KNEE: 0.5})
    assert tried.sample.temperature_c[slot(tried, KNEE)] > tried.sample.temperature_c[slot(tried, ELBOW)] >= 20


def test_noise_is_the_seeds(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"schema": "exoactor-truth/1", "seed": 5, "noise": {"q_rad": 1e-3, "tau_n_m": 0.1}}))
    first, second = (held(SimulatedRobot(hangs=True, truth=load_truth(path)), {}, 50) for _ in range(2))
    assert np.array_equal(first.sample.q, second.sample.q)
    assert np.std(first.sample.q - first.data.qpos[7:36]) == pytest.approx(1e-3, rel=0.5)


def test_physics_is_fine_where_rotors_or_odd_delays_are_to_be_seen() -> None:
    """At a control period a step, implicit damping makes an arm's rotor a third larger."""
    friction, rotor = ({KNEE: {key: 0.5}} for key in ("coulomb_n_m", "armature_kg_m2"))
    assert robot(joints=friction).model.opt.timestep == 0.002
    assert robot(joints=rotor).model.opt.timestep == SUBSTEP_S
    assert robot(delay={"command_s": 0.003}).model.opt.timestep == SUBSTEP_S
    fine = read_truth({"schema": "exoactor-truth/1", "joints": friction})
    assert SimulatedRobot(hangs=True, truth=fine, is_fine=True).model.opt.timestep == SUBSTEP_S
    assert Identify.needs_fine_physics


def test_fine_physics_damps_by_a_step_s_mean_speed() -> None:
    """A limp knee's rotor and links, braked by damping alone, slow down as fast at 0.25 ms as at a tenth of it."""

    def speed(timestep_s: float) -> float:
        swung = SimulatedRobot(hangs=True, timestep_s=timestep_s, is_fine=True,
                               truth=read_truth({"schema": "exoactor-truth/1", "joints": {}}))
        motor = swung.joint_names.index(KNEE)
        command = MotorCommand(swung.motors)
        command.enabled = True
        command.block[:, KP], command.block[:, KD] = 200.0, 5.0
        command.block[motor, KP], command.block[motor, KD] = 0.0, 20.0
        swung.data.joint(KNEE).qpos[0], swung.data.joint(KNEE).qvel[0] = 0.8, 3.0
        swung.command(command)
        for _ in range(round(0.01 / timestep_s)):
            swung.step()
        return float(swung.data.joint(KNEE).qvel[0])

    exact = speed(0.000025)
    assert speed(0.00025) == pytest.approx(exact, rel=0.01), "the integrator's own damping: 2.5 % off"


def test_a_perfect_robot_is_as_without_a_truth() -> None:
    perfect, plain = held(robot(), {KNEE: 0.4}), held(SimulatedRobot(hangs=True), {KNEE: 0.4})
    assert perfect.sample.q == pytest.approx(plain.sample.q, abs=1e-6)
    assert plain.sample.temperature_c[0] == HEALTHY_C


def test_a_hanging_robot_stays_where_it_hangs_and_is_turned_by_its_gantry() -> None:
    tried = held(SimulatedRobot(hangs=True), {})
    place = tried.data.body("torso_link").xpos.copy()
    tried.tilt(np.array([0.0, 0.5, 0.0]))
    held(tried, {})
    assert tried.data.body("torso_link").xpos == pytest.approx(place, abs=1e-3)
    assert tried.data.body("torso_link").xquat == pytest.approx([np.cos(0.25), 0, np.sin(0.25), 0], abs=2e-3)


@pytest.mark.parametrize("wrong", [
    {"schema": "other"}, {"joint": {}}, {"joints": {KNEE: {"offset": 1}}}, {"joints": {KNEE: {"sign": 0.5}}},
    {"joints": {"no_joint": {}}}, {"swapped": [[KNEE]]}, {"swapped": [[KNEE, ELBOW], [KNEE, OTHER]]},
    {"imu": {"mounting_wxyz": [1, 1, 0, 0]}}, {"imu": {"gyro_bias_rad_s": [0, 0]}}, {"noise": {"q_rad": -1}},
    {"delay": {"command_s": True}}, {"seed": -1}, {"joints": {KNEE: {"encoder_offset_rad": float("nan")}}},
])
def test_a_wrong_truth_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BridgeError, match="truth"):
        robot(**wrong)
