"""Chains of a robot's file: where a body points, and what a file may not say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.bodies import Chain, base_of, read_bodies
from runtime.errors import Refused
from runtime.robot import ROBOTS, load_robot

G1 = load_robot("g1_29dof")


def with_bodies(folder: Path, **changes: Any) -> str:
    data = json.loads((ROBOTS / "g1_29dof.json").read_text("utf-8"))
    data.update(changes)
    path = folder / "robot.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def test_the_base_is_the_body_without_joints() -> None:
    assert base_of(G1.bodies) == "pelvis"
    assert base_of({}) is None
    assert Chain(G1.bodies, "pelvis", ()).orientation([]) == (1, 0, 0, 0)


@pytest.mark.parametrize(("joint", "axis"), [("waist_yaw_joint", 2), ("waist_roll_joint", 0), ("waist_pitch_joint", 1)])
def test_each_waist_joint_turns_the_torso_about_its_axis(joint: str, axis: int) -> None:
    q = np.zeros(29)
    q[G1.order.names.index(joint)] = 0.4
    expected = [math.cos(0.2), 0, 0, 0]
    expected[1 + axis] = math.sin(0.2)
    np.testing.assert_allclose(Chain(G1.bodies, "torso_link", G1.order.names).orientation(q), expected, atol=1e-12)


def test_joint_positions_are_found_by_name() -> None:
    names = G1.order.names
    q = np.random.default_rng(0).uniform(-0.4, 0.4, 29)
    straight = Chain(G1.bodies, "torso_link", names).orientation(q)
    assert Chain(G1.bodies, "torso_link", names[::-1]).orientation(q[::-1]) == straight


def test_a_fixed_turn_stands_before_the_joint() -> None:
    quarter = [math.sqrt(0.5), 0, 0, math.sqrt(0.5)]
    bodies = read_bodies({"base": [], "arm": [["hinge", quarter, [1, 0, 0]]]})
    found = Chain(bodies, "arm", ("hinge",)).orientation([math.pi / 2])
    np.testing.assert_allclose(found, [0.5, 0.5, 0.5, 0.5], atol=1e-12)


def test_a_body_nobody_knows_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="pelvis, torso_link"):
        Chain(G1.bodies, "head_link", G1.order.names)


def test_a_controller_that_lacks_a_joint_on_the_way_is_refused() -> None:
    with pytest.raises(Refused, match="waist_yaw_joint, waist_roll_joint, waist_pitch_joint"):
        Chain(G1.bodies, "torso_link", G1.order.names[:12])


@pytest.mark.parametrize(("changes", "found"), [
    ({"bodies": []}, "bodies"),
    ({"bodies": {"torso_link": "up"}}, "bodies.torso_link"),
    ({"bodies": {"torso_link": [["waist_yaw_joint"]]}}, "[joint, axis]"),
    ({"bodies": {"torso_link": [["waist_yaw_joint", [0, 0, 2]]]}}, "unit vector of 3"),
    ({"bodies": {"torso_link": [["waist_yaw_joint", [1, 0, 0], [0, 0, 1]]]}}, "unit vector of 4"),
    ({"bodies": {"torso_link": [["tail_joint", [0, 0, 1]]]}}, "tail_joint"),
    ({"simulation": {"stand_height": 1}}, "stand_height_m"),
    ({"simulation": {"substeps": 1.5}}, "whole number"),
    ({"simulation": {"substeps": 0}}, "substeps"),
    ({"simulation": {"fall_height_m": "low"}}, "fall_height_m"),
    ({"mode_machine": []}, "mode_machine"),
    ({"estop_buttons": []}, "estop_buttons"),
])
def test_an_impossible_description_is_refused(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    with pytest.raises(Refused) as refused:
        load_robot(with_bodies(tmp_path, **changes))
    assert found in str(refused.value)


def test_a_robot_without_a_wire_needs_no_variant_and_no_remote(tmp_path: Path) -> None:
    data = json.loads((ROBOTS / "g1_29dof.json").read_text("utf-8"))
    del data["mode_machine"], data["estop_buttons"]
    path = tmp_path / "robot.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(Refused, match="missing"):
        load_robot(str(path))
    data["wire"] = "none"
    path.write_text(json.dumps(data), encoding="utf-8")
    assert load_robot(str(path)).mode_machine == ()
