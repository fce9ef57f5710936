"""The robot as a table: orders are objects, permutations come from names, and the figures are those of the plant."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bodies import base_of
from runtime.errors import Refused
from runtime.robot import ROBOTS, Joint, JointOrder, Limits, load_robot, robot_names

PLANT = Path(__file__).parents[1] / "firmware_bridge" / "plants" / "g1_29dof.xml"
G1 = load_robot("g1_29dof")
NAMES = G1.order.names


def plant_joints() -> dict[str, dict[str, str]]:
    """Attributes of every hinge of the plant by name, its class's defaults included; plain XML, no MuJoCo."""
    root = ET.parse(PLANT).getroot()
    defaults: dict[str, dict[str, str]] = {}

    def walk(node: ET.Element, inherited: dict[str, str]) -> None:
        own = dict(inherited)
        joint = node.find("joint")
        own.update(joint.attrib if joint is not None else {})
        defaults[node.get("class", "")] = own
        for child in node.findall("default"):
            walk(child, own)

    for node in root.findall("default"):
        walk(node, {})
    found = {}

    def bodies(node: ET.Element, childclass: str) -> None:
        childclass = node.get("childclass", childclass)
        for joint in node.findall("joint"):
            found[joint.attrib["name"]] = {**defaults.get(joint.get("class", childclass), {}), **joint.attrib}
        for body in node.findall("body"):
            bodies(body, childclass)

    world = root.find("worldbody")
    assert world is not None
    bodies(world, "")
    return found


@given(st.permutations(NAMES), st.permutations(NAMES))
def test_a_permutation_there_and_back_changes_nothing(one: list[str], other: list[str]) -> None:
    a, b = JointOrder(tuple(one)), JointOrder(tuple(other))
    x = np.arange(len(a), dtype=np.float32)
    in_b = x[a.index_of(b)]
    assert [one[int(i)] for i in in_b] == other
    np.testing.assert_array_equal(in_b[b.index_of(a)], x)


@given(st.permutations(NAMES), st.integers(1, 29))
def test_motor_index_puts_every_joint_into_its_own_slot(names: list[str], count: int) -> None:
    order = JointOrder(tuple(names[:count]))
    motor = np.zeros(G1.motors)
    motor[G1.motor_index(order)] = np.arange(1, count + 1)
    for place, name in enumerate(order.names, start=1):
        joint = next(joint for joint in G1.joints if joint.name == name)
        assert motor[joint.motor] == place
    assert np.count_nonzero(motor) == count


def test_an_order_refuses_unknown_joints_and_lists_the_known_ones() -> None:
    with pytest.raises(Refused, match="unknown left_tail_joint") as refusal:
        G1.order.index_of(JointOrder(("left_knee_joint", "left_tail_joint")))
    assert "left_ankle_roll_joint" in refusal.value.expected


def test_an_order_refuses_a_joint_named_twice() -> None:
    with pytest.raises(Refused, match="b twice"):
        JointOrder(("a", "b", "b"))


def test_shipped_robots() -> None:
    assert robot_names() == [
        "berkeley_humanoid_lite", "berkeley_humanoid_lite_biped", "booster_t1", "g1_12dof", "g1_23dof", "g1_29dof",
    ]


@pytest.mark.parametrize(("name", "joints"), [
    ("berkeley_humanoid_lite", 22), ("berkeley_humanoid_lite_biped", 12), ("booster_t1", 29), ("g1_12dof", 12),
])
def test_robots_for_simulation_only(name: str, joints: int) -> None:
    robot = load_robot(name)
    assert (robot.wire, robot.motors, len(robot.joints)) == ("none", joints, joints)
    assert base_of(robot.bodies) is not None
    for joint in robot.joints:
        assert 0 < joint.kp <= robot.kp_max
        assert 0 < joint.damping_kd <= robot.kd_max
        mirror = joint.name.replace("left", "right").replace("Left", "Right")
        other = next(other for other in robot.joints if other.name == mirror)
        assert {abs(joint.lower_rad), abs(joint.upper_rad)} == {abs(other.lower_rad), abs(other.upper_rad)}, joint.name
        assert (joint.effort_n_m, joint.armature_kg_m2) == (other.effort_n_m, other.armature_kg_m2)


@pytest.mark.parametrize(("name", "joints", "motors", "modes"), [
    ("g1_29dof", 29, 29, {2, 3, 5, 6}),
    ("g1_23dof", 23, 27, {1, 4}),  # up to the right wrist roll's slot, 26
])
def test_variant_has_its_joints_and_motor_slots(name: str, joints: int, motors: int, modes: set[int]) -> None:
    robot = load_robot(name)
    assert (len(robot.joints), robot.motors, int(robot.used.sum())) == (joints, motors, joints)
    assert set(robot.mode_machine) == modes
    assert robot.column("effort_n_m").dtype == np.float32
    assert not robot.column("effort_n_m")[~robot.used].any(), "an absent joint must have no effort"


def test_the_23_joint_variant_keeps_the_rows_of_the_full_robot() -> None:
    full = {joint.name: joint for joint in G1.joints}
    small = load_robot("g1_23dof")
    assert all(full[joint.name] == joint for joint in small.joints)
    absent = {joint.name for joint in G1.joints} - {joint.name for joint in small.joints}
    assert absent == {"waist_roll_joint", "waist_pitch_joint"} | {
        f"{side}_wrist_{axis}_joint" for side in ("left", "right") for axis in ("pitch", "yaw")
    }


@pytest.mark.parametrize("joint", G1.joints, ids=lambda joint: joint.name)
def test_the_table_agrees_with_the_plant(joint: Joint) -> None:
    row = plant_joints()[joint.name]
    np.testing.assert_allclose([float(x) for x in row["range"].split()], [joint.lower_rad, joint.upper_rad], atol=1e-4)
    np.testing.assert_allclose([float(x) for x in row["actuatorfrcrange"].split()],
                               [-joint.effort_n_m, joint.effort_n_m])
    assert float(row["armature"]) == pytest.approx(joint.armature_kg_m2, rel=1e-6)


def test_the_plant_has_no_joint_that_the_table_lacks_and_lists_motors_in_slot_order() -> None:
    hinges = [name for name, row in plant_joints().items() if row.get("type", "hinge") != "free" and "range" in row]
    assert sorted(hinges) == sorted(NAMES)
    actuators = ET.parse(PLANT).getroot().find("actuator")
    assert actuators is not None
    assert [motor.get("joint") for motor in actuators] == [
        joint.name for joint in sorted(G1.joints, key=lambda joint: joint.motor)
    ]


def test_left_and_right_mirror_each_other() -> None:
    rows = {joint.name: joint for joint in G1.joints}
    for name, left in rows.items():
        if not name.startswith("left_"):
            continue
        right = rows[name.replace("left_", "right_")]
        if "roll" in name or "yaw" in name:
            assert (left.lower_rad, left.upper_rad) == (-right.upper_rad, -right.lower_rad), name
        else:
            assert (left.lower_rad, left.upper_rad) == (right.lower_rad, right.upper_rad), name
        for column in ("effort_n_m", "velocity_rad_s", "kp", "kd", "damping_kd", "armature_kg_m2"):
            assert getattr(left, column) == getattr(right, column), (name, column)


def test_default_and_damping_gains_stay_within_the_robots_limits() -> None:
    for joint in G1.joints:
        assert 0 < joint.kp <= G1.kp_max
        assert 0 < joint.kd <= G1.kd_max
        assert 0 < joint.damping_kd <= G1.kd_max


def write(folder: Path, **changes: Any) -> str:
    data = json.loads((ROBOTS / "g1_29dof.json").read_text("utf-8"))
    data.update(changes)
    path = folder / "robot.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def rows(**cells: Any) -> list[list[Any]]:
    """The table with the first joint's cells replaced."""
    table = [list(row) for row in json.loads((ROBOTS / "g1_29dof.json").read_text("utf-8"))["joints"]]
    columns = [field.name for field in fields(Joint)]
    for column, value in cells.items():
        table[0][columns.index(column)] = value
    return table


def test_a_robot_file_of_ones_own_loads(tmp_path: Path) -> None:
    robot = load_robot(write(tmp_path, limits={"tilt_rad": 0.5}, name="mine"))
    assert robot.name == "mine"
    assert robot.limits == Limits(tilt_rad=0.5)


@pytest.mark.parametrize(("changes", "found"), [
    ({"limits": {"tilt_degrees": 45}}, "tilt_degrees"),
    ({"joint_columns": ["name", "motor"]}, "joint_columns"),
    ({"joints": rows(lower_rad=3.0)}, "lower < upper"),
    ({"joints": rows(effort_n_m=0)}, "effort_n_m"),
    ({"joints": rows(velocity_rad_s=-1)}, "velocity_rad_s"),
    ({"joints": rows(motor=1)}, "a motor slot of its own"),
    ({"joints": rows(lower_rad="low")}, "lower_rad"),
    ({"joints": [["left_knee_joint", 0]]}, "rows of name"),
    ({"mode_machine": 5}, "mode_machine"),
    ({"gain_limits": {}}, "KeyError"),
    ({"limits": None}, "limits"),
    ({"limits": {"tilt_rad": -1}}, "limits.tilt_rad"),
    ({"limits": {"tilt_rad": "steep"}}, "limits.tilt_rad"),
    ({"joints": []}, "at least one"),
    ({"joints": [[]]}, "rows of name"),
    ({"joints": rows(motor=-1)}, "motor"),
    ({"joints": rows(motor=10**9)}, "motor"),
    ({"joints": rows(effort_n_m=float("nan"))}, "effort_n_m"),
    ({"joints": rows(damping_kd=-1)}, "damping_kd"),
    ({"joints": rows(kp=10**400)}, "kp"),
    ({"estop_buttons": []}, "estop_buttons"),
    ({"estop_buttons": [[]]}, "estop_buttons"),
    ({"estop_buttons": [["Z"]]}, "estop_buttons"),
    ({"mode_machine": ["5"]}, "mode_machine"),
    ({"schema": "exoactor-robot/0"}, "schema"),
    ({"colour": "white"}, "colour"),
])
def test_an_impossible_robot_file_is_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with pytest.raises(Refused) as refusal:
        load_robot(write(tmp_path, **changes))
    assert found in str(refusal.value)
    assert refusal.value.what_to_do


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', "{}"])
def test_a_file_that_is_no_robot_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "robot.json").write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=r"robot\.json"):
        load_robot(str(tmp_path / "robot.json"))


@pytest.mark.parametrize("name", ["g1", "h1", "", "missing.json", "../robots/g1"])
def test_an_unknown_robot_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(Refused, match=r"booster_t1, .*g1_23dof, g1_29dof"):
        load_robot(name)
