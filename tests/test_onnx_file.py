"""Existing ONNX networks for a bundle: one file, batch of one, their own numbers, nothing of another machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from onnx import TensorProto, helper, numpy_helper

from export.network_metadata import complete_manifest
from export.onnx_file import convert_onnx, load_onnx
from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.model_metadata import adopt_metadata
from tests.shared_data import shared_data
from tests.trained_networks import ACTION, LEGS, OBSERVATION, manifest

# joined here, so that no file of this project names such a folder
HOME = "/".join(("", "home", "somebody", "train"))


def network(
    batch: Any = 1, metadata: dict[str, str] | None = None, state: tuple[str, str] | None = None,
    size: Any = OBSERVATION,
) -> Any:
    """action = tanh(obs @ W), plus the mean of a hidden state that remembers its last value."""
    weights = 0.1 * np.random.default_rng(0).normal(size=(OBSERVATION, ACTION)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["obs", "W"], ["h"], doc_string=f"File {HOME}/train.py, line 3")]
    inputs = [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [batch, size])]
    outputs = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [batch, ACTION])]
    if state is None:
        nodes.append(helper.make_node("Tanh", ["h"], ["action"]))
    else:
        nodes += [helper.make_node("Add", ["h", state[0]], [state[1]]),
                  helper.make_node("Tanh", [state[1]], ["action"])]
        inputs.append(helper.make_tensor_value_info(state[0], TensorProto.FLOAT, [batch, ACTION]))
        outputs.append(helper.make_tensor_value_info(state[1], TensorProto.FLOAT, [batch, ACTION]))
    graph = helper.make_graph(nodes, "policy", inputs, outputs, [numpy_helper.from_array(weights, "W")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string = f"exported from {HOME}"
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    return model


def save(model: Any, folder: Path, **options: Any) -> Path:
    path = folder / "policy.onnx"
    onnx.save(model, str(path), **options)
    return path


def text(values: Any) -> str:
    return ",".join(str(value) for value in values)


BEYOND_MIMIC = {
    "joint_names": text(LEGS), "joint_stiffness": text(range(50, 62)), "joint_damping": text(np.linspace(1, 2, 12)),
    "default_joint_pos": text(np.linspace(-0.2, 0.2, 12)), "action_scale": text([0.5] * 12),
    "anchor_body_name": "torso_link",
}


# ---- sizes


@pytest.mark.parametrize("batch", [1, "batch", "N", None])
def test_a_batch_that_is_open_becomes_one(tmp_path: Path, batch: Any) -> None:
    conversion, _ = convert_onnx(save(network(batch), tmp_path), manifest())
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
              for value in [*conversion.model.graph.input, *conversion.model.graph.output]}
    assert shapes == {"obs": [1, OBSERVATION], "action": [1, ACTION]}
    onnx.checker.check_model(conversion.model, full_check=True)
    assert conversion.facts["sizes made fixed"] == ("none" if batch == 1 else "obs")
    found = Model(conversion.model.SerializeToString())
    found.inputs["obs"][:] = 0.3
    found.run()
    expected = conversion.source.step({"obs": found.inputs["obs"]})["action"]
    np.testing.assert_array_equal(found.outputs["action"], expected)


def test_outputs_whose_size_cannot_be_inferred_are_measured(tmp_path: Path) -> None:
    model = network("batch")
    shape = numpy_helper.from_array(np.array([0, 3, 4]), "shape")
    model.graph.initializer.append(shape)
    nodes = [helper.make_node("Shape", ["obs"], ["s"]), helper.make_node("Gather", ["s", "first"], ["n"]),
             helper.make_node("ConstantOfShape", ["n"], ["more"])]
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    model.graph.node.extend(nodes)
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["k"]))
    conversion, _ = convert_onnx(save(model, tmp_path), manifest())
    assert [size.dim_value for size in conversion.model.graph.output[1].type.tensor_type.shape.dim] == [1]


def test_an_open_size_other_than_the_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"input obs: expected fixed sizes, .* found \(batch, size\)"):
        convert_onnx(save(network("batch", size="size"), tmp_path), manifest())


# ---- weights in other files


def test_weights_beside_the_network_are_taken_in(tmp_path: Path) -> None:
    path = save(network(), tmp_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    conversion, _ = convert_onnx(path, manifest())
    (tmp_path / "weights.bin").unlink()
    found = Model(conversion.model.SerializeToString())
    found.inputs["obs"][:] = 0.2
    found.run()
    single = Model(network().SerializeToString())
    single.inputs["obs"][:] = 0.2
    single.run()
    np.testing.assert_array_equal(found.outputs["action"], single.outputs["action"])


@pytest.mark.parametrize(("location", "words"), [
    ("absent.bin", "absent.bin, which is not there"), ("../secret.bin", r"\.\./secret.bin"),
    ("a/../../secret.bin", "secret"), ("ABSOLUTE", "secret.bin"), ("link.bin", "link.bin"), ("", "no name"),
])
def test_weights_that_are_not_beside_the_network_are_refused(tmp_path: Path, location: str, words: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4 * OBSERVATION * ACTION))
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    model = network()
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(tmp_path / "secret.bin") if location == "ABSOLUTE" else location)
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match=f"weights of W: expected a file beside the network, found .*{words}"):
        load_onnx(folder / "policy.onnx")


def test_weights_cut_short_are_refused(tmp_path: Path) -> None:
    path = save(network(), tmp_path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes()[:100])
    with pytest.raises(Refused):
        convert_onnx(path, manifest())


# ---- what is left out


def test_notes_and_paths_of_another_machine_are_left_out(tmp_path: Path) -> None:
    metadata = {**BEYOND_MIMIC, "robot_urdf_path": f"{HOME}/g1.urdf", "robot_urdf": f"<mesh filename='{HOME}/a.stl'/>",
                "run_path": "wandb/me/run", "body_names": f"pelvis,{HOME}/oops"}
    model = network(metadata=metadata)
    if hasattr(model.graph.node[0], "metadata_props"):
        model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=f"File {HOME}/train.py")
    conversion, found = convert_onnx(save(model, tmp_path), manifest())
    assert HOME.encode() not in conversion.model.SerializeToString()
    assert {entry.key for entry in conversion.model.metadata_props} == set(BEYOND_MIMIC)
    assert conversion.facts["metadata left out"] == "body_names, robot_urdf, robot_urdf_path, run_path"
    assert found == metadata


# ---- hidden state


@pytest.mark.parametrize("names", [("h_in", "h_out"), ("hidden", "hidden_out"), ("h0", "hn"), ("h_prev", "h_next")])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_hidden_state_that_is_not_named_is_paired(tmp_path: Path, names: tuple[str, str], batch: Any) -> None:
    conversion, _ = convert_onnx(save(network(batch, state=names), tmp_path), manifest())
    assert conversion.recurrent == [names]


def test_hidden_state_of_the_manifest_counts(tmp_path: Path) -> None:
    given = manifest(recurrent=[{"input": "a", "output": "b"}])
    conversion, _ = convert_onnx(save(network(state=("a", "b")), tmp_path), given)
    assert conversion.recurrent == [("a", "b")]
    source = conversion.source
    ones = {"obs": np.full((1, OBSERVATION), 0.1, np.float32)}
    source.reset()
    first, second = source.step(ones)["action"], source.step(ones)["action"]
    source.reset()
    np.testing.assert_array_equal(source.step(ones)["action"], first)
    assert np.abs(second - first).max() > 1e-3


def test_an_input_that_the_manifest_names_is_no_hidden_state(tmp_path: Path) -> None:
    terms = [{"term": "joint_pos"}]
    given = manifest(inputs=[{"name": name, "blocks": [{"terms": terms}]} for name in ("obs", "h_in")])
    assert convert_onnx(save(network(state=("h_in", "h_out")), tmp_path), given)[0].recurrent == []


# ---- numbers of the network in the manifest


def bare() -> dict[str, Any]:
    return manifest(joints=None, default_pose=None, gains=None, action=None)


def test_a_manifest_without_numbers_gets_those_of_the_network() -> None:
    completed = complete_manifest("network", bare(), BEYOND_MIMIC)
    data = completed.data
    assert data["joints"] == LEGS
    assert data["gains"] == {"kp": list(map(float, range(50, 62))), "kd": pytest.approx(list(np.linspace(1, 2, 12)))}
    assert data["default_pose"] == pytest.approx(list(np.linspace(-0.2, 0.2, 12)))
    assert data["action"] == {"scale": [0.5] * 12}
    assert set(completed.taken) == {"joints", "gains.kp", "gains.kd", "default_pose", "action.scale"}
    assert completed.differing == []


def test_holosoma_metadata_are_json() -> None:
    metadata = {"dof_names": json.dumps(LEGS), "kp": json.dumps([30.0] * 12), "kd": "[1.5]"}
    data = complete_manifest("network", manifest(gains=None), metadata).data
    assert data["gains"] == {"kp": [30.0] * 12, "kd": 1.5}


def test_lerobot_metadata_have_no_joint_names() -> None:
    metadata = {"kp": text([20] * 12), "kd": text([1] * 12), "default_angles": text([0.1] * 12), "action_scale": "0.5",
                "neutral_token": text([0] * 64)}
    data = complete_manifest("network", manifest(gains=None, default_pose=None, action=None), metadata).data
    assert data["gains"]["kp"] == [20.0] * 12 and data["default_pose"] == [0.1] * 12 and data["action"]["scale"] == 0.5


def test_numbers_of_the_manifest_count_and_a_difference_is_said() -> None:
    given = manifest(default_pose=list(np.linspace(-0.2, 0.2, 12)))
    completed = complete_manifest("network", given, BEYOND_MIMIC)
    assert completed.data == given and completed.taken == {}
    assert completed.differing == [
        "gains.kp is not what the network's own `joint_stiffness` says",
        "gains.kd is not what the network's own `joint_damping` says",
        "action.scale is not what the network's own `action_scale` says",
    ]


def test_numbers_that_the_manifest_names_replace_its_own() -> None:
    given = manifest(model={"metadata": {"kp": "joint_stiffness", "body": "anchor_body_name"}})
    completed = complete_manifest("network", given, BEYOND_MIMIC)
    assert completed.data["gains"]["kp"] == list(map(float, range(50, 62)))
    assert completed.data["gains"]["kd"] == given["gains"]["kd"]
    assert completed.data["model"] == {"metadata": {"body": "anchor_body_name"}}, "what is no number stays named"


def test_a_manifest_for_some_of_the_joints_takes_theirs_by_name() -> None:
    given = manifest(joints=LEGS[3:9], gains=None, default_pose=[0] * 6)
    completed = complete_manifest("network", given, BEYOND_MIMIC)
    assert completed.data["gains"]["kp"] == [53.0, 54.0, 55.0, 56.0, 57.0, 58.0]


@pytest.mark.parametrize("joints", [LEGS[::-1], [*LEGS, "waist_yaw_joint"], [*LEGS[:-1], "waist_yaw_joint"]])
def test_other_joints_or_another_order_are_refused(joints: list[str]) -> None:
    with pytest.raises(Refused, match="this network was trained for other joints or another order"):
        complete_manifest("network", manifest(joints=joints), BEYOND_MIMIC)


def test_numbers_that_do_not_fit_the_joints_are_refused() -> None:
    with pytest.raises(Refused, match="metadata joint_stiffness: expected a number, or 12, found 1,2,3"):
        complete_manifest("network", bare(), {**BEYOND_MIMIC, "joint_stiffness": "1,2,3"})
    with pytest.raises(Refused, match="metadata joint_damping"):
        complete_manifest("network", bare(), {**BEYOND_MIMIC, "joint_damping": "stiff"})


def test_gains_in_two_orders_are_refused() -> None:
    given = manifest(gains={"kp": list(range(12)), "kd": list(range(12)), "order": "motor"},
                     model={"metadata": {"kp": "joint_stiffness"}})
    with pytest.raises(Refused, match=r"gains\.kd: expected both gains from the network, or both in the manifest"):
        complete_manifest("network", given, BEYOND_MIMIC)
    given["model"]["metadata"]["kd"] = "joint_damping"
    assert "order" not in complete_manifest("network", given, BEYOND_MIMIC).data["gains"]


def test_a_published_network_ends_up_with_the_numbers_that_a_run_would_take() -> None:
    path = shared_data("policies/ppo_g1_29dof.onnx")
    shipped = load_manifest("holosoma-velocity")
    adopted = adopt_metadata(shipped, Model(path).metadata())
    data = json.loads(shipped.path.read_text("utf-8"))
    _, metadata = convert_onnx(path, data)
    completed = complete_manifest("network", data, metadata).data
    np.testing.assert_allclose(completed["gains"]["kp"], adopted.kp, rtol=1e-6)
    np.testing.assert_allclose(completed["gains"]["kd"], adopted.kd, rtol=1e-6)
    assert "metadata" not in completed["model"]


# ---- no network


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"hello world", b"{}", b"\x08\x08"])
def test_nonsense_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "policy.onnx").write_bytes(data)
    with pytest.raises(Refused, match="an ONNX, TorchScript or PyTorch file"):
        load_onnx(tmp_path / "policy.onnx")


def test_a_graph_that_does_not_hold_together_is_refused(tmp_path: Path) -> None:
    model = network()
    model.graph.node[0].input[1] = "nothing"
    (tmp_path / "policy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match="the ONNX checker accepts"):
        load_onnx(tmp_path / "policy.onnx")


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_network_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = save(network(), tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(Refused):
        convert_onnx(path, manifest())
