"""What published families are shown, against formulas written out here from their own sources, over random states."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("yaml", reason="missing dependency: yaml")

from export.manifest_command import make_draft
from runtime.controller import Controller
from runtime.faults import Mode
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.model_reference import ModelReference
from runtime.pilot import Pilot
from runtime.robot import load_robot
from runtime.state import RobotState
from tests.publisher_files import ISAAC_OF_MOTOR, berkeley_yaml, deploy_yaml
from tests.small_biped import ARM_JOINTS, LEG_JOINTS
from tests.stub_model import StubModel
from tests.tracker_networks import beyond_mimic, holosoma_tracker, make_motion

G1 = load_robot("g1_29dof")
MOTORS = [joint.name for joint in sorted(G1.joints, key=lambda joint: joint.motor)]
TOLERANCE = 1e-6
"""float32 rounding; the formulas below are in float64."""


def turn(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix about x, y or z."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out


def matrix(quat_wxyz: Any) -> np.ndarray:
    w, x, y, z = (float(part) for part in quat_wxyz)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def yaw_of(rotation: np.ndarray) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def random_state(generator: np.random.Generator, motors: int) -> RobotState:
    state = RobotState(motors)
    state.q[:], state.dq[:] = generator.uniform(-0.6, 0.6, motors), generator.normal(size=motors)
    axis = generator.normal(size=3) * 0.2
    quat = np.array([1, axis[0], axis[1], generator.uniform(-2, 2)])
    state.quat_wxyz[:] = quat / np.linalg.norm(quat)
    state.gyro[:], state.accel[:] = generator.normal(size=3), generator.normal(size=3)
    return state


def torso(state: RobotState) -> np.ndarray:
    """Pelvis, then waist yaw, roll, pitch: motors 12, 13, 14 of a G1."""
    waist = turn(2, state.q[12]) @ turn(0, state.q[13]) @ turn(1, state.q[14])
    return matrix(state.quat_wxyz) @ waist


def anchor_6d(robot: np.ndarray, reference: np.ndarray, robot_start: float, reference_start: float) -> np.ndarray:
    """First two columns, row-major, of R(torso)^T R(reference torso), both start yaws removed."""
    seen = (turn(2, -robot_start) @ robot).T @ (turn(2, -reference_start) @ reference)
    return seen[:, :2].reshape(-1)


class TrackerRun:
    """A tracker with a motion inside, tick by tick on given states."""

    def __init__(self, folder: Path, model: Path, **reference: Any) -> None:
        draft = make_draft(model, None, None, "tracker", None)
        draft.data["reference"].update(settle_s=0, **reference)
        (folder / "controller.json").write_text(draft.text(), encoding="utf-8")
        manifest = load_manifest(str(folder))
        assert manifest.embedded is not None
        self.names = list(manifest.order.names)
        self.pose = np.asarray(manifest.default_pose, np.float64)
        self.controller = Controller(manifest, Model(model))
        source = ModelReference(self.controller, manifest.embedded)
        self.pilot = Pilot(self.controller, source, source.play_s)

    def tick(self, state: RobotState) -> np.ndarray:
        self.pilot.tick(Mode.TRACK, state)
        return np.asarray(self.controller.model.inputs["obs"][0])


def test_holosoma_tracker(tmp_path: Path) -> None:
    """amazon-far/holosoma `policies/wbt.py`: terms in alphabetical order, scales 1, the reference one tick behind."""
    motion = make_motion(60, 29)
    run = TrackerRun(tmp_path, holosoma_tracker(tmp_path / "policy.onnx", motion, MOTORS))
    generator = np.random.default_rng(1)
    action, start = np.zeros(29), 0.0
    for tick in range(61):  # one more than rows: the lag
        state = random_state(generator, 29)
        row = max(tick - 1, 0)
        if tick == 0:
            start = yaw_of(torso(state))
        reference_start = yaw_of(matrix(motion.body_quat[0, 2]))
        expected = np.concatenate([
            action, state.gyro, state.q - run.pose, state.dq, motion.joint_pos[row], motion.joint_vel[row],
            anchor_6d(torso(state), matrix(motion.body_quat[row, 2]), start, reference_start),
        ])
        observed = run.tick(state)
        np.testing.assert_allclose(observed, expected, atol=TOLERANCE, rtol=TOLERANCE)
        action = np.clip(run.controller.action, -100, 100)
        np.testing.assert_allclose(run.controller.target[:, 0], action * 1.0 + run.pose, atol=1e-5)


def test_beyond_mimic(tmp_path: Path) -> None:
    """HybridRobotics/whole_body_tracking without state estimation, in Isaac Lab's joint order, no lag."""
    names = [MOTORS[motor] for motor in ISAAC_OF_MOTOR]
    pose = np.round(0.02 * np.arange(29) - 0.2, 3)
    motion = make_motion(80, 29)
    run = TrackerRun(tmp_path, beyond_mimic(tmp_path / "policy.onnx", motion, names, pose))
    assert run.names == names
    np.testing.assert_allclose(run.pose, pose, atol=1e-6)
    index = list(ISAAC_OF_MOTOR)
    generator = np.random.default_rng(2)
    action = np.zeros(29)
    start = 0.0
    for tick in range(80):
        state = random_state(generator, 29)
        if tick == 0:
            start = yaw_of(torso(state))
        reference_start = yaw_of(matrix(motion.body_quat[0, 2]))
        expected = np.concatenate([
            motion.joint_pos[tick], motion.joint_vel[tick],
            anchor_6d(torso(state), matrix(motion.body_quat[tick, 2]), start, reference_start),
            state.gyro, state.q[index] - pose, state.dq[index], action,
        ])
        np.testing.assert_allclose(run.tick(state), expected, atol=TOLERANCE, rtol=TOLERANCE)
        action = run.controller.action.astype(np.float64)
        np.testing.assert_allclose(run.controller.target[index, 0], 0.4 * action + pose, atol=1e-5)
    np.testing.assert_array_equal(run.controller.target[:, 3], np.float32(40))


def test_without_alignment_the_world_s_own_headings_count(tmp_path: Path) -> None:
    """The training formula: R(robot)^T R(reference) as they are."""
    motion = make_motion(10, 29)
    model = holosoma_tracker(tmp_path / "policy.onnx", motion, MOTORS)
    run = TrackerRun(tmp_path, model, align="none")
    state = random_state(np.random.default_rng(3), 29)
    expected = anchor_6d(torso(state), matrix(motion.body_quat[0, 2]), 0.0, 0.0)
    np.testing.assert_allclose(run.tick(state)[148:], expected, atol=TOLERANCE)


def test_the_pelvis_as_anchor_needs_no_waist(tmp_path: Path) -> None:
    motion = make_motion(10, 29)
    run = TrackerRun(tmp_path, holosoma_tracker(tmp_path / "policy.onnx", motion, MOTORS, anchor=0), body="pelvis")
    state = random_state(np.random.default_rng(4), 29)
    robot, reference = matrix(state.quat_wxyz), matrix(motion.body_quat[0, 0])
    expected = anchor_6d(robot, reference, yaw_of(robot), yaw_of(reference))
    np.testing.assert_allclose(run.tick(state)[148:], expected, atol=TOLERANCE)


class Recorded:
    """A controller on a stub network that answers with numbers that depend on the tick."""

    def __init__(self, manifest: Path, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        self.manifest = load_manifest(str(manifest))
        self.generator = np.random.default_rng(9)

        def compute(model: StubModel) -> None:
            for array in model.outputs.values():
                array[...] = self.generator.normal(size=array.shape)

        self.model = StubModel(inputs, outputs, compute)
        self.controller = Controller(self.manifest, self.model)  # type: ignore[arg-type]


@pytest.mark.parametrize("gym_history", [False, True])
def test_unitree_rl_lab_velocity(tmp_path: Path, gym_history: bool) -> None:
    """unitreerobotics/unitree_rl_lab: five ticks of each term, oldest first, the first value repeated; or frames."""
    source = tmp_path / "deploy.yaml"
    source.write_text(deploy_yaml(switches="  use_gym_history: true\n" if gym_history else ""), encoding="utf-8")
    path = tmp_path / "controller.json"
    path.write_text(make_draft(source, None, None, "velocity", None).text(), encoding="utf-8")
    run = Recorded(path, {"obs": 480}, {"actions": 29})
    index, pose = list(ISAAC_OF_MOTOR), 0.01 * np.arange(29)
    kp = dict(zip(run.manifest.order.names, run.manifest.kp, strict=True))
    assert kp["left_knee_joint"] == 103  # motor 3
    generator = np.random.default_rng(5)
    action = np.zeros(29)
    frames: deque[list[np.ndarray]] = deque(maxlen=5)
    for _ in range(100):
        state, command = random_state(generator, 29), generator.uniform(-0.2, 0.2, 3)
        run.controller.inputs.command[:] = command
        gravity = matrix(state.quat_wxyz).T @ (0, 0, -1)
        frame = [0.2 * state.gyro, gravity, command, state.q[index] - pose, 0.05 * state.dq[index], action]
        frames.extend([frame] * (1 if frames else 5))
        if gym_history:
            expected = np.concatenate([part for kept in frames for part in kept])
        else:
            expected = np.concatenate([kept[k] for k in range(6) for kept in frames])
        run.controller.tick(state)
        np.testing.assert_allclose(run.model.inputs["obs"][0], expected, atol=TOLERANCE, rtol=TOLERANCE)
        action = run.controller.action.astype(np.float64)
        np.testing.assert_allclose(run.controller.target[index, 0], 0.25 * action + pose, atol=1e-5)


def test_unitree_rl_gym_lstm(tmp_path: Path) -> None:
    """unitreerobotics/unitree_rl_gym `deploy_real.py`: 47 numbers, a clock that never rests, hidden state kept."""
    legs = MOTORS[:12]
    pose = np.array([-0.1, 0, 0, 0.3, -0.2, 0] * 2)
    path = tmp_path / "controller.json"
    path.write_text(json.dumps({
        "schema": "exoactor-controller/1", "name": "lstm", "kind": "velocity", "robot": "g1_12dof", "rate_hz": 50,
        "joints": legs, "default_pose": list(pose),
        "gains": {"kp": [100, 100, 100, 150, 40, 40] * 2, "kd": [2, 2, 2, 4, 2, 2] * 2},
        "inputs": [{"name": "obs", "blocks": [{"terms": [
            {"term": "base_ang_vel", "scale": 0.25}, {"term": "projected_gravity"},
            {"term": "velocity_command", "scale": [2, 2, 0.25]}, {"term": "joint_pos_rel"},
            {"term": "joint_vel", "scale": 0.05}, {"term": "last_action"}, {"term": "phase_sin"}, {"term": "phase_cos"},
        ]}]}],
        "outputs": {"action": "actions"},
        "recurrent": [{"input": "h_in", "output": "h_out"}, {"input": "c_in", "output": "c_out"}],
        "action": {"scale": 0.25}, "phase": {"period_s": 0.8, "offsets_rad": [0]},
        "command": {"vx": [-0.8, 0.8], "vy": [-0.5, 0.5], "yaw_rate": [-1, 1]},
    }), encoding="utf-8")
    run = Recorded(path, {"obs": 47, "h_in": 64, "c_in": 64}, {"actions": 12, "h_out": 64, "c_out": 64})
    generator = np.random.default_rng(6)
    action, hidden = np.zeros(12), (np.zeros(64), np.zeros(64))
    for tick in range(1, 101):  # the deployment counts before it looks
        state, command = random_state(generator, 12), generator.uniform(-0.5, 0.5, 3)
        run.controller.inputs.command[:] = command
        clock = 2 * np.pi * ((tick * 0.02) % 0.8) / 0.8
        expected = np.concatenate([
            0.25 * state.gyro, matrix(state.quat_wxyz).T @ (0, 0, -1), command * (2, 2, 0.25), state.q - pose,
            0.05 * state.dq, action, [np.sin(clock), np.cos(clock)],
        ])
        run.controller.observe(state)
        np.testing.assert_allclose(run.model.inputs["obs"][0], expected, atol=TOLERANCE, rtol=1e-5)
        for name, kept in zip(("h_in", "c_in"), hidden, strict=True):
            np.testing.assert_array_equal(run.model.inputs[name][0], kept)
        run.model.run()
        run.controller.act()
        action = run.controller.action.astype(np.float64)
        hidden = (run.model.outputs["h_out"][0].copy(), run.model.outputs["c_out"][0].copy())


@pytest.mark.parametrize(("all_joints", "first", "robot"), [
    (ARM_JOINTS + LEG_JOINTS, 10, "berkeley_humanoid_lite"),
    (ARM_JOINTS + LEG_JOINTS, 0, "berkeley_humanoid_lite"),
    (LEG_JOINTS, 0, "berkeley_humanoid_lite_biped"),
])
def test_berkeley_humanoid_lite(tmp_path: Path, all_joints: tuple[str, ...], first: int, robot: str) -> None:
    """HybridRobotics/Berkeley-Humanoid-Lite: nothing scaled, the last clipped action, joints not driven held at 0."""
    indices = list(range(first, len(all_joints)))
    source = tmp_path / "policy_humanoid.yaml"
    source.write_text(berkeley_yaml(all_joints, indices), encoding="utf-8")
    path = tmp_path / "controller.json"
    path.write_text(make_draft(source, None, None, "walk", None).text(), encoding="utf-8")
    n, motors = len(indices), len(all_joints)
    run = Recorded(path, {"onnx::Gemm_0": 9 + 3 * n}, {"53": n})  # the names of one of its exports
    assert (run.manifest.robot.name, run.manifest.rate_hz) == (robot, 25)
    pose = np.asarray(run.manifest.default_pose, np.float64)
    generator = np.random.default_rng(8)
    action = np.zeros(n)
    for _ in range(100):
        state, command = random_state(generator, motors), generator.uniform(-0.5, 0.5, 3)
        run.controller.inputs.command[:] = command
        expected = np.concatenate([command, state.gyro, matrix(state.quat_wxyz).T @ (0, 0, -1), state.q[indices] - pose,
                                   state.dq[indices], action])
        run.controller.tick(state)
        np.testing.assert_allclose(run.model.inputs["onnx::Gemm_0"][0], expected, atol=TOLERANCE, rtol=TOLERANCE)
        action = np.clip(run.controller.action.astype(np.float64), -10000, 10000)
        target = np.zeros(motors)
        target[indices] = 0.25 * action + pose
        np.testing.assert_allclose(run.controller.target[:, 0], target, atol=1e-5)
    kp = [10.0 if name.startswith("arm") else 20.0 for name in all_joints]
    np.testing.assert_array_equal(run.controller.target[:, 3], np.float32(kp))


def test_a_clip_feeds_the_anchor_term_as_well(tmp_path: Path) -> None:
    """unitree_rl_lab's State_Mimic: the clip's root, then its waist; robot and clip begin with the same heading."""
    terms = ("  motion_command:\n    params: {command_name: motion}\n    clip: null\n    scale: null\n"
             "    history_length: 1\n  motion_anchor_ori_b:\n    params: {command_name: motion}\n    clip: null\n"
             "    scale: [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]\n    history_length: 1\n")
    source = tmp_path / "deploy.yaml"
    source.write_text(deploy_yaml(history=1, extra=terms), encoding="utf-8")
    draft = make_draft(source, None, None, "mimic", None)
    kept = [term for term in draft.data["inputs"][0]["blocks"][0]["terms"] if term["term"] != "velocity_command"]
    draft.data["inputs"][0]["blocks"][0]["terms"] = kept
    path = tmp_path / "controller.json"
    path.write_text(draft.text(), encoding="utf-8")
    run = Recorded(path, {"obs": 3 + 3 + 29 * 3 + 58 + 6}, {"actions": 29})
    assert run.manifest.kind == "tracker"
    frame, generator = run.controller.window.now, np.random.default_rng(10)
    starts: list[float] = []
    waist = [list(run.manifest.order.names).index(f"waist_{axis}_joint") for axis in ("yaw", "roll", "pitch")]
    for _ in range(20):
        state = random_state(generator, 29)
        frame.joint_pos[:] = generator.uniform(-0.5, 0.5, 29)
        frame.root_quat_wxyz[:] = random_state(generator, 1).quat_wxyz
        yaw, roll, pitch = frame.joint_pos[waist]
        reference = matrix(frame.root_quat_wxyz) @ turn(2, yaw) @ turn(0, roll) @ turn(1, pitch)
        starts = starts or [yaw_of(torso(state)), yaw_of(reference)]
        run.controller.tick(state)
        expected = anchor_6d(torso(state), reference, *starts)
        np.testing.assert_allclose(run.model.inputs["obs"][0, -6:], expected, atol=TOLERANCE)

