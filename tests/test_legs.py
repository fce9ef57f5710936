"""Leg kinematics from the robot's table against MuJoCo's of the plant."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.legs import Legs
from runtime.robot import ROBOTS, load_robot

SIDES = ("left", "right")


@pytest.fixture(scope="module")
def legs() -> Legs:
    return Legs(load_robot("g1_29dof"))


def random_state(legs: Legs, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    robot = load_robot("g1_29dof")
    low, high = (robot.column(name)[legs.motor_index].astype(np.float64) for name in ("lower_rad", "upper_rad"))
    return rng.uniform(low, high), rng.normal(size=len(low))


@pytest.fixture(scope="module")
def plant() -> Any:
    mujoco = pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import SimulatedRobot

    robot = SimulatedRobot()
    robot.data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    robot.data.qvel[:] = 0
    return mujoco, robot.model, robot.data


@pytest.mark.parametrize("seed", range(20))
def test_feet_are_where_mujoco_has_them(legs: Legs, plant: Any, seed: int) -> None:
    mujoco, model, data = plant
    q, dq = random_state(legs, seed)
    addresses = [model.joint(name).qposadr[0] for name in legs.joints.names]
    dofs = [model.joint(name).dofadr[0] for name in legs.joints.names]
    data.qpos[addresses], data.qvel[dofs] = q, dq
    mujoco.mj_forward(model, data)
    legs.update(q, dq)
    for i, side in enumerate(SIDES):
        body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, f"{side}_ankle_roll_link")
        jacobian = np.zeros((6, model.nv))
        mujoco.mj_jac(model, data, jacobian[:3], jacobian[3:], data.xpos[body], body)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        np.testing.assert_allclose(legs.position[i], data.xpos[body], atol=1e-9)
        np.testing.assert_allclose(legs.jacobian[i], jacobian[:, dofs[6 * i : 6 * i + 6]], atol=1e-9)
        np.testing.assert_allclose(legs.twist[i], np.roll(velocity, 3), atol=1e-9)


def test_sole_points_are_the_ends_of_the_plant_s_capsules(legs: Legs, plant: Any) -> None:
    _, model, data = plant
    q, dq = random_state(legs, 1)
    data.qpos[[model.joint(name).qposadr[0] for name in legs.joints.names]] = q
    plant[0].mj_forward(model, data)
    legs.update(q, dq)
    for i, side in enumerate(SIDES):
        ends = []
        for geom in (model.geom(f"{side}_sole_{k}") for k in range(1, 8)):
            axis = data.geom_xmat[geom.id].reshape(3, 3)[:, 2] * geom.size[1]
            ends += [data.geom_xpos[geom.id] + axis, data.geom_xpos[geom.id] - axis]
        for point in legs.sole[i]:
            assert min(np.linalg.norm(point - end) for end in ends) < 1.1e-3


def test_a_force_on_a_foot_is_found_from_the_torques_that_hold_it(legs: Legs) -> None:
    q, dq = np.tile([-0.3, 0.05, 0.1, 0.6, -0.3, 0.0], 2), np.zeros(12)
    legs.update(q, dq)
    wrench = np.array([[20.0, -10.0, 170.0, 2.0, -4.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    torque = np.concatenate([-legs.jacobian[i].T @ wrench[i] for i in range(2)])
    np.testing.assert_allclose(legs.ground_force(torque, 1e-9), wrench[:, :3], atol=0.01)


def test_a_stretched_leg_gives_a_bounded_force(legs: Legs) -> None:
    legs.update(np.zeros(12), np.zeros(12))
    assert np.abs(legs.ground_force(np.full(12, 30.0), 1e-4)).max() < 3000


def test_both_g1_variants_have_the_same_legs() -> None:
    a, b = (json.loads((ROBOTS / f"{name}.json").read_text()) for name in ("g1_29dof", "g1_23dof"))
    assert (a["feet"], a["imu_in_base_m"]) == (b["feet"], b["imu_in_base_m"])


def test_a_robot_without_feet_has_no_legs(tmp_path: Path) -> None:
    data = json.loads((ROBOTS / "g1_29dof.json").read_text())
    del data["feet"]
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match="feet"):
        Legs(load_robot(str(tmp_path / "r.json")))


HARM: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "unknown joint": (lambda feet: feet[0]["chain"][0].__setitem__(0, "tail"), "tail"),
    "axis not unit": (lambda feet: feet[0]["chain"][2].__setitem__(3, [0, 0, 2]), "axis"),
    "turn not unit": (lambda feet: feet[1]["chain"][2].__setitem__(2, [1, 1, 0, 0]), "turn_wxyz"),
    "short row": (lambda feet: feet[0]["chain"][2].pop(), "chain"),
    "short vector": (lambda feet: feet[0]["chain"][2].__setitem__(1, [0, 0]), "offset_m"),
    "unequal legs": (lambda feet: feet[0]["chain"].pop(), "feet"),
    "one foot twice": (lambda feet: feet[1].__setitem__("name", "left"), "names"),
    "no sole": (lambda feet: feet[0].__setitem__("sole_m", []), "sole_m"),
    "unknown key": (lambda feet: feet[0].__setitem__("toes", 5), "toes"),
    "a word": (lambda feet: feet[0]["sole_m"][0].__setitem__(0, "x"), "sole_m"),
}


@pytest.mark.parametrize("harm", HARM)
def test_feet_that_make_no_sense_are_refused(tmp_path: Path, harm: str) -> None:
    data = copy.deepcopy(json.loads((ROBOTS / "g1_29dof.json").read_text()))
    change, named = HARM[harm]
    change(data["feet"])
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match=named):
        load_robot(str(tmp_path / "r.json"))


@pytest.mark.parametrize("place", [[0, 0], [0, 0, "x"], 3, [0, 0, 11]])
def test_an_imu_place_that_makes_no_sense_is_refused(tmp_path: Path, place: Any) -> None:
    data = json.loads((ROBOTS / "g1_29dof.json").read_text())
    data["imu_in_base_m"] = place
    (tmp_path / "r.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match="imu_in_base_m"):
        load_robot(str(tmp_path / "r.json"))
