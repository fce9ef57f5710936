"""Things around a simulated robot: read from data, where they should be, felt by the robot, refused if malformed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from firmware_bridge.errors import BridgeError
from firmware_bridge.scene import Scene, Thing, load_scene, read_scene
from firmware_bridge.simulated_robot import SimulatedRobot

SCENE = Scene((Thing("table", "box", (0.4, 0.6, 0.04), (1.0, 0.0, 0.5)),
               Thing("pelvis", "cylinder", (0.07, 0.2), (1.0, 0.1, 0.62), 0.5, 0.4)))


def test_a_scene_comes_back_from_its_file(tmp_path):
    (tmp_path / "scene.json").write_text(SCENE.as_json(), encoding="utf-8")
    assert load_scene(tmp_path / "scene.json") == SCENE


def test_things_stand_where_they_should_and_free_ones_rest_on_fixed_ones():
    robot = SimulatedRobot(scene=SCENE)
    assert np.allclose(robot.object_poses()["pelvis"][:3], [1.0, 0.1, 0.62])
    robot.step(400)
    poses = robot.object_poses()
    assert np.allclose(poses["table"][:3], [1.0, 0.0, 0.5])
    assert np.allclose(poses["pelvis"][:3], [1.0, 0.1, 0.62], atol=3e-3)
    assert robot.object_force("pelvis") == 0


def test_the_robot_is_the_same_with_things_around_it():
    alone, furnished = SimulatedRobot(), SimulatedRobot(scene=SCENE)
    assert furnished.joint_names == alone.joint_names
    assert np.allclose(furnished.base_position, alone.base_position)
    assert np.allclose(furnished.step(50).q, alone.step(50).q, atol=1e-6)  # one solver for all: not to the last bit


def test_a_thing_in_the_robots_way_is_felt():
    robot = SimulatedRobot(scene=Scene((Thing("wall", "box", (0.1, 2.0, 2.0), (0.1, 0.0, 1.0)),)))
    robot.step()
    assert robot.object_force("wall") > 1


@pytest.mark.parametrize("change", [
    {"shape": "cone"}, {"size_m": [0.1]}, {"size_m": [0.1, 0.1, float("nan")]}, {"mass_kg": -1}, {"colour": "red"},
    {"position_m": None}, {"name": 3},
])
def test_malformed_things_are_refused(change):
    row = json.loads(SCENE.as_json())["objects"][0] | change
    with pytest.raises(BridgeError):
        read_scene({"schema": "exoactor-scene/1", "objects": [row]})


def test_two_things_of_one_name_are_refused():
    data = json.loads(SCENE.as_json())
    data["objects"][1]["name"] = "table"
    with pytest.raises(BridgeError):
        read_scene(data)
