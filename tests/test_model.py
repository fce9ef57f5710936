"""Networks: buffers bound once, sizes that must fit, and state that lives from tick to tick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from runtime.controller import Controller
from runtime.errors import Refused
from runtime.manifest import CONTROLLERS, Manifest
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.state import RobotState
from tests import tiny_onnx
from tests.tiny_onnx import DOUBLE, FLOAT, INT64, STRING, node

N = 29


def linear(path: Path, size: int = 2 * N, joints: int = N) -> Path:
    """action = obs @ W, with W[i, i] = i + 1."""
    weights = np.zeros((size, joints))
    np.fill_diagonal(weights, np.arange(1, min(size, joints) + 1))
    return tiny_onnx.write(path / "linear.onnx", [node("MatMul", ["obs", "W"], ["action"])],
                           [("obs", FLOAT, (1, size))], [("action", FLOAT, (1, joints))], {"W": weights})


def recurrent(path: Path) -> Path:
    """action = h_in + obs = h_out: the running sum of what it has seen."""
    return tiny_onnx.write(
        path / "recurrent.onnx",
        [node("Add", ["obs", "h_in"], ["action"]), node("Identity", ["action"], ["h_out"])],
        [("obs", FLOAT, (1, N)), ("h_in", FLOAT, (1, N))],
        [("action", FLOAT, (1, N)), ("h_out", FLOAT, (1, N))],
    )


def manifest(path: Path, terms: list[Any], **changes: Any) -> Manifest:
    data = json.loads((CONTROLLERS / "twist2.json").read_text("utf-8"))
    data.update(inputs=[{"name": "obs", "blocks": [{"terms": terms}]}], default_pose=0.0,
                action={"scale": 1.0, "offset": 0.0}, **changes)
    (path / "controller.json").write_text(json.dumps(data), encoding="utf-8")
    return load_manifest(str(path))


def state(q: float) -> RobotState:
    out = RobotState(N)
    out.q[:] = q
    return out


def test_a_run_reads_the_bound_input_and_writes_the_bound_output(tmp_path: Path) -> None:
    model = Model(linear(tmp_path))
    action, before = model.outputs["action"], model.outputs["action"].ctypes.data
    for scale in (1, 2, -3):
        model.inputs["obs"][:] = scale
        model.run()
        np.testing.assert_allclose(action[0], scale * np.arange(1, N + 1))
    assert model.outputs["action"].ctypes.data == before


def test_several_inputs_and_outputs_of_several_types(tmp_path: Path) -> None:
    path = tiny_onnx.write(
        tmp_path / "many.onnx",
        [node("Cast", ["time_step"], ["t"], to=FLOAT), node("Add", ["obs", "t"], ["action"]),
         node("Identity", ["time_step"], ["echo"]), node("Cast", ["obs"], ["fine"], to=DOUBLE)],
        [("obs", FLOAT, (1, 3)), ("time_step", INT64, (1, 1))],
        [("action", FLOAT, (1, 3)), ("echo", INT64, (1, 1)), ("fine", DOUBLE, (1, 3))],
    )
    model = Model(path)
    assert {name: array.dtype for name, array in (model.inputs | model.outputs).items()} == {
        "obs": np.float32, "time_step": np.int64, "action": np.float32, "echo": np.int64, "fine": np.float64}
    model.inputs["obs"][0], model.inputs["time_step"][0] = [1, 2, 3], 40
    model.run()
    np.testing.assert_array_equal(model.outputs["action"], [[41, 42, 43]])
    np.testing.assert_array_equal(model.outputs["echo"], [[40]])
    np.testing.assert_array_equal(model.outputs["fine"], [[1, 2, 3]])


def test_a_symbolic_batch_is_one(tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "batch.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", FLOAT, ("batch", 4))], [("action", FLOAT, ("batch", 4))])
    assert Model(path).inputs["obs"].shape == (1, 4)


def test_the_exporters_notes_are_read(tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "noted.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", FLOAT, (1, 4))], [("action", FLOAT, (1, 4))], metadata={"joint_names": "a,b"})
    assert Model(path).metadata() == {"joint_names": "a,b"}


def test_a_tensor_of_texts_is_refused(tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "texts.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", STRING, (1, 4))], [("action", STRING, (1, 4))])
    with pytest.raises(Refused, match=r"tensor\(string\)"):
        Model(path)


@pytest.mark.parametrize("part", [0.0, 0.2, 0.7, 0.99])
def test_a_truncated_model_is_refused(tmp_path: Path, part: float) -> None:
    path = linear(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(Refused, match="an ONNX network this onnxruntime can load") as refusal:
        Model(path)
    assert "damaged" in refusal.value.what_to_do


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        Model(tmp_path / "nothing.onnx")


def test_a_backend_that_is_not_there_is_refused_not_replaced(tmp_path: Path) -> None:
    import onnxruntime as ort

    for backend, provider in (("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")):
        if provider in ort.get_available_providers():
            continue
        with pytest.raises(Refused, match=f"expected {provider}") as refusal:
            Model(linear(tmp_path), backend)
        assert "--backend cpu" in refusal.value.what_to_do


def test_a_model_of_another_size_is_refused_with_the_layout(tmp_path: Path) -> None:
    terms = [{"term": "joint_pos"}, {"term": "joint_vel", "scale": 0.05, "label": "speeds"}, {"term": "base_ang_vel"}]
    with pytest.raises(Refused) as refusal:
        Controller(manifest(tmp_path, terms), Model(linear(tmp_path)))
    table = [line.split() for line in refusal.value.expected.splitlines()[1:] if line.strip()]
    assert table == [["0", "29", "joint_pos"], ["29", "29", "speeds", "x", "0.05"], ["58", "3", "base_ang_vel"],
                     ["total", "61"]]
    assert refusal.value.found == "58 numbers"


def test_an_action_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="an action of 29 joints, found 28 numbers in output action"):
        Controller(manifest(tmp_path, [{"term": "joint_pos"}]), Model(linear(tmp_path, N, 28)))


@pytest.mark.parametrize(("changes", "words"), [
    ({"outputs": {"action": "actions"}}, "output actions"),
    ({"recurrent": [{"input": "hidden", "output": "action"}]}, "recurrent state hidden <- action"),
    ({"recurrent": [{"input": "obs", "output": "hidden"}]}, "no such tensors"),
])
def test_tensors_the_model_lacks_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        Controller(manifest(tmp_path, [{"term": "joint_pos"}], **changes), Model(linear(tmp_path, N)))


def test_another_input_name_or_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="1 inputs, found 2"):
        Controller(manifest(tmp_path, [{"term": "joint_pos"}]), Model(recurrent(tmp_path)))
    path = tiny_onnx.write(tmp_path / "other.onnx", [node("Identity", ["input"], ["action"])],
                           [("input", FLOAT, (1, N))], [("action", FLOAT, (1, N))])
    with pytest.raises(Refused, match="among input, found obs"):
        Controller(manifest(tmp_path, [{"term": "joint_pos"}]), Model(path))


def test_a_controller_maps_its_action_through_scale_and_clip_onto_motors(tmp_path: Path) -> None:
    described = manifest(tmp_path, [{"term": "joint_pos"}])
    controller = Controller(described, Model(linear(tmp_path, N)))
    controller.tick(state(0.1))
    np.testing.assert_allclose(controller.action, 0.1 * np.arange(1, N + 1), rtol=1e-6)
    np.testing.assert_allclose(controller.target[described.motor_index, 0], controller.action, rtol=1e-6)


def recurrent_controller(path: Path) -> Controller:
    described = manifest(path, [{"term": "joint_pos"}], recurrent=[{"input": "h_in", "output": "h_out"}],
                         outputs={"action": "action"})
    return Controller(described, Model(recurrent(path)))


def test_recurrent_state_goes_from_tick_to_tick(tmp_path: Path) -> None:
    controller = recurrent_controller(tmp_path)
    sums = []
    for q in (1, 2, 4):
        controller.tick(state(q))
        sums.append(float(controller.action[0]))
    assert sums == [1, 3, 7]


def test_recurrent_state_is_forgotten_at_reset(tmp_path: Path) -> None:
    controller = recurrent_controller(tmp_path)
    controller.tick(state(5))
    controller.reset()
    assert not controller.action.any()
    controller.tick(state(1))
    assert controller.action[0] == 1


def test_an_output_is_seen_at_the_next_tick_and_forgotten_at_reset(tmp_path: Path) -> None:
    path = tiny_onnx.write(
        tmp_path / "estimator.onnx",
        [node("MatMul", ["obs", "W"], ["action"]), node("Identity", ["action"], ["estimate"])],
        [("obs", FLOAT, (1, 2 * N))], [("action", FLOAT, (1, N)), ("estimate", FLOAT, (1, N))],
        {"W": np.concatenate([np.eye(N), np.zeros((N, N))])},
    )
    terms = [{"term": "joint_pos"}, {"term": "model_output", "output": "estimate"}]
    controller = Controller(manifest(tmp_path, terms), Model(path))
    seen = []
    for q in (3, 4, 5):
        controller.tick(state(q))
        seen.append(float(controller.observations[0][0].values[N]))
    assert seen == [0, 3, 4]
    controller.reset()
    controller.tick(state(6))
    assert controller.observations[0][0].values[N] == 0


def test_a_whole_number_input_takes_the_time_step(tmp_path: Path) -> None:
    path = tiny_onnx.write(
        tmp_path / "clocked.onnx",
        [node("Cast", ["time_step"], ["t"], to=FLOAT), node("Add", ["obs", "t"], ["action"])],
        [("obs", FLOAT, (1, N)), ("time_step", INT64, (1, 1))], [("action", FLOAT, (1, N))],
    )
    described = manifest(tmp_path, [{"term": "joint_pos"}])
    data = json.loads((tmp_path / "controller.json").read_text("utf-8"))
    data["inputs"].append({"name": "time_step", "blocks": [{"terms": [{"term": "time_step"}]}]})
    (tmp_path / "controller.json").write_text(json.dumps(data), encoding="utf-8")
    described = load_manifest(str(tmp_path))
    controller = Controller(described, Model(path))
    for step in (0, 1, 250):
        controller.inputs.step[0] = step
        controller.tick(state(0.5))
        assert controller.action[0] == step + 0.5
