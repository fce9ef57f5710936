"""Other people's plants: joints found by name, whatever order, type and number their actuators have."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import KD, KP, MotorCommand, Q
from firmware_bridge.motor_table import MotorTable, read_motor_table
from firmware_bridge.plant import CLEARANCE_M, hanging_height, load_plant
from firmware_bridge.simulated_robot import PLANTS, Disturbance, Push, SimulatedRobot
from runtime.bodies import Chain
from runtime.robot import ROBOTS, load_robot
from tests.small_biped import ARM_JOINTS, LEG_JOINTS, write_biped

BIPED = read_motor_table(ROBOTS / "berkeley_humanoid_lite_biped.json")
HUMANOID = read_motor_table(ROBOTS / "berkeley_humanoid_lite.json")
BEND = {"hip_pitch": -0.2, "knee_pitch": 0.4, "ankle_pitch": -0.2}


def standing(robot: SimulatedRobot) -> MotorCommand:
    command = MotorCommand(robot.motors)
    command.block[:, KP], command.block[:, KD] = 20, 2
    for slot, name in enumerate(robot.joint_names):
        command.block[slot, Q] = next((angle for part, angle in BEND.items() if part in name), 0.0)
    return command


@pytest.mark.parametrize("arms", [False, True])
@pytest.mark.parametrize("actuators", ["shuffled", "none"])
def test_motors_are_the_robots_whatever_the_plant_drives(tmp_path: Path, arms: bool, actuators: str) -> None:
    table = HUMANOID if arms else BIPED
    robot = SimulatedRobot(write_biped(tmp_path / "b.xml", arms=arms, actuators=actuators), table=table)
    assert robot.joint_names == table.joints == (ARM_JOINTS if arms else ()) + LEG_JOINTS
    assert robot.motors == len(robot.sample.q) == (22 if arms else 12)
    command = standing(robot)
    for _ in range(2000):
        robot.command(command)
        robot.step()
    np.testing.assert_allclose(robot.sample.q, command.block[:, Q], atol=0.05)
    assert robot.sample.quat_wxyz[0] > 0.999
    assert abs(robot.base_position[2]) < 0.03, "it stands on its own feet"


def test_a_torque_goes_to_the_joint_of_that_name(tmp_path: Path) -> None:
    robot = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=BIPED)
    command = MotorCommand(12)
    slot = BIPED.joints.index("leg_right_knee_pitch_joint")
    command.block[slot, KP], command.block[slot, Q] = 20, 1.0
    robot.command(command)
    for _ in range(50):
        sample = robot.step()
    assert np.argmax(np.abs(sample.q)) == slot
    assert sample.q[slot] > 0.3


def test_the_smaller_of_plant_and_table_limits_the_torque(tmp_path: Path) -> None:
    path = write_biped(tmp_path / "b.xml")  # 20 N m with a gear of 2
    for effort, expected in ((6.0, 6.0), (100.0, 40.0)):
        plant = load_plant(path, replace(BIPED, effort_n_m=(effort,) * 12))
        joint = plant.model.actuator_trnid[plant.actuator, 0]
        np.testing.assert_array_equal(plant.model.jnt_actfrcrange[joint], [[-expected, expected]] * 12)


def test_a_plant_without_limits_takes_the_tables_and_is_refused_without(tmp_path: Path) -> None:
    path = write_biped(tmp_path / "b.xml", limits=False)
    plant = load_plant(path, BIPED)
    assert plant.model.jnt_actfrcrange[plant.model.actuator_trnid[0, 0], 1] == 6
    with pytest.raises(BridgeError, match="torque limit"):
        load_plant(path)


def test_joints_that_the_plant_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="arm_left_shoulder_pitch_joint") as refused:
        load_plant(write_biped(tmp_path / "b.xml"), HUMANOID)
    assert "leg_left_knee_pitch_joint" in str(refused.value), "what it has instead"


def test_joints_that_only_the_plant_drives_are_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="arm_left_elbow_roll_joint"):
        load_plant(write_biped(tmp_path / "b.xml", arms=True), BIPED)


@pytest.mark.parametrize(("change", "found"), [
    ((r'<freejoint name="root"/>', ""), "floating base"),
    ((r'<motor name="m0" joint="(\w+)"', r'<motor name="m0b" joint="\1" gear="1"/><motor name="m0" joint="\1"'),
     "one actuator a joint"),
    ((r"</mujoco>", ""), "compiles"),
])
def test_a_plant_that_cannot_be_one_is_refused(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    path = write_biped(tmp_path / "b.xml")
    path.write_text(re.sub(*change, path.read_text("utf-8"), count=1), encoding="utf-8")
    with pytest.raises(BridgeError, match=found):
        load_plant(path, BIPED)


def test_tendons_are_no_motors(tmp_path: Path) -> None:
    path = write_biped(tmp_path / "b.xml", actuators="none")
    tendon = ('<tendon><fixed name="t"><joint joint="leg_left_knee_pitch_joint" coef="1"/></fixed></tendon>'
              '<actuator><motor name="pull" tendon="t"/></actuator></mujoco>')
    path.write_text(path.read_text("utf-8").replace("</mujoco>", tendon), encoding="utf-8")
    with pytest.raises(BridgeError, match="pull"):
        load_plant(path, BIPED)


def test_a_hanging_robot_just_clears_the_floor(tmp_path: Path) -> None:
    robot = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=BIPED)
    assert robot.base_position[2] == pytest.approx(CLEARANCE_M)  # the soles are at the base's own height
    held = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=replace(BIPED, stand_height_m=0.3))
    assert held.base_position[2] == 0.3
    for _ in range(100):
        held.step()
    assert held.base_position[2] == 0.3
    assert SimulatedRobot().base_position[2] == 0.793  # our own plant's keyframe `start`


@pytest.mark.parametrize(("geom", "lowest"), [
    ('<geom type="sphere" size="0.1" pos="0 0 0.3"/>', 0.2),
    ('<geom type="capsule" size="0.1 0.2" pos="0 0 0.5"/>', 0.2),
    ('<geom type="capsule" size="0.1 0.2" pos="0 0 0.5" euler="90 0 0"/>', 0.4),
    ('<geom type="cylinder" size="0.1 0.2" pos="0 0 0.5"/>', 0.3),
    ('<geom type="cylinder" size="0.1 0.2" pos="0 0 0.5" euler="90 0 0"/>', 0.4),
    ('<geom type="box" size="0.1 0.2 0.3" pos="0 0 0.5"/>', 0.2),
    ('<geom type="box" size="0.1 0.2 0.3" pos="0 0 0.5" euler="90 0 0"/>', 0.3),
    ('<geom type="ellipsoid" size="0.1 0.2 0.3" pos="0 0 0.5"/>', 0.2),
    ('<geom type="mesh" mesh="wedge" pos="0 0 0.5"/>', 0.4),
    ('<geom type="mesh" mesh="wedge" pos="0 0 0.5" euler="180 0 0"/>', 0.3),
])
def test_the_lowest_point_is_that_of_each_shape(geom: str, lowest: float) -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><asset><mesh name="wedge" vertex="0 0 -0.1  1 0 0.2  0 1 0.2  -1 -1 0.2"/></asset><worldbody>'
        f'<geom type="plane" size="1 1 1"/><body><freejoint/>{geom}</body></worldbody></mujoco>'
    )
    assert hanging_height(model) == pytest.approx(CLEARANCE_M - lowest)


def test_finer_physics_keep_the_control_period(tmp_path: Path) -> None:
    coarse = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=replace(BIPED, substeps=1))
    fine = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=replace(BIPED, substeps=4))
    for robot in (coarse, fine):
        for _ in range(10):
            robot.step()
        assert robot.time_s == pytest.approx(0.02)
    assert fine.model.opt.timestep == pytest.approx(0.0005)


def test_a_push_finds_a_robot_without_a_torso_link(tmp_path: Path) -> None:
    push = Disturbance(pushes=(Push(0, 1, (5, 0, 0)),))
    robot = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=BIPED, disturbance=push, gantry=False)
    robot.step()
    pushed = robot.data.xfrc_applied[:, 0]
    assert pushed[robot.model.body("base").id] == 5
    assert np.count_nonzero(pushed) == 1


def test_slots_without_a_joint_stay_at_zero(tmp_path: Path) -> None:
    table = MotorTable("gapped", ("", *LEG_JOINTS[:6], "", *LEG_JOINTS[6:]), (0.0, *[6.0] * 6, 0.0, *[6.0] * 6))
    robot = SimulatedRobot(write_biped(tmp_path / "b.xml"), table=table)
    command = MotorCommand(14)
    command.block[:, KP], command.block[:, Q] = 20, 0.3
    robot.command(command)
    for _ in range(20):
        sample = robot.step()
    assert not sample.q[[0, 7]].any() and sample.q[1:7].any()


@pytest.mark.parametrize("name", ["g1_29dof", "g1_12dof", "berkeley_humanoid_lite", "booster_t1"])
def test_the_bridge_reads_the_same_motors_as_the_runtime(name: str) -> None:
    robot, table = load_robot(name), read_motor_table(ROBOTS / f"{name}.json")
    for joint in robot.joints:
        assert (table.joints[joint.motor], table.effort_n_m[joint.motor]) == (joint.name, joint.effort_n_m)
    assert len(table.joints) == robot.motors


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"joint_columns": ["name"], "joints": [["a"]]}'])
def test_a_robot_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BridgeError, match=r"r\.json"):
        read_motor_table(path)


def test_the_torso_of_the_robots_file_is_the_plants() -> None:
    """100 random poses: the chain through the waist against MuJoCo's own kinematics, 1e-9."""
    model = mujoco.MjModel.from_xml_path(str(PLANTS / "g1_29dof.xml"))
    data, robot = mujoco.MjData(model), load_robot("g1_29dof")
    chain = Chain(robot.bodies, "torso_link", robot.order.names)
    generator = np.random.default_rng(3)
    for _ in range(100):
        data.qpos[:] = np.concatenate([[0, 0, 1, 1, 0, 0, 0], generator.uniform(-0.5, 0.5, 29)])
        mujoco.mj_kinematics(model, data)
        found, expected = np.array(chain.orientation(data.qpos[7:])), data.body("torso_link").xquat
        np.testing.assert_allclose(found * np.sign(found @ expected), expected, atol=1e-9)
