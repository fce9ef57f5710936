"""SONIC's observations against an independent implementation of its formulas (tests/sonic_reference.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("yaml", reason="missing dependency: PyYAML")

import yaml

from export.sonic import SonicConfig, config_yaml, make_manifest, published_config, read_config
from export.sonic_names import JOINTS, terms_of_name
from export.sonic_published import DECODER, ENCODERS, robot_tables
from runtime.clip import load_clip, make_clip, save_clip
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.layouts import LAYOUTS, layout_digest
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.reference import ClipReference
from runtime.robot import JointOrder, load_robot
from runtime.state import RobotState
from tests import sonic_reference as slow
from tests.sonic_reference import Input, Motion, SonicReference
from tests.stub_model import StubModel

TOLERANCE = 1e-6
FRAMES = 70


def manifest(folder: Path, config: SonicConfig, **changes: Any) -> Manifest:
    (folder / "controller.json").write_text(json.dumps({**make_manifest(config, "sonic"), **changes}), "utf-8")
    return load_manifest(str(folder))


def controller_of(folder: Path, layout: str, seed: int = 0) -> Controller:
    """A controller of which both networks say random things."""
    rng = np.random.default_rng(seed)

    def think(model: StubModel) -> None:
        for values in model.outputs.values():
            values[:] = rng.normal(size=values.shape)

    config = published_config(layout)
    encoder = StubModel({"obs_dict": slow.SIZES[layout]}, {"encoded_tokens": 64}, think)
    decoder = StubModel({"obs_dict": 994}, {"action": 29}, think)
    return Controller(manifest(folder, config), decoder, {"encoder": encoder})


def single(values: Any) -> Any:
    """Numbers that float32 holds exactly, as sensors and streams deliver them."""
    return np.asarray(values, np.float32).astype(np.float64)


def any_quats(rng: np.random.Generator, count: int) -> Any:
    quats = rng.normal(size=(count, 4))
    return single(quats / np.linalg.norm(quats, axis=1, keepdims=True))


def random_motion(rng: np.random.Generator) -> Motion:
    return Motion(
        *(single(rng.uniform(-bound, bound, (FRAMES, 29))).tolist() for bound in (3, 20)),
        any_quats(rng, FRAMES).tolist(), single(rng.uniform(0.3, 1, FRAMES)).tolist(),
        single(rng.uniform(-1, 1, (FRAMES, 72))).tolist(), any_quats(rng, FRAMES).tolist(),
        single(rng.uniform(-1, 1, (FRAMES, 9))).tolist(), any_quats(rng, 3 * FRAMES).reshape(FRAMES, 12).tolist(),
    )


def script(rng: np.random.Generator, mode: str) -> Iterator[Input]:
    """100 ticks: wait at frame 0, play to the clamped end, begin anew in between, turn by hand, hold, start again."""
    frames = [0] * 8 + list(range(FRAMES)) + [40] * 10 + list(range(12))
    for tick, frame in enumerate(frames):
        upper = tick < 4 or 20 <= tick < 40 or 80 <= tick < 85
        yield Input(
            q=single(rng.uniform(-3, 3, 29)).tolist(), dq=single(rng.uniform(-30, 30, 29)).tolist(),
            quat=any_quats(rng, 1)[0].tolist(), gyro=single(rng.uniform(-9, 9, 3)).tolist(), frame=frame,
            playing=8 <= tick < 78 or tick >= 88, mode=mode, reinit=tick in (0, 30, 78),
            delta_heading=float(np.float32(rng.uniform(-3, 3))) if tick > 40 else 0.0,
            upper_body=single(rng.uniform(-2, 2, 17)).tolist() if upper else None,
            upper_body_vel=single(rng.uniform(-5, 5, 17)).tolist() if upper else None,
        )


def tell(controller: Controller, state: RobotState, now: Input, motion: Motion) -> None:
    """One tick's input as the runtime takes it."""
    state.q[:], state.dq[:], state.quat_wxyz[:], state.gyro[:] = now.q, now.dq, now.quat, now.gyro
    inputs = controller.inputs
    inputs.step[0], inputs.delta_heading[0], inputs.reinit[0] = now.frame, now.delta_heading, float(now.reinit)
    for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
        index = min(now.frame + offset, FRAMES - 1) if now.playing else now.frame
        frame.joint_pos[:], frame.joint_vel[:] = motion.joint_pos[index], motion.joint_vel[index]
        frame.root_quat_wxyz[:], frame.root_pos[2] = motion.root_quat[index], motion.root_z[index]
        for name in frame.channels.keys() & vars(motion).keys():
            frame.channels[name][:] = getattr(motion, name)[index]
        if "smpl_quat_wxyz" in frame.channels:
            frame.channels["smpl_quat_wxyz"][:] = motion.smpl_quat[index]
        if "upper_body" in frame.channels:
            frame.channels["upper_body"][:] = [0, *[0] * 17] if now.upper_body is None else [1, *now.upper_body]
            frame.channels["upper_body_vel"][:] = now.upper_body_vel or [0] * 17
        if not now.playing:
            frame.stop()


@pytest.mark.parametrize("layout", ["sonic/default", "sonic/v1_1", "sonic/low_latency", "sonic/release_python_names"])
@pytest.mark.parametrize("mode", ["g1", "teleop", "smpl"])
def test_both_inputs_are_the_formulas_over_a_hundred_random_states(tmp_path, layout, mode):
    rng = np.random.default_rng(sorted(slow.SIZES).index(layout) * 10 + slow.MODES[mode])
    motion = random_motion(rng)
    controller, reference, state = controller_of(tmp_path, layout), SonicReference(motion, layout), RobotState(29)
    controller.set_mode(mode)
    (encoder, _, _), (decoder, _, _) = controller.observations
    assert (encoder.values.size, decoder.values.size) == (slow.SIZES[layout], 994)
    count = 0
    for count, now in enumerate(script(rng, mode), 1):
        tell(controller, state, now, motion)
        controller.tick(state)
        expected_encoder, expected_decoder = reference.tick(now)
        np.testing.assert_allclose(encoder.values, expected_encoder, atol=TOLERANCE, rtol=0, err_msg=f"tick {count}")
        np.testing.assert_allclose(decoder.values[64:], expected_decoder, atol=TOLERANCE, rtol=0)
        np.testing.assert_array_equal(decoder.values[:64], controller.networks[0].model.outputs["encoded_tokens"][0])
        expected_target = reference.acted(controller.action.tolist())
        np.testing.assert_allclose(controller.target[:, 0], expected_target, atol=TOLERANCE, rtol=1e-6)
        silent = np.ones(encoder.values.size, bool)
        for block in slow.COUNTS[mode]:
            offset, length = slow.LAYOUTS[layout][block]
            silent[offset : offset + length] = False
        assert (encoder.values[silent] == 0).all()
    assert count == 100


def test_a_mode_changes_between_ticks_and_leaves_nothing_behind(tmp_path):
    rng = np.random.default_rng(5)
    motion = random_motion(rng)
    controller, reference = controller_of(tmp_path, "sonic/default"), SonicReference(motion, "sonic/default")
    state = RobotState(29)
    for tick, mode in enumerate(["g1", "smpl", "teleop", "g1", "teleop", "smpl"] * 3):
        (now,) = [entry for k, entry in enumerate(script(rng, mode)) if k == tick + 10]
        now.reinit = tick == 0
        tell(controller, state, now, motion)
        controller.set_mode(mode)
        controller.tick(state)
        np.testing.assert_allclose(controller.observations[0][0].values, reference.tick(now)[0], atol=TOLERANCE, rtol=0)
        reference.acted(controller.action.tolist())
        assert controller.mode == mode


def test_an_unknown_mode_is_an_error_not_another_mode(tmp_path):
    controller = controller_of(tmp_path, "sonic/default")
    controller.inputs.mode[0] = 9
    with pytest.raises(Refused, match="an id among"):
        controller.tick(RobotState(29))


def smooth_motion(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Joint positions (IsaacLab order), yaw, and a human's joints, gently moving."""
    t = np.arange(FRAMES)[:, None] / 50
    limits = [load_robot("g1_29dof").joints[k] for k in load_robot("g1_29dof").order.index_of(JointOrder(JOINTS))]
    middle = np.clip(0.0, [j.lower_rad for j in limits], [j.upper_rad for j in limits])
    room = np.array([min(j.upper_rad - m, m - j.lower_rad, 0.3) for j, m in zip(limits, middle, strict=True)])
    swing = np.maximum(room, 0) * np.sin(2 * np.pi * rng.uniform(0.3, 1.5, 29) * t + rng.uniform(0, 6, 29))
    return middle + swing, 1.5 * np.sin(1.3 * t[:, 0]) + 0.7, rng.uniform(-0.2, 0.2, (1, 72)) * np.cos(3 * t)


def quats_of(yaw: Any, pitch: Any) -> Any:
    """Rz(yaw) Ry(pitch)."""
    cy, sy, cp, sp = np.cos(yaw / 2), np.sin(yaw / 2), np.cos(pitch / 2), np.sin(pitch / 2)
    return np.stack([cy * cp, -sy * sp, cy * sp, sy * cp], axis=1)


def test_a_clip_with_channels_feeds_every_mode_up_to_its_clamped_end(tmp_path):
    rng = np.random.default_rng(8)
    joints, yaw, smpl = smooth_motion(rng)
    pitch = 0.3 * np.cos(np.arange(FRAMES) / 9)
    root, human = quats_of(yaw, pitch), quats_of(yaw + 0.4, -pitch)
    vr, turned = rng.uniform(-1, 1, (FRAMES, 9)), np.tile(quats_of(yaw, pitch), (1, 3))
    position = np.tile([0, 0, 0.8], (FRAMES, 1))
    clip = make_clip("walk", 50.0, JointOrder(JOINTS), joints, position, root, {
        "smpl_joints": smpl, "smpl_quat_wxyz": human, "vr_position": vr, "vr_orientation": turned})
    save_clip(tmp_path / "walk.npz", clip)
    clip = load_clip(tmp_path / "walk.npz", load_robot("g1_29dof"))
    velocity = np.vstack([joints[1] - joints[0], (joints[2:] - joints[:-2]) / 2, joints[-1] - joints[-2]]) * 50
    motion = Motion(joints.tolist(), velocity.tolist(), root.tolist(), [0.8] * FRAMES, smpl.tolist(), human.tolist(),
                    vr.tolist(), turned.tolist())
    for mode in slow.MODES:
        controller, reference = controller_of(tmp_path, "sonic/default"), SonicReference(motion, "sonic/default")
        source = ClipReference(clip, controller.manifest.order, rest_at_end=controller.manifest.rest_at_end)
        controller.set_mode(mode)
        state = RobotState(29)
        for t in range(FRAMES):
            now = Input(state.q.tolist(), state.dq.tolist(), state.quat_wxyz.tolist(), [0, 0, 0], t, True, mode, t == 0)
            controller.inputs.step[0] = t
            for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
                source.sample((t + offset) * 0.02, frame)
            controller.tick(state)
            np.testing.assert_allclose(controller.observations[0][0].values, reference.tick(now)[0], atol=TOLERANCE,
                                       rtol=0, err_msg=f"{mode}, frame {t}")
            reference.acted(controller.action.tolist())


@pytest.mark.parametrize(("yaw", "expected"), [(0.0, [1, 0, 0, 1, 0, 0]), (np.pi / 2, [0, -1, 1, 0, 0, 0])])
def test_anchor_golden_vectors(tmp_path, yaw, expected):
    controller, state = controller_of(tmp_path, "sonic/default"), RobotState(29)
    controller.set_mode("g1")
    controller.tick(state)
    controller.inputs.step[0] = 1
    for frame in controller.window.frames:
        frame.root_quat_wxyz[:] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    controller.tick(state)
    np.testing.assert_allclose(controller.observations[0][0].values[601:607], expected, atol=1e-7)


def test_the_reference_is_seen_from_where_the_robot_stood_when_it_began(tmp_path):
    controller, state = controller_of(tmp_path, "sonic/default"), RobotState(29)
    state.quat_wxyz[:] = [np.cos(1.0), 0, 0, np.sin(1.0)]
    anchor = controller.observations[0][0].values[601:607]
    controller.tick(state)
    np.testing.assert_allclose(anchor, [1, 0, 0, 1, 0, 0], atol=1e-6)
    controller.inputs.delta_heading[0], controller.inputs.step[0] = np.pi / 2, 3
    controller.tick(state)
    np.testing.assert_allclose(anchor, [0, -1, 1, 0, 0, 0], atol=1e-6)
    controller.inputs.reinit[0] = 1
    controller.tick(state)
    np.testing.assert_allclose(anchor, [1, 0, 0, 1, 0, 0], atol=1e-6)
    assert controller.inputs.delta_heading[0] == 0


def test_until_something_fills_them_hands_and_head_are_where_sonic_puts_them(tmp_path):
    controller = controller_of(tmp_path, "sonic/default")
    controller.set_mode("teleop")
    controller.tick(RobotState(29))
    values = controller.observations[0][0].values
    np.testing.assert_allclose(values[901:910], [0.0903, 0.1615, -0.2411, 0.1280, -0.1522, -0.2461, 0.0241, -0.0081,
                                                 0.4028])
    np.testing.assert_allclose(values[910:922], [0.7295, 0.3145, 0.5533, -0.2506, 0.7320, -0.2639, 0.5395, 0.3217,
                                                 0.9991, 0.011, 0.0402, -0.0002])


def test_joint_orders_go_both_ways_with_distinct_numbers(tmp_path):
    index = load_robot("g1_29dof").motor_index(JointOrder(JOINTS))
    assert index.tolist() == slow.MUJOCO_TO_ISAACLAB
    assert [slow.MUJOCO_TO_ISAACLAB[j] for j in slow.ISAACLAB_TO_MUJOCO] == list(range(29))
    controller, state = controller_of(tmp_path, "sonic/default"), RobotState(29)
    state.dq[:] = np.arange(29) + 100
    controller.tick(state)
    seen = controller.observations[1][0].values[384 + 9 * 29 : 384 + 290]
    assert seen.tolist() == [100 + motor for motor in slow.MUJOCO_TO_ISAACLAB]
    action = controller.networks[1].model.outputs["action"]
    controller.networks[1].model._compute = None
    action[0] = np.arange(29)
    controller.tick(state)
    for motor in range(29):
        expected = slow.DEFAULT_MOTOR[motor] + slow.ISAACLAB_TO_MUJOCO[motor] * slow.scale(motor)
        assert controller.target[motor, 0] == pytest.approx(expected, abs=1e-5)


def test_tables_are_the_published_ones(tmp_path):
    controller = controller_of(tmp_path, "sonic/default")
    for motor in range(29):
        kp, kd = slow.gains(motor)
        np.testing.assert_allclose(controller.target[motor, 3:], [kp, kd], rtol=1e-6)
    tables = robot_tables(JOINTS)
    by_hand = {"left_knee_joint": (99.0984, 6.3088, 0.350661, 0.669), "waist_yaw_joint": (40.1792, 2.5579, 0.547546, 0),
               "left_ankle_roll_joint": (28.5012, 1.8144, 0.438577, 0),
               "right_elbow_joint": (14.2506, 0.9072, 0.438577, 0.6),
               "right_wrist_yaw_joint": (16.7783, 1.0681, 0.074501, 0), "right_shoulder_roll_joint":
               (14.2506, 0.9072, 0.438577, -0.2)}
    for joint, row in by_hand.items():
        np.testing.assert_allclose([tables[key][joint] for key in ("kp", "kd", "scale", "pose")], row, atol=6e-5)


def test_gain_factors_are_data(tmp_path):
    data = make_manifest(published_config("sonic/v1_1"), "sonic", gain_factors={"left_ankle_pitch_joint": 1.5})
    (tmp_path / "controller.json").write_text(json.dumps(data), "utf-8")
    read = load_manifest(str(tmp_path))
    kp = dict(zip(read.order.names, read.kp, strict=True))
    assert kp["left_ankle_pitch_joint"] == pytest.approx(1.5 * kp["right_ankle_pitch_joint"])


NAMES = {
    "token_state": 64, "encoder_mode": 3, "encoder_mode_4": 4,
    **{f"motion_joint_{what}{window}": size for what in ("positions", "velocities") for window, size in (
        ("", 29), ("_3frame_step1", 87), ("_5frame_step5", 145), ("_10frame_step1", 290), ("_10frame_step5", 290),
        ("_lowerbody_10frame_step1", 120), ("_lowerbody_10frame_step5", 120))},
    "motion_joint_positions_wrists_2frame_step1": 12, "motion_joint_positions_wrists_4frame_step1": 24,
    "motion_joint_positions_wrists_10frame_step1": 60, "motion_joint_velocities_wrists_10frame_step1": 60,
    **{f"motion_anchor_orientation{left}{window}": size for left in ("", "_heading", "_refheading")
       for window, size in (("", 6), ("_10frame_step1", 60), ("_10frame_step5", 60))},
    "motion_root_z_position": 1, "motion_root_z_position_3frame_step1": 3, "motion_root_z_position_10frame_step1": 10,
    "motion_root_z_position_10frame_step5": 10,
    "smpl_joints": 72, "smpl_joints_2frame_step1": 144, "smpl_joints_4frame_step1": 288,
    "smpl_joints_5frame_step5": 360, "smpl_joints_10frame_step1": 720, "smpl_joints_10frame_step5": 720,
    "smpl_joints_lower_10frame_step1": 270,
    "smpl_pose": 63, "smpl_pose_5frame_step5": 315, "smpl_pose_10frame_step1": 630, "smpl_pose_10frame_step5": 630,
    "smpl_elbow_wrist_poses_10frame_step1": 120,
    "smpl_anchor_orientation_2frame_step1": 12, "smpl_anchor_orientation_4frame_step1": 24,
    "smpl_anchor_orientation_10frame_step1": 60, "smpl_anchor_orientation_heading_2frame_step1": 12,
    "smpl_anchor_orientation_heading_10frame_step1": 60, "smpl_anchor_orientation_refheading_2frame_step1": 12,
    "smpl_anchor_orientation_refheading_10frame_step1": 60,
    "smpl_root_z_10frame_step1": 10, "heading_diff_robot_ref": 6,
    "vr_3point_local_target": 9, "vr_3point_local_target_compliant": 9, "vr_3point_local_orn_target": 12,
    "vr_3point_compliance": 3, "vr_5point_local_target": 15, "vr_5point_local_orn_target": 20,
    "base_angular_velocity": 3, "body_joint_positions": 29, "body_joint_velocities": 29, "last_actions": 29,
    "gravity_dir": 3,
    **{f"his_{what}_{count}frame_step1": size * count for count in (4, 10) for what, size in (
        ("body_joint_positions", 29), ("body_joint_velocities", 29), ("last_actions", 29), ("base_angular_velocity", 3),
        ("gravity_dir", 3))},
}


def test_every_name_of_the_registry_is_known_with_its_length(tmp_path):
    assert len(NAMES) == 76
    for name, size in NAMES.items():
        assert terms_of_name(name)[1] == size, name
    names = tuple(name for name in NAMES if not name.startswith(("token", "his_last")))
    config = SonicConfig(("token_state",), names, {"g1": (0, names)})
    total = sum(NAMES[name] for name in names)
    encoder = StubModel({"obs_dict": total}, {"encoded_tokens": 64})
    Controller(manifest(tmp_path, config), StubModel({"obs_dict": 64}, {"action": 29}), {"encoder": encoder})


@pytest.mark.parametrize("name", ["motion_joint_positions_0frame_step1", "his_gravity_dir_4frame_step2", "gravity",
                                  "body_joint_positions_4frame_step1", "his_gravity_dir", "encoder_mode_10frame_step1"])
def test_a_name_of_nobody_is_refused(name):
    with pytest.raises(Refused, match="registry"):
        terms_of_name(name)


def test_the_rest_of_the_names_are_their_formulas(tmp_path):
    """Those that no published layout uses: refheading, heading difference, parts of the human, heights."""
    names = ("motion_anchor_orientation_refheading_10frame_step5", "heading_diff_robot_ref",
             "smpl_joints_lower_10frame_step1", "smpl_elbow_wrist_poses_10frame_step1",
             "motion_root_z_position_3frame_step1", "smpl_anchor_orientation_refheading_2frame_step1",
             "motion_joint_velocities_wrists_10frame_step1")
    config = SonicConfig(("token_state",), names, {"g1": (0, names)})
    total = sum(NAMES[name] for name in names)
    controller = Controller(manifest(tmp_path, config), StubModel({"obs_dict": 64}, {"action": 29}),
                            {"encoder": StubModel({"obs_dict": total}, {"encoded_tokens": 64})})
    rng, state = np.random.default_rng(2), RobotState(29)
    motion = random_motion(rng)
    poses = single(rng.uniform(-1, 1, (FRAMES, 63)))
    for now in [*script(rng, "g1")][8:30]:
        tell(controller, state, now, motion)
        for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
            frame.channels["smpl_pose"][:] = poses[min(now.frame + offset, FRAMES - 1)]
        now.reinit = True
        controller.inputs.reinit[0] = 1
        controller.tick(state)
        base, root = slow.matrix(now.quat), slow.matrix(motion.root_quat[now.frame])
        near, far = ([min(now.frame + i * step, FRAMES - 1) for i in range(10)] for step in (1, 5))
        delta = slow.times(slow.heading(base), slow.transposed(slow.heading(root)))

        def seen(quats: Any, indices: list[int], turn: slow.Matrix) -> list[float]:
            left = slow.transposed(slow.heading(slow.times(turn, slow.matrix(quats[indices[0]]))))
            return [x for i in indices for x in slow.six(slow.times(left, slow.times(turn, slow.matrix(quats[i]))))]

        human = slow.times(slow.heading(base), slow.transposed(slow.heading(slow.matrix(motion.smpl_quat[now.frame]))))
        expected = seen(motion.root_quat, far, delta)
        expected += slow.six(slow.times(slow.transposed(slow.heading(base)), slow.heading(slow.times(delta, root))))
        expected += [motion.smpl_joints[i][3 * j + k] for i in near for j in (0, 1, 2, 4, 5, 7, 8, 10, 11)
                     for k in range(3)]
        expected += [poses[i][3 * j + k] for i in near for j in (17, 18, 19, 20) for k in range(3)]
        expected += [motion.root_z[i] for i in near[:3]]
        expected += seen(motion.smpl_quat, near[:2], human)
        expected += [motion.joint_vel[i][j] for i in near for j in slow.WRISTS]
        np.testing.assert_allclose(controller.observations[0][0].values, expected, atol=TOLERANCE, rtol=0)


# ---- configs and layouts


@pytest.mark.parametrize("layout", ENCODERS)
def test_a_published_config_survives_its_yaml_and_has_the_published_offsets(tmp_path, layout):
    config = published_config(layout)
    assert read_config(config_yaml(config)) == config
    assert config.sizes() == (slow.SIZES[layout], 994)
    controller = controller_of(tmp_path, layout)
    starts = {row.start for row in controller.observations[0][0].rows}
    assert starts >= {offset for offset, _ in slow.LAYOUTS[layout].values()}
    assert layout_digest(controller.manifest) == LAYOUTS[layout]


def test_the_decoder_s_own_layout_is_known(tmp_path):
    assert layout_digest(manifest(tmp_path, SonicConfig(DECODER))) == LAYOUTS["sonic/decoder"]


def test_disabled_observations_take_no_room():
    data = yaml.safe_load(config_yaml(published_config("sonic/default")))
    data["encoder"]["encoder_observations"][3]["enabled"] = False
    assert read_config(yaml.safe_dump(data)).sizes() == (1752, 994)


def test_the_two_layouts_of_1751_are_not_confused(tmp_path):
    config = published_config("sonic/release_python_names")
    with pytest.raises(Refused, match="inputs laid out as sonic/v1_1, found those of sonic/release_python_names"):
        Controller(manifest(tmp_path, config, layout="sonic/v1_1"), StubModel({"obs_dict": 994}, {"action": 29}),
                   {"encoder": StubModel({"obs_dict": 1751}, {"encoded_tokens": 64})})


def harm(data: dict[str, Any], *path: Any, value: Any) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


@pytest.mark.parametrize(("path", "value", "said"), [
    (("observations", 0, "name"), "token", "registry"),
    (("observations", 0, "enabled"), False, "token_state"),
    (("observations", 0, "enabled"), "yes", "true or false"),
    (("observations", 1, "name"), "token_state", "each name once"),
    (("encoder", "dimension"), 32, "from 64 to 64"),
    (("encoder", "encoder_modes", 0, "mode_id"), -1, "from 0 to 254"),
    (("encoder", "encoder_modes", 0, "mode_id"), 1, "each name once"),
    (("encoder", "encoder_modes", 1, "name"), "g1", "the name is taken"),
    (("encoder", "encoder_modes", 1, "name"), "token", "the name is taken"),
    (("encoder", "encoder_modes", 0, "required_observations"), ["gravity_dir"], "gravity_dir"),
    (("encoder", "encoder_modes", 0, "required_observations"), [], "not empty"),
    (("encoder", "more"), 1, "unknown more"),
    (("observations",), [], "not empty"),
])
def test_a_config_that_is_none_is_refused(path, value, said):
    data = yaml.safe_load(config_yaml(published_config("sonic/default")))
    harm(data, *path, value=value)
    with pytest.raises(Refused, match=said):
        read_config(yaml.safe_dump(data))


@pytest.mark.parametrize("text", ["[", "- 1", "", "!!python/object/apply:os.system [true]"])
def test_what_is_no_config_is_refused(text):
    with pytest.raises(Refused):
        read_config(text)
