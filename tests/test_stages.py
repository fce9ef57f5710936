"""Networks before the main one: order, hidden state, what a mode leaves out; channels of clips and of frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.channels import CHANNELS, ChannelTable
from runtime.clip import load_clip, make_clip, save_clip
from runtime.controller import Controller, idle_frame
from runtime.errors import Refused
from runtime.manifest import CONTROLLERS, find_stage_model
from runtime.manifest_reader import load_manifest
from runtime.reference import ClipReference, ReferenceFrame
from runtime.robot import load_robot
from runtime.state import RobotState
from tests.stub_model import StubModel

N = 29
BASE = json.loads((CONTROLLERS / "twist2.json").read_text("utf-8"))


def stage(name: str, terms: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"name": name, "inputs": [{"blocks": [{"terms": terms}]}], **more}


def manifest(folder: Path, terms: list[dict[str, Any]], **changes: Any) -> str:
    data = {**BASE, "inputs": [{"blocks": [{"terms": terms}]}], **changes}
    for key in ("outputs", "recurrent"):
        if key not in changes:
            data.pop(key, None)
    (folder / "controller.json").write_text(json.dumps(data), "utf-8")
    return str(folder)


def output(name: str, tensor: str = "out") -> dict[str, Any]:
    return {"term": "stage_output", "stage": name, "output": tensor}


def counting(model: StubModel) -> None:
    """out = sum of the input, plus the hidden state, which grows by one."""
    model.outputs["out"][0, 0] = model.inputs["obs"].sum() + model.inputs["h_in"][0, 0]
    model.outputs["h_out"][0, 0] = model.inputs["h_in"][0, 0] + 1


def counter() -> StubModel:
    return StubModel({"obs": 3, "h_in": 1}, {"out": 1, "h_out": 1}, counting)


HIDDEN = [{"input": "h_in", "output": "h_out"}]


def test_a_stage_s_output_is_seen_at_the_same_tick_and_by_later_stages(tmp_path):
    path = manifest(tmp_path, [output("second"), output("first")], stages=[
        stage("first", [{"term": "base_ang_vel"}], recurrent=HIDDEN),
        stage("second", [output("first"), output("first"), output("first", "h_out")], recurrent=HIDDEN),
    ])
    main = StubModel({"obs": 2}, {"action": N})
    controller = Controller(load_manifest(path), main, {"first": counter(), "second": counter()})
    state = RobotState(N)
    for tick in range(4):
        state.gyro[:] = [tick, 1, 0]
        controller.tick(state)
        first = tick + 1 + tick
        assert main.inputs["obs"][0].tolist() == [2 * first + tick + 1 + tick, first]
    controller.reset()
    state.gyro[:] = 0
    controller.tick(state)
    assert main.inputs["obs"][0].tolist() == [1, 0], "hidden state of every stage is zero after a reset"
    assert [network.model for network in controller.networks][-1] is main
    assert [observation.values.size for observation, _, _ in controller.observations] == [3, 3, 2]


@pytest.mark.parametrize("terms", [[output("later")], [output("first", "nothing")], [output("self")]])
def test_only_what_ran_before_can_be_read(tmp_path, terms):
    path = manifest(tmp_path, [output("first")], stages=[
        stage("first", [{"term": "base_ang_vel"}], recurrent=HIDDEN),
        stage("self", terms, recurrent=HIDDEN), stage("later", [{"term": "base_ang_vel"}], recurrent=HIDDEN),
    ])
    networks = {name: counter() for name in ("first", "self", "later")}
    with pytest.raises(Refused, match="an output of an earlier stage"):
        Controller(load_manifest(path), StubModel({"obs": 1}, {"action": N}), networks)


def test_a_stage_without_its_network_is_refused(tmp_path):
    path = manifest(tmp_path, [output("first")], stages=[stage("first", [{"term": "base_ang_vel"}])])
    loaded = load_manifest(path)
    with pytest.raises(Refused, match="stage first"):
        Controller(loaded, StubModel({"obs": 1}, {"action": N}))
    with pytest.raises(Refused, match=r"`model\.file`"):
        find_stage_model(loaded, loaded.stages[0])
    path = manifest(tmp_path, [output("first")], stages=[
        stage("first", [{"term": "base_ang_vel"}], model={"file": "first.onnx", "sha256": "00"})])
    loaded = load_manifest(path)
    with pytest.raises(Refused, match="no file"):
        find_stage_model(loaded, loaded.stages[0])
    (tmp_path / "first.onnx").write_bytes(b"other")
    with pytest.raises(Refused, match="sha256 00"):
        find_stage_model(loaded, loaded.stages[0])
    assert loaded.model_files == (("first.onnx", "00"),)


def test_a_stage_of_another_size_is_refused_with_its_table(tmp_path):
    path = manifest(tmp_path, [output("first")], stages=[stage("first", [{"term": "base_ang_vel"}])])
    with pytest.raises(Refused, match=r"(?s)model of stage first.*base_ang_vel"):
        Controller(load_manifest(path), StubModel({"obs": 1}, {"action": N}),
                   {"first": StubModel({"obs": 4}, {"out": 1})})


def test_a_stage_rests_outside_its_modes_and_keeps_its_hidden_state(tmp_path):
    path = manifest(tmp_path, [output("first"), {"term": "mode_id", "size": 2}], modes={"on": 0, "off": 7}, stages=[
        stage("first", [{"term": "base_ang_vel"}], recurrent=HIDDEN, modes=["on"])])
    main, first = StubModel({"obs": 3}, {"action": N}), counter()
    controller, state, seen = Controller(load_manifest(path), main, {"first": first}), RobotState(N), []
    for mode in ("on", "on", "off", "off", "on"):
        controller.set_mode(mode)
        controller.tick(state)
        seen.append(main.inputs["obs"][0].tolist())
    assert seen == [[0, 0, 0], [1, 0, 0], [0, 7, 0], [0, 7, 0], [2, 0, 0]]
    assert first.runs == 3


def test_a_mode_that_is_none_is_refused_by_name(tmp_path):
    plain = Controller(load_manifest(manifest(tmp_path, [GYRO])), StubModel({"obs": 3}, {"action": N}))
    assert plain.mode == ""
    plain.set_mode("")
    with pytest.raises(Refused, match="no modes at all, found walk"):
        plain.set_mode("walk")
    path = manifest(tmp_path, [GYRO], modes={"a": 4, "b": 1})
    moded = Controller(load_manifest(path), StubModel({"obs": 3}, {"action": N}))
    assert moded.mode == "a"
    with pytest.raises(Refused, match="one of a, b, found c"):
        moded.set_mode("c")
    moded.set_mode("b")
    assert (moded.mode, moded.inputs.mode[0]) == ("b", 1)


def test_terms_and_blocks_of_other_modes_are_zero(tmp_path):
    blocks = [
        {"terms": [{"term": "base_ang_vel", "modes": ["a"]}, {"term": "base_accel"},
                   {"term": "joint_pos_rel", "modes": []}]},
        {"terms": [{"term": "velocity_command", "scale": 2}], "modes": ["b"]},
    ]
    manifest(tmp_path, [], modes={"a": 3, "b": 1})
    data = json.loads((tmp_path / "controller.json").read_text())
    data["inputs"] = [{"blocks": blocks}]
    (tmp_path / "controller.json").write_text(json.dumps(data))
    controller = Controller(load_manifest(str(tmp_path)), StubModel({"obs": 38}, {"action": N}))
    state = RobotState(N)
    state.gyro[:], state.accel[:], controller.inputs.command[:] = 1, 2, 3
    state.q[:] = 5
    values = controller.observations[0][0].values
    for mode, gyro, command in (("a", 1, 0), ("b", 0, 6), ("a", 1, 0)):
        controller.set_mode(mode)
        controller.tick(state)
        assert values.tolist() == [gyro] * 3 + [2] * 3 + [0] * 29 + [command] * 3
    assert "joint_pos_rel" in [row.label for row in controller.observations[0][0].rows]


GYRO = {"term": "base_ang_vel"}


@pytest.mark.parametrize(("changes", "said"), [
    ({"modes": {"a": -1}}, "from 0 to 255"),
    ({"modes": {"a": 0, "b": 0}}, "each name once"),
    ({"modes": ["a"]}, "an object"),
    ({"inputs": [{"blocks": [{"terms": [{**GYRO, "modes": ["a"]}]}]}]}, "a list of modes"),
    ({"modes": {"a": 0}, "inputs": [{"blocks": [{"terms": [{**GYRO, "modes": "a"}]}]}]}, "a list of modes"),
    ({"modes": {"a": 0}, "inputs": [{"blocks": [{"terms": [{**GYRO, "modes": ["a"], "history": {"length": 2}}]}]}]},
     "no history"),
    ({"modes": {"a": 0}, "inputs": [{"blocks": [{"terms": [GYRO], "modes": ["a"], "history": {"length": 2}}]}]},
     "no history"),
    ({"modes": {"a": 0}, "inputs": [{"blocks": [
        {"name": "x", "terms": [{**GYRO, "modes": ["a"]}]}, {"past_of": "x", "length": 2}]}]}, "no `past_of`"),
    ({"stages": []}, "not empty"),
    ({"stages": [{"name": "x"}]}, "missing inputs"),
    ({"stages": [stage("x", [GYRO]), stage("x", [GYRO])]}, "each name once"),
    ({"stages": [stage("x", [GYRO], modes=["a"])]}, "a list of modes"),
    ({"stages": [stage("x", [GYRO], instead={"out": "tokens"})]}, "one of smpl_joints"),
    ({"stages": [stage("x", [{"term": "no_such"}])]}, "a term among"),
    ({"reference": {"at_end": "never"}}, "one of rest, last"),
    ({"reference": {"idle_channels": {"token": [1.0]}}}, "64 numbers"),
    ({"reference": {"idle_channels": {"tokens": [1.0]}}}, "unknown tokens"),
    ({"gains": {**BASE["gains"], "kp_factor": 2}}, "an object"),
    ({"gains": {**BASE["gains"], "kp_factor": {"left_knee_joint": 11}}}, "from 0.1 to 10"),
    ({"gains": {**BASE["gains"], "kp_factor": {"left_toe": 1}}}, "left_toe"),
    ({"layout": 3}, "a text"),
])
def test_a_manifest_that_means_nothing_is_refused(tmp_path, changes, said):
    terms = changes.pop("inputs", [{"blocks": [{"terms": [GYRO]}]}])
    path = manifest(tmp_path, [GYRO], **changes)
    data = json.loads((tmp_path / "controller.json").read_text())
    data["inputs"] = terms
    (tmp_path / "controller.json").write_text(json.dumps(data))
    with pytest.raises(Refused, match=said):
        load_manifest(path)


@pytest.mark.parametrize(("term", "said"), [
    ({"term": "ref_channel", "channel": "smpl_joint"}, "did you mean smpl_joints"),
    ({"term": "ref_channel", "channel": "smpl_joints", "parts": [24], "part_size": 3}, "from 0 to 23"),
    ({"term": "ref_anchor_6d", "left": "up"}, "one of base, heading, refheading"),
    ({"term": "ref_anchor_6d", "of": "torso"}, "one of root, smpl"),
    ({"term": "ref_joint_pos", "joints": ["left_toe"]}, "left_toe"),
    ({"term": "sonic_joint_pos", "override": ["left_knee_joint"]}, "17 joints"),
    ({"term": "mode_id"}, "a `modes` section"),
])
def test_a_term_that_means_nothing_is_refused(tmp_path, term, said):
    with pytest.raises(Refused) as refused:
        Controller(load_manifest(manifest(tmp_path, [term])), StubModel({"obs": 1}, {"action": N}))
    assert said in str(refused.value)


def test_instead_must_be_an_output_as_wide_as_its_channel(tmp_path):
    for instead, width, said in (({"x": "token"}, 64, "outputs x"), ({"out": "token"}, 63, "as wide as channel token")):
        path = manifest(tmp_path, [output("first")], stages=[stage("first", [GYRO], instead=instead)])
        with pytest.raises(Refused, match=said):
            Controller(load_manifest(path), StubModel({"obs": width}, {"action": N}),
                       {"first": StubModel({"obs": 3}, {"out": width})})


def test_named_joints_of_the_reference_come_in_the_order_they_are_named(tmp_path):
    names = ["right_knee_joint", "left_knee_joint"]
    path = manifest(tmp_path, [{"term": "ref_joint_pos", "joints": names, "frames": [0, 2]},
                               {"term": "ref_joint_pos_rel", "joints": names},
                               {"term": "ref_joint_vel", "joints": names}])
    controller = Controller(load_manifest(path), StubModel({"obs": 8}, {"action": N}))
    joints = list(controller.manifest.order.names)
    right, left = joints.index(names[0]), joints.index(names[1])
    for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
        frame.joint_pos[:] = np.arange(N) + 100 * offset
        frame.joint_vel[:] = -np.arange(N)
    controller.tick(RobotState(N))
    pose = controller.manifest.default_pose
    np.testing.assert_allclose(controller.observations[0][0].values, [
        right, left, right + 200, left + 200, right - pose[right], left - pose[left], -right, -left])


# ---- channels


def test_frames_blend_channels_and_quaternions_the_short_way():
    table = ChannelTable(["smpl_quat_wxyz", "smpl_joints", "upper_body_vel"])
    a, b, out = (ReferenceFrame(2, table) for _ in range(3))
    a.channels["smpl_joints"][:], b.channels["smpl_joints"][:] = 1, 3
    b.channels["smpl_quat_wxyz"][:] = [0, 0, 0, -1]
    a.channels["smpl_quat_wxyz"][:] = [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]
    out.blend(a, b, 0.5)
    assert set(out.channels["smpl_joints"]) == {2}
    half = [np.cos(3 * np.pi / 8), 0, 0, np.sin(3 * np.pi / 8)]
    np.testing.assert_allclose(out.channels["smpl_quat_wxyz"], half, atol=1e-12)
    a.blend(a, b, 0.25)
    np.testing.assert_allclose(np.linalg.norm(a.channels["smpl_quat_wxyz"]), 1)
    out.channels["upper_body_vel"][:] = 5
    out.stop()
    assert not out.channels["upper_body_vel"].any() and out.channels["smpl_joints"].any()
    out.copy_from(b)
    assert (out.values == b.values).all()


def test_a_fresh_frame_holds_what_a_channel_says_when_nothing_fills_it():
    frame = ReferenceFrame(1, ChannelTable(["vr_position", "vr5_orientation", "token"]))
    assert tuple(frame.channels["vr_position"]) == CHANNELS["vr_position"].idle
    assert frame.channels["vr5_orientation"].tolist() == [1, 0, 0, 0] * 5
    assert not frame.channels["token"].any()


def clip_of(channels: dict[str, Any]) -> Any:
    robot = load_robot("g1_29dof")
    still = np.tile([1.0, 0, 0, 0], (5, 1))
    return make_clip("c", 10.0, robot.order, np.zeros((5, N)), np.tile([0, 0, 0.8], (5, 1)), still, channels), robot


def test_channels_of_a_clip_are_sampled_between_frames(tmp_path):
    angle = np.arange(5) * 0.4
    turns = np.stack([np.cos(angle / 2), 0 * angle, 0 * angle, np.sin(angle / 2)], axis=1)
    clip, robot = clip_of({"smpl_joints": np.outer(np.arange(5), np.ones(72)), "smpl_quat_wxyz": turns})
    save_clip(tmp_path / "c.npz", clip)
    loaded = load_clip(tmp_path / "c.npz", robot)
    assert sorted(loaded.channels) == ["smpl_joints", "smpl_quat_wxyz"]
    frame = ReferenceFrame(N, ChannelTable(["smpl_joints", "smpl_quat_wxyz", "token"]))
    ClipReference(loaded, robot.order).sample(0.15, frame)
    np.testing.assert_allclose(frame.channels["smpl_joints"], 1.5)
    np.testing.assert_allclose(frame.channels["smpl_quat_wxyz"], [np.cos(0.3), 0, 0, np.sin(0.3)], atol=1e-9)
    assert not frame.channels["token"].any(), "a channel that the clip lacks stays as it is"
    ClipReference(loaded, robot.order).sample(9.0, frame)
    np.testing.assert_allclose(frame.channels["smpl_joints"], 4)


def test_velocities_at_the_end_are_zero_or_the_last_frame_s():
    clip, robot = clip_of({})
    clip.joint_vel[:] = np.arange(5)[:, None]
    frame = ReferenceFrame(N)
    for time_s, rest, expected in ((0.3, True, 3), (0.4, True, 0), (0.4, False, 4), (7.0, False, 4)):
        ClipReference(clip, robot.order, rest_at_end=rest).sample(time_s, frame)
        assert set(frame.joint_vel) == {expected}


@pytest.mark.parametrize("fps", [50.0, 100.0, 30.0])
def test_on_a_frame_the_velocity_is_that_frame_s(fps):
    clip, robot = clip_of({})
    clip = make_clip("c", fps, robot.order, np.zeros((400, N)), np.zeros((400, 3)), np.tile([1.0, 0, 0, 0], (400, 1)))
    clip.joint_vel[:] = np.arange(400)[:, None]
    frame, source = ReferenceFrame(N), ClipReference(clip, robot.order)
    for k in range(399):
        source.sample(k * (1 / fps), frame)
        assert frame.joint_vel[0] == k


@pytest.mark.parametrize(("key", "values", "said"), [
    ("channel_smpl_joint", np.zeros((5, 72)), "did you mean smpl_joints"),
    ("channel_smpl_joints", np.zeros((5, 71)), r"\(5, 72\)"),
    ("channel_smpl_joints", np.zeros((4, 72)), r"\(5, 72\)"),
    ("channel_smpl_joints", np.zeros((5, 24, 3)), r"\(5, 72\)"),
    ("channel_smpl_joints", np.full((5, 72), "a"), "real numbers"),
    ("channel_smpl_joints", np.vstack([np.zeros((3, 72)), np.full((2, 72), np.nan)]), "frame 3"),
    ("channel_smpl_joints", np.full((5, 72), 1e9), "not finite"),
    ("channel_smpl_quat_wxyz", np.full((5, 4), 0.6), "unit quaternions"),
    ("channel_vr_orientation", np.tile([1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], (5, 1)), "unit quaternions"),
])
def test_a_channel_that_is_none_is_refused(tmp_path, key, values, said):
    clip, robot = clip_of({})
    save_clip(tmp_path / "c.npz", clip)
    arrays = dict(np.load(tmp_path / "c.npz"))
    np.savez(tmp_path / "c.npz", **arrays, **{key: values})
    with pytest.raises(Refused, match=said):
        load_clip(tmp_path / "c.npz", robot)


def test_an_idle_reference_holds_what_its_manifest_says(tmp_path):
    path = manifest(tmp_path, [{"term": "ref_channel", "channel": "token"}],
                    reference={"idle_channels": {"token": [0.5] * 64}})
    assert set(idle_frame(load_manifest(path)).channels["token"]) == {0.5}
