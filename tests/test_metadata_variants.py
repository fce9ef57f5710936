"""Metadata as other versions of an exporter write them: read all the same, or refused with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

import exoactor
from export.network_metadata import complete_manifest
from export.onnx_draft import Tensors, draft_from
from runtime.errors import Refused
from runtime.model_metadata import parse_list
from runtime.robot import load_robot
from tests import tiny_onnx
from tests.tracker_networks import BODIES, beyond_mimic, make_motion

G1 = load_robot("g1_29dof")
NAMES = list(G1.order.names)
POSE = np.linspace(-0.2, 0.2, 29)
INPUTS = {"obs": 154, "time_step": 1}
OUTPUTS = {"actions": 29, "joint_pos": 29, "joint_vel": 29, "body_pos_w": 12, "body_quat_w": 16}
METADATA = {
    "joint_names": ",".join(NAMES), "joint_stiffness": ",".join(["40.5"] * 29), "joint_damping": ",".join(["1.5"] * 29),
    "default_joint_pos": ",".join(f"{x:.3f}" for x in POSE), "action_scale": ",".join(["0.4"] * 29),
    "command_names": "motion", "anchor_body_name": "torso_link", "body_names": ",".join(BODIES),
    "observation_names": "command,motion_anchor_ori_b,base_ang_vel,joint_pos,joint_vel,actions",
}


def network(metadata: dict[str, str], inputs: dict[str, int] | None = None, outputs: dict[str, int] | None = None
            ) -> Tensors:
    return Tensors(inputs or INPUTS, outputs or OUTPUTS, metadata)


def drafted(metadata: dict[str, str], **tensors: Any) -> dict[str, Any]:
    return draft_from(network(metadata, **tensors), "mine", None, None).data


def words(text: str) -> list[Any]:
    return [part if part[0].isalpha() else float(part) for part in text.split(",")]


STYLES: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps(words(text)),
    "python": lambda text: str(words(text)),
    "tuple": lambda text: str(tuple(words(text))),
    "numpy": lambda text: str(np.array(words(text))).replace("...", ""),
    "spaces": lambda text: text.replace(",", ", "),
    "comma at the end": lambda text: text + ",",
}


@pytest.mark.parametrize("style", STYLES)
def test_lists_may_be_written_in_any_of_the_usual_ways(style: str) -> None:
    several = {key: STYLES[style](text) if "," in text else text for key, text in METADATA.items()}
    assert drafted(several) == drafted(METADATA)


def test_a_list_of_one_and_an_empty_place_stay_what_they_are() -> None:
    assert parse_list("0.25") == [0.25]
    assert parse_list("torso_link") == ["torso_link"]
    assert parse_list("a,,b") == ["a", "", "b"]


@pytest.mark.parametrize(("ours", "theirs"), [
    ("joint_stiffness", "kp"), ("joint_stiffness", "stiffness"), ("joint_damping", "kd"),
    ("default_joint_pos", "default_angles"), ("default_joint_pos", "default_joint_positions"),
])
def test_other_spellings_of_a_key_are_read(ours: str, theirs: str) -> None:
    renamed = {theirs if key == ours else key: text for key, text in METADATA.items()}
    assert drafted(renamed) == drafted(METADATA)
    bare = {"joints": NAMES, "inputs": []}
    assert complete_manifest("network", bare, renamed).data == complete_manifest("network", bare, METADATA).data


def without(*keys: str) -> dict[str, str]:
    return {key: text for key, text in METADATA.items() if key not in keys}


def test_observations_that_only_the_size_tells_are_assumed_aloud() -> None:
    draft = draft_from(network(without("observation_names")), "mine", None, None)
    assert draft.data["inputs"] == drafted(METADATA)["inputs"]
    assert any("observations" in note for note in draft.notes)
    with pytest.raises(Refused, match="observation_names"):
        drafted(without("observation_names"), inputs={"obs": 157, "time_step": 1})


def test_an_anchor_that_is_not_named_is_assumed_aloud() -> None:
    draft = draft_from(network(without("anchor_body_name")), "mine", None, None)
    assert draft.data["reference"]["body"] == "torso_link"
    assert any("anchor" in note for note in draft.notes)


def test_an_anchor_that_the_robot_lacks_is_refused_with_the_way_out() -> None:
    with pytest.raises(Refused, match="export robot --anchor"):
        drafted({**METADATA, "anchor_body_name": "head_link"})


@pytest.mark.parametrize("lengths", ["None", "", "0,0,0,0,0,0", "1,1,1,1,1,1"])
def test_no_history_may_be_written_in_several_ways(lengths: str) -> None:
    assert drafted({**METADATA, "observation_history_lengths": lengths}) == drafted(METADATA)


def test_other_names_of_tensors_are_found_by_size() -> None:
    outputs = {"output" if name == "actions" else name: size for name, size in OUTPUTS.items()}
    data = drafted(METADATA, inputs={"observations": 154, "timestep": 1}, outputs=outputs)
    assert data["inputs"][0]["name"] == "observations"
    assert data["outputs"] == {"action": "output"}
    assert data["reference"]["time_step"] == "timestep"


@pytest.mark.parametrize(("metadata", "outputs", "said"), [
    (without("body_names"), OUTPUTS, "4 names"),
    (METADATA, {**OUTPUTS, "body_quat_w": 20}, "5 names"),
    (METADATA, {"actions": 29, "joint_pos": 29, "joint_vel": 29}, "no body_quat_w"),
    (without("action_scale"), OUTPUTS, "action_scale"),
    ({**METADATA, "joint_names": ",".join(f"robot/{name}" for name in NAMES)}, OUTPUTS, "by other names"),
    ({**METADATA, "joint_names": "tail_joint," + ",".join(NAMES[1:])}, OUTPUTS, "tail_joint, which g1_29dof"),
])
def test_what_cannot_be_guessed_is_refused_with_the_way_out(
    metadata: dict[str, str], outputs: dict[str, int], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        drafted(metadata, outputs=outputs)
    assert said in str(refused.value)
    assert "by hand" in refused.value.what_to_do


@pytest.fixture
def tracker(tmp_path: Path) -> Path:
    return beyond_mimic(
        tmp_path / "dance.onnx", make_motion(8, 29), NAMES, POSE, size=157,
        observations="command,motion_anchor_ori_b,base_lin_vel,base_ang_vel,joint_pos,joint_vel,actions",
    )


def exported(source: Path, *more: str) -> int:
    pytest.importorskip("onnx", reason="missing dependency: onnx")
    return exoactor.main(["export", "controller", "--from", str(source), "--out", str(source.parent / "b"), *more])


def test_a_network_that_sees_its_velocity_gets_an_estimator_without_a_manifest(
    tracker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(tracker, "--rate", "25") == 0
    content = json.loads((tracker.parent / "b" / "controller.json").read_text("utf-8"))
    assert (content["estimator"], content["rate_hz"]) == ("classical", 25)
    said = capsys.readouterr().err
    assert "`estimator` is classical" in said
    assert "--rate" not in said, "the rate was given"


def test_rate_and_robot_belong_into_a_manifest_where_there_is_one(
    tracker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(tracker, "--manifest", "m.json", "--robot", "g1_29dof") == 2
    assert "write it in the manifest" in capsys.readouterr().err


def test_a_motion_that_no_run_could_read_is_refused_at_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quaternions are of half length: found by reading the rows, as the run would."""
    motion = make_motion(8, 29)
    motion.body_quat[:] *= 0.5
    source = beyond_mimic(tmp_path / "dance.onnx", motion, NAMES, POSE)
    assert exported(source) == 2
    assert "unit quaternions" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
    assert exoactor.main(["export", "manifest", "--from", str(source), "--out", str(tmp_path / "m.json")]) == 2
    assert not (tmp_path / "m.json").exists()


def test_a_shipped_manifest_may_be_named_for_another_checkpoint_of_its_family(tmp_path: Path) -> None:
    weights = 0.001 * np.random.default_rng(0).normal(size=(1432, 29)).astype(np.float32)
    source = tiny_onnx.write(
        tmp_path / "other.onnx", [tiny_onnx.node("MatMul", ["obs", "W"], ["action"])],
        [("obs", tiny_onnx.FLOAT, (1, 1432))], [("action", tiny_onnx.FLOAT, (1, 29))], {"W": weights},
    )
    assert exported(source, "--manifest", "twist2", "--name", "other") == 0
    content = json.loads((tmp_path / "b" / "controller.json").read_text("utf-8"))
    assert (content["name"], content["model"]["file"]) == ("other", "policy.onnx")


def test_a_deployment_file_for_a_manifest_is_sent_to_the_job_that_reads_it(
    tracker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tracker.parent / "deploy.yaml").write_text("joint_ids_map: [0]\n", encoding="utf-8")
    assert exported(tracker, "--manifest", str(tracker.parent / "deploy.yaml")) == 2
    assert "exoactor export manifest --from" in capsys.readouterr().err
