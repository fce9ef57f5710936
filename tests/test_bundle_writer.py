"""Writing bundles: hashes, card, cost, and an output folder that is only ever a whole bundle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

import onnx

from export.bundle_writer import write_bundle
from export.onnx_cost import measure_cost
from export.plausible import plausible_ticks
from runtime.admission import Admitted, admit
from runtime.bundle import open_bundle
from runtime.errors import Refused
from runtime.golden import record, unpack
from runtime.policy import open_admitted
from tests import tiny_bundle, tiny_onnx
from tests.tiny_bundle import SIZE, N, manifest, network
from tests.tiny_onnx import FLOAT, node


def test_every_file_the_manifest_names_gets_its_hash(tmp_path: Path) -> None:
    data = manifest()
    data["model"]["metadata"] = {}
    bundle = open_bundle(tiny_bundle.make(tmp_path, data, more={"licences/weights.txt": b"theirs"}))
    written = json.loads(bundle.files["controller.json"])
    assert written["model"]["sha256"] == bundle.listing.files["policy.onnx"].sha256
    assert "sha256" not in data["model"], "the caller's manifest was changed"
    assert bundle.files["licences/weights.txt"] == b"theirs"
    assert sorted(bundle.files) == [
        "CARD.md", "controller.json", "golden.npz", "licences/weights.txt", "policy.onnx"]


def test_golden_vectors_tolerances_card_and_provenance_may_be_given(tmp_path: Path) -> None:
    controller = open_admitted(admit(str(tiny_bundle.make(tmp_path / "first"))))
    golden = record(controller, plausible_ticks(controller, 3, seed=9))
    bundle = open_bundle(tiny_bundle.make(
        tmp_path / "second", golden=golden, tolerances={"action": 1e-3, "action_fp16": 0.02}, card="# mine\n",
        provenance={"data": "four walks"},
    ))
    assert len(unpack(bundle.files["golden.npz"])["action"]) == 3
    assert bundle.listing.tolerances == {"observation": 1e-5, "action": 1e-3, "action_fp16": 0.02}
    assert bundle.files["CARD.md"] == b"# mine\n"
    assert bundle.listing.provenance["data"] == "four walks"


def test_golden_vectors_of_another_controller_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    controller = open_admitted(admit(str(tiny_bundle.make(tmp_path / "first"))))
    golden = record(controller, plausible_ticks(controller, 3, seed=9))
    golden["action"] += 1
    with pytest.raises(Refused, match="golden vectors of bundle tiny"):
        tiny_bundle.make(tmp_path / "second", golden=golden)
    assert os.listdir(tmp_path / "second") == ["policy.onnx"]


def test_the_card_says_what_a_person_wants_to_know(tmp_path: Path) -> None:
    card = open_bundle(tiny_bundle.make(tmp_path, manifest(description="a | tiny one"))).files["CARD.md"].decode()
    for words in (
        "# tiny\n", "a \\| tiny one", "amazon-far/holosoma", "Apache-2.0", "g1_29dof", "vx m/s -1 to 1",
        f"{SIZE * N:,}", f"{2 * SIZE * N + N:,}", "us (median", "   58    29  last_action", "total 90",
        "| `left_knee_joint` | 0.669 | 0.25 | 0.669 | 99.0984 | 6.3088 |", "32 ticks", "observation 1e-05",
        "exoactor export bundle verify",
    ):
        assert words in card


def test_a_bundle_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    tiny_bundle.make(tmp_path)
    again = open_bundle(tiny_bundle.make(tmp_path, manifest(description="again")))
    assert b"again" in again.files["controller.json"]
    assert sorted(os.listdir(tmp_path)) == ["policy.onnx", "tiny"]
    for name in ("folder", "file", "link"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "tiny").mkdir()
    (tmp_path / "folder" / "tiny" / "thesis.txt").write_text("x")
    (tmp_path / "file" / "tiny").write_text("x")
    (tmp_path / "link" / "tiny").symlink_to(tmp_path / "tiny")
    for name in ("folder", "file", "link"):
        with pytest.raises(Refused, match="expected a new or empty folder, or a bundle to be replaced"):
            tiny_bundle.make(tmp_path / name)
    assert (tmp_path / "folder" / "tiny" / "thesis.txt").read_text() == "x"


def test_a_write_that_fails_leaves_the_bundle_that_was_there(tmp_path: Path) -> None:
    bundle = tiny_bundle.make(tmp_path)
    before = (bundle / "bundle.json").read_bytes()
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(Refused, match="an ONNX network"):
        write_bundle(bundle, manifest(), {"policy.onnx": tmp_path / "bad.onnx"})
    assert (bundle / "bundle.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["bad.onnx", "policy.onnx", "tiny"]


@pytest.mark.parametrize(("change", "files", "words"), [
    ({"model": {}}, {}, "expected model.file"),
    ({"model": {"file": "other.onnx"}}, {}, "expected files among policy.onnx, found other.onnx"),
    ({}, {"CARD.md": b""}, "the writer makes these itself"),
    ({}, {"../x": b""}, "expected a plain relative path"),
    ({}, {"a b": b""}, "expected a plain relative path"),
])
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, Any], files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        tiny_bundle.make(tmp_path, {**manifest(), **change}, files)
    assert sorted(os.listdir(tmp_path)) == ["policy.onnx"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="expected a readable file, found No such file"):
        write_bundle(tmp_path / "b", manifest(), {"policy.onnx": tmp_path / "none.onnx"})


def test_a_network_with_weights_in_other_files_is_refused(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "policy.onnx"))
    onnx.save(model, tmp_path / "spread.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(Refused, match="weights in files beside it"):
        write_bundle(tmp_path / "b", manifest(), {"policy.onnx": tmp_path / "spread.onnx"})


def test_a_robot_s_description_travels_with_its_controller(tmp_path: Path) -> None:
    robot = json.loads((Path(open_admitted.__code__.co_filename).parent / "robots" / "g1_29dof.json").read_text())
    robot["name"] = "lab_robot"
    bundle = tiny_bundle.make(tmp_path, manifest(robot="lab.json"), {"lab.json": json.dumps(robot).encode()})
    admitted = admit(str(bundle))
    assert admitted.manifest.robot.name == "lab_robot"
    (bundle / "lab.json").write_text("{}")
    with pytest.raises(Refused, match=r"file lab\.json of bundle tiny"):
        admit(str(bundle))
    assert open_admitted(admitted).manifest.robot.name == "lab_robot"


def test_the_local_key_is_made_trusted_and_spoken_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXOACTOR_CONFIG", str(tmp_path / "config"))
    bundle = tiny_bundle.make(tmp_path)
    said = capsys.readouterr().err
    assert f"made a signing key, {tmp_path / 'config' / 'signing_key'}: keep it private" in said
    assert admit(str(bundle)).bundle is not None
    tiny_bundle.make(tmp_path)
    assert capsys.readouterr().err == ""


# ---- what a network costs


def cost(path: Path, *args: Any) -> tuple[int, int, tuple[str, ...]]:
    found = measure_cost(tiny_onnx.write(path / "x.onnx", *args).read_bytes())
    return found.parameters, found.flops, found.uncounted


def test_matrix_products_count_two_and_other_operators_one_a_number(tmp_path: Path) -> None:
    assert cost(
        tmp_path, [node("Gemm", ["x", "W", "b"], ["h"], transB=1), node("Tanh", ["h"], ["t"]),
                   node("Identity", ["t"], ["y"])],
        [("x", FLOAT, ("batch", 5))], [("y", FLOAT, ("batch", 3))], {"W": np.zeros((3, 5)), "b": np.zeros(3)},
    ) == (18, 2 * 15 + 3, ())


def test_convolutions_count_their_kernels(tmp_path: Path) -> None:
    assert cost(
        tmp_path, [node("Conv", ["x", "W"], ["y"])], [("x", FLOAT, (1, 2, 10))], [("y", FLOAT, (1, 4, 8))],
        {"W": np.zeros((4, 2, 3))},
    ) == (24, 2 * (4 * 8) * (2 * 3), ())


def test_recurrent_cells_count_their_gates(tmp_path: Path) -> None:
    assert cost(
        tmp_path, [node("LSTM", ["x", "W", "R"], ["y"], hidden_size=4)], [("x", FLOAT, (1, 1, 3))],
        [("y", FLOAT, (1, 1, 1, 4))], {"W": np.zeros((1, 16, 3)), "R": np.zeros((1, 16, 4))},
    ) == (48 + 64, 2 * 4 * 4 * (3 + 4), ())


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(Refused, match="expected an ONNX network"):
        measure_cost(b"no network")


def test_an_open_controller_needs_no_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle.make(tmp_path)
    assert open_admitted(Admitted(admit(str(bundle)).manifest, None, "")).action.shape == (N,)
