"""Estimators in a run: terms, manifests, learned networks, reports; and the simulator's sensors they rest on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.calibration_file import SCHEMA, TIME, with_version, write_data
from runtime.classical_estimator import FORCE_N, TOUCH_N, ClassicalEstimator
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.estimator import estimator_names, open_estimator
from runtime.estimator_manifest import OUTPUTS, read_estimator
from runtime.estimator_report import estimator_errors
from runtime.faults import Mode
from runtime.learned_estimator import LearnedEstimator, check_estimates, record_estimates
from runtime.manifest import CONTROLLERS
from runtime.manifest_reader import load_manifest
from runtime.records import TRUTH_DTYPE, policy_log_dtype
from runtime.settings import RunSettings
from tests import tiny_onnx
from tests.planted import ROBOT, planted
from tests.stub_model import StubModel

ESTIMATED = [{"term": "base_lin_vel"}, {"term": "base_height"}, {"term": "contact"}]


def controller_file(folder: Path, **changes: Any) -> Path:
    data = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
    data.update(inputs=[{"blocks": [{"terms": ESTIMATED}]}], **changes)
    data.pop("phase", None)
    data.pop("model", None)
    path = folder / "c.json"
    path.write_text(json.dumps(data), "utf-8")
    return path


def estimator_data(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "exoactor-estimator/1", "name": "e", "robot": "g1_29dof", "rate_hz": 50,
        "joints": [f"{side}_knee_joint" for side in ("left", "right")], "model": {"file": "e.onnx", "sha256": "0" * 64},
        "inputs": [{"blocks": [{"terms": [{"term": "joint_torque"}, {"term": "leg_odometry"}, {"term": "filtered"}],
                                "history": {"length": 2, "fill": "repeat"}}]}],
        **changes,
    }


def estimator_of(compute: Callable[[StubModel], None] | None = None, **changes: Any) -> LearnedEstimator:
    manifest = read_estimator(Path("e") / "estimator.json", json.dumps(estimator_data(**changes)).encode())
    return LearnedEstimator(manifest, StubModel({"x": 36}, dict(OUTPUTS), compute))  # type: ignore[arg-type]


@pytest.mark.parametrize("term", [entry["term"] for entry in ESTIMATED])
def test_a_term_without_an_estimator_is_refused_with_the_choices(tmp_path: Path, term: str) -> None:
    path = controller_file(tmp_path)
    data = json.loads(path.read_text("utf-8"))
    data["inputs"][0]["blocks"][0]["terms"] = [{"term": term}]
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(Refused, match=f"{term}.*classical.*bundle"):
        Controller(load_manifest(str(path)), StubModel({"x": 6}, {"a": 29}))  # type: ignore[arg-type]


def test_an_estimator_s_own_terms_are_not_for_controllers(tmp_path: Path) -> None:
    path = controller_file(tmp_path, estimator="classical")
    data = json.loads(path.read_text("utf-8"))
    data["inputs"][0]["blocks"][0]["terms"] = [{"term": "leg_odometry"}]
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(Refused, match="leg_odometry"):
        Controller(load_manifest(str(path)), StubModel({"x": 10}, {"a": 29}))  # type: ignore[arg-type]


def settings(tmp_path: Path, controller: Path | str, model: Path, **changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": str(controller), "robot": "g1_29dof", "model": str(model), "clip": None,
        "command": (0.0, 0.0, 0.0), "duration_s": 1.0, "target": "sim", "domain": 0, "interface": None, "peers": (),
        "out": str(tmp_path), **changes,
    })


def small_network(path: Path, inputs: int) -> Path:
    weights = np.zeros((inputs, 29))
    return tiny_onnx.write(path, [tiny_onnx.node("MatMul", ["x", "W"], ["a"])], [("x", tiny_onnx.FLOAT, (1, inputs))],
                           [("a", tiny_onnx.FLOAT, (1, 29))], {"W": weights})


@pytest.mark.parametrize("by", ["manifest", "command line"])
def test_terms_read_the_estimator_of_the_run(tmp_path: Path, by: str) -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    from runtime.policy import Policy

    path = controller_file(tmp_path, **({"estimator": "classical"} if by == "manifest" else {}))
    policy = Policy(settings(tmp_path, path, small_network(tmp_path / "m.onnx", 6),
                             **({} if by == "manifest" else {"estimator": "classical"})))
    state = planted((0.5, -0.2, 0.0))
    for tick in range(60):
        state.sequence_view[0] += 1
        policy.tick(Mode.READY if tick < 5 else Mode.TRACK, state, tick * 20_000_000)
    policy.write_log(Mode.TRACK, 0, 0, 0)
    observed = policy.controller.observations[0][0].values
    np.testing.assert_allclose(observed[:3], (0.5, -0.2, 0.0), atol=0.02)
    np.testing.assert_array_equal(observed, policy.log["estimate"][0])
    assert (observed[4:] > 0.9).all()


def test_the_estimator_of_a_run_knows_the_feet_of_its_calibration(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    from runtime.policy import Policy

    version = {"created_utc": datetime.now(timezone.utc).strftime(TIME), "valid_days": 9, "joints": {},
               "feet": {"left": {"air_force_n": -32.0, "force_scale": 1.25}}}
    empty = {"schema": SCHEMA, "robot": "g1_29dof", "serial": "7", "versions": []}
    write_data(tmp_path / "cal.json", with_version(empty, version))
    policy = Policy(settings(tmp_path, controller_file(tmp_path), small_network(tmp_path / "m.onnx", 6),
                             estimator="classical", calibration=str(tmp_path / "cal.json")))
    assert isinstance(policy.estimator, ClassicalEstimator)
    assert policy.estimator._touch == [(-32 + 1.25 * TOUCH_N, 1.25 * FORCE_N), (0.0, FORCE_N)]


def test_without_an_estimator_nothing_of_it_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    model = small_network(tmp_path / "m.onnx", 58)
    path = controller_file(tmp_path)
    data = json.loads(path.read_text("utf-8"))
    data["inputs"] = [{"blocks": [{"terms": [{"term": "joint_pos"}, {"term": "joint_vel"}]}]}]
    path.write_text(json.dumps(data), "utf-8")
    file = tmp_path / "settings.json"
    settings(tmp_path, path, model).save(file)
    code = (
        "import sys; from pathlib import Path; from runtime.policy import Policy; from runtime.settings import "
        f"RunSettings; policy = Policy(RunSettings.load(Path({str(file)!r})));"
        "assert 'estimate' not in policy.log.dtype.names and policy.estimator is None;"
        "assert not [name for name in sys.modules if name.startswith('runtime.classical')], 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("change", "named"), [
    ({"schema": "exoactor-controller/1"}, "schema"),
    ({"inputs": [{"blocks": [{"terms": [{"term": "ref_joint_pos"}]}]}]}, "term"),
    ({"inputs": [{"blocks": [{"terms": [{"term": "last_action"}]}]}]}, "term"),
    ({"inputs": [{"blocks": [{"terms": [{"term": "base_lin_vel"}]}]}]}, "term"),
    ({"joints": ["tail"]}, "tail"),
    ({"outputs": {"yaw": "yaw"}}, "outputs"),
    ({"model": {"file": "e.onnx"}}, "sha256"),
    ({"rate_hz": 0}, "rate_hz"),
    ({"wings": 2}, "wings"),
])
def test_an_estimator_s_manifest_that_makes_no_sense_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        estimator_of(**change)


def test_a_network_of_other_outputs_is_refused() -> None:
    manifest = read_estimator(Path("e") / "estimator.json", json.dumps(estimator_data()).encode())
    for outputs in ({**OUTPUTS, "contact": 3}, {"base_lin_vel": 3, "base_height": 1}):
        with pytest.raises(Refused, match="contact"):
            LearnedEstimator(manifest, StubModel({"x": 36}, outputs))  # type: ignore[arg-type]


def echo(model: StubModel) -> None:
    """The newest frame's odometry velocity of the left foot, as if the network believed it."""
    x = model.inputs["x"][0]
    model.outputs["base_lin_vel"][:] = x[18 + 2 : 18 + 5]
    model.outputs["base_height"][:] = x[18 + 5]
    model.outputs["contact"][:] = x[:2]


def test_a_learned_estimator_sees_torque_odometry_and_filter() -> None:
    estimator = estimator_of(echo)
    state = planted((0.3, 0.1, 0.0))
    estimator.update(state)
    np.testing.assert_allclose(estimator.values[:3], (0.3, 0.1, 0.0), atol=0.01)
    knees = ROBOT.motor_index(estimator.manifest.order)
    np.testing.assert_allclose(estimator.values[4:], state.tau[knees], rtol=1e-6)


def test_what_is_not_finite_leaves_a_learned_estimate_as_it_was() -> None:
    harm = {"on": False}

    def compute(model: StubModel) -> None:
        echo(model)
        if harm["on"]:
            model.outputs["base_lin_vel"][0, 1] = np.nan

    estimator = estimator_of(compute)
    estimator.update(planted((0.3, 0.0, 0.0)))
    before, bad = estimator.values.copy(), planted()
    bad.q[3] = np.nan
    estimator.update(bad)
    np.testing.assert_array_equal(estimator.values, before)
    harm["on"] = True
    estimator.update(planted((0.9, 0.0, 0.0)))
    np.testing.assert_array_equal(estimator.values, before)


def test_golden_vectors_of_an_estimator_hold_or_are_refused() -> None:
    estimator = estimator_of(echo)
    states = np.array([planted((0.1 * k, 0.0, 0.0)).floats for k in range(5)], np.float32)
    golden = record_estimates(estimator, states)
    assert not estimator.values.any()
    assert check_estimates(estimator, golden, 1e-4) == 0
    assert check_estimates(estimator, {**golden, "estimate": golden["estimate"] + 0.5e-4}, 1e-4) > 0
    with pytest.raises(Refused, match=r"within 0\.0001 at tick"):
        check_estimates(estimator, {**golden, "estimate": golden["estimate"] + np.float32(1e-2)}, 1e-4)
    wrongs = ({"state": states}, {**golden, "state": states[:, :-1]}, {**golden, "estimate": np.full((5, 6), np.nan)})
    for wrong in wrongs:
        with pytest.raises(Refused, match="golden"):
            check_estimates(estimator, wrong, 1e-4)


def test_an_unknown_estimator_is_refused_with_the_names() -> None:
    with pytest.raises(Refused, match="classical"):
        open_estimator("clasical", ROBOT, 50.0)
    assert "classical" not in estimator_names()


def rows(count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A robot that turned by a quarter and moves along world y, that is its own x."""
    policy, truth = np.zeros(count, policy_log_dtype(29, 29, 4, 6)), np.zeros(2 * count, TRUTH_DTYPE)
    policy["now_ns"], truth["now_ns"] = np.arange(count) * 20_000_000, np.arange(2 * count) * 10_000_000
    policy["mode"] = Mode.TRACK
    truth["quat_wxyz"], truth["velocity"] = (np.sqrt(0.5), 0, 0, np.sqrt(0.5)), (0.0, 0.4, 0.0)
    truth["position"], truth["foot_force_n"] = (0.0, 0.0, 0.75), (200.0, 0.0)
    policy["estimate"] = (0.4, 0.0, 0.0, 0.75, 0.9, 0.1)
    return policy, truth


def test_a_report_tells_how_far_the_estimate_was_off() -> None:
    policy, truth = rows()
    assert estimator_errors(policy, truth) == {
        "velocity_rmse_m_s": 0.0, "height_rmse_m": 0.0, "contact_agreement": 1.0}
    policy["estimate"] += np.array([0.03, 0.04, 0, 0.01, 0, 0.8], np.float32)
    assert estimator_errors(policy, truth) == {
        "velocity_rmse_m_s": 0.05, "height_rmse_m": 0.01, "contact_agreement": 0.5}


def test_a_report_says_nothing_that_no_truth_tells() -> None:
    policy, truth = rows()
    truth["foot_force_n"] = -1
    assert estimator_errors(policy, truth)["contact_agreement"] is None  # type: ignore[index]
    nothing = {"velocity_rmse_m_s": None, "height_rmse_m": None, "contact_agreement": None}
    assert estimator_errors(policy, truth[:0]) == nothing
    policy["mode"] = Mode.DAMP
    assert estimator_errors(policy, truth) == nothing
    assert estimator_errors(np.zeros(3, policy_log_dtype(29, 29, 4)), truth) is None


def test_the_simulated_accelerometer_integrates_to_the_imu_s_velocity() -> None:
    mujoco = pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import Disturbance, Push, SimulatedRobot

    robot = SimulatedRobot(gantry=False, disturbance=Disturbance(pushes=(Push(0.0, 0.2, (200.0, 50.0, 0.0)),)))
    site = robot.model.site("imu_in_pelvis").id

    def imu_velocity() -> np.ndarray:
        mujoco.mj_forward(robot.model, robot.data)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(robot.model, robot.data, mujoco.mjtObj.mjOBJ_SITE, site, velocity, 0)
        return velocity[3:]

    start, gained = imu_velocity(), np.zeros(3)
    for _ in range(150):
        robot.step()
        robot.sense_accelerometer()
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, robot.data.qpos[3:7])
        gained += (turn.reshape(3, 3) @ robot.sample.accel + robot.model.opt.gravity) * 0.002
    moved = imu_velocity() - start
    assert np.linalg.norm(moved) > 0.5
    np.testing.assert_allclose(gained, moved, atol=0.03)


def test_the_ground_presses_the_feet_of_a_standing_robot_and_not_of_a_hanging_one() -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.motor_bus import KD, KP, MotorCommand, Q
    from firmware_bridge.simulated_robot import SimulatedRobot

    feet = [foot.joints[-1] for foot in ROBOT.feet]
    hanging = SimulatedRobot()
    hanging.place(planted().q.astype(np.float64))  # knees bent: the feet leave the floor
    hanging.step()
    np.testing.assert_array_equal(hanging.ground_forces(feet), (0.0, 0.0))
    standing, command = SimulatedRobot(gantry=False), MotorCommand(29)
    command.block[:, KP], command.block[:, KD], command.block[:, Q] = 200.0, 5.0, standing.sample.q
    pressed = []
    for _ in range(200):
        standing.command(command)
        standing.step()
        pressed.append(standing.ground_forces(feet))
    weight = 9.81 * standing.model.body_subtreemass[1]
    assert np.mean(pressed, axis=0).sum() == pytest.approx(weight, rel=0.2)
    assert np.mean(pressed, axis=0).min() > 0.25 * weight
