"""Bundles: what was tampered with is refused, whatever it is, and says what it is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

import exoactor
from export.bundle_signing import sign_bundle
from runtime import signature
from runtime.admission import Admitted, admit
from runtime.bundle import MOST_BYTES, MOST_LISTING_BYTES, Bundle, open_bundle, parse_listing
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.policy import open_admitted, open_controller
from runtime.settings import RunSettings
from tests import tiny_bundle
from tests.tiny_bundle import N, edit, rehash

FILES = ("controller.json", "policy.onnx", "golden.npz", "CARD.md", "bundle.json", "bundle.sig")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.make(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A bundle of its own for each test, signed by a trusted key."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Another computer: it trusts nobody."""
    folder = tmp_path / "elsewhere"
    monkeypatch.setenv("EXOACTOR_CONFIG", str(folder))
    return folder


def load(bundle: Path, *, allow_unsigned: bool = False, target: str = "sim") -> tuple[Admitted, Controller]:
    """Open a bundle as a run does."""
    admitted = admit(str(bundle), target=target, allow_unsigned=allow_unsigned)
    return admitted, open_admitted(admitted)


def refusal(bundle: Path, **how: Any) -> str:
    with pytest.raises(Refused) as refused:
        load(bundle, **how)
    assert refused.value.what_to_do
    return str(refused.value)


def sign(bundle: Path) -> None:
    """List and sign it as it is, with the trusted key."""
    rehash(bundle)
    data = (bundle / "bundle.json").read_bytes()
    (bundle / "bundle.sig").write_bytes(signature.sign(data, signature.load_signing_key()))


def test_a_whole_bundle_is_opened_and_says_who_signed_it(bundle: Path) -> None:
    admitted, controller = load(bundle, target="g1")
    assert admitted.warnings == ()
    assert admitted.trust.startswith("signed by ")
    assert controller.manifest.name == "tiny"
    assert (controller.action == 0).all()  # golden vectors leave it as new


# ---- one byte


def flip(file: Path, place: int, mask: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= mask
    file.write_bytes(data)


@pytest.mark.parametrize("allow_unsigned", [False, True])
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused(bundle: Path, name: str, share: float, mask: int, allow_unsigned: bool) -> None:
    file = bundle / name
    flip(file, round(share * (file.stat().st_size - 1)), mask)
    words = refusal(bundle, allow_unsigned=allow_unsigned)
    if name in ("bundle.json", "bundle.sig"):
        assert words.startswith((f"bundle tiny, {name}", "signature of bundle tiny"))
    else:
        assert words.startswith(f"file {name} of bundle tiny: expected sha256 ")


@pytest.mark.parametrize("name", ["bundle.json", "bundle.sig"])
def test_no_byte_of_list_and_signature_may_change(bundle: Path, name: str) -> None:
    data = (bundle / name).read_bytes()
    for place in range(len(data)):
        for mask in (0x01, 0x20):
            (bundle / name).write_bytes(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            with pytest.raises(Refused):
                open_bundle(bundle)


# ---- a whole thing


def swap_terms(bundle: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        terms = manifest["inputs"][0]["blocks"][0]["terms"]
        terms[0], terms[1] = terms[1], terms[0]

    edit(bundle, "controller.json", change)


def of_another_robot(bundle: Path) -> None:
    edit(bundle, "bundle.json", lambda listing: listing.update(robot="g1_23dof"))
    sign(bundle)


def without_signature(bundle: Path) -> None:
    (bundle / "bundle.sig").unlink()


def with_link(bundle: Path) -> None:
    (bundle / "policy.onnx").rename(bundle.parent / "policy.onnx")
    (bundle / "policy.onnx").symlink_to(bundle.parent / "policy.onnx")


def with_linked_signature(bundle: Path) -> None:
    (bundle / "bundle.sig").rename(bundle.parent / "bundle.sig")
    (bundle / "bundle.sig").symlink_to(bundle.parent / "bundle.sig")


def with_pipe(bundle: Path) -> None:
    (bundle / "policy.onnx").unlink()
    os.mkfifo(bundle / "policy.onnx")


def with_folder(bundle: Path) -> None:
    (bundle / "policy.onnx").unlink()
    (bundle / "policy.onnx").mkdir()


def with_signature_of_another(bundle: Path) -> None:
    other = tiny_bundle.make(bundle.parent / "other", tiny_bundle.manifest(description="another"))
    shutil.copy(other / "bundle.sig", bundle)


def with_file_of_another(bundle: Path) -> None:
    other = tiny_bundle.make(bundle.parent / "other", tiny_bundle.manifest(description="another"))
    shutil.copy(other / "controller.json", bundle)


def listed(bundle: Path, name: str) -> None:
    """A listed, signed file of this name."""
    edit(bundle, "bundle.json", lambda listing: listing["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    data = (bundle / "bundle.json").read_bytes()
    (bundle / "bundle.sig").write_bytes(signature.sign(data, signature.load_signing_key()))


def swap_signed(bundle: Path) -> None:
    swap_terms(bundle)
    sign(bundle)


def with_other_hash_in_manifest(bundle: Path) -> None:
    edit(bundle, "controller.json", lambda manifest: manifest["model"].update(sha256="0" * 64))
    sign(bundle)


def with_robot_from_elsewhere(bundle: Path, name: str = "../robot.json") -> None:
    shutil.copy(Path(signature.__file__).parent / "robots" / "g1_29dof.json", bundle.parent / "robot.json")
    edit(bundle, "controller.json", lambda manifest: manifest.update(robot=name))
    sign(bundle)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "exchanged terms": (swap_terms, "file controller.json of bundle tiny: expected sha256"),
    "exchanged terms, signed": (swap_signed, "golden vectors of bundle tiny"),
    "of another robot": (of_another_robot, "expected a controller for g1_23dof, as bundle.json says"),
    "an extra file": (lambda b: (b / "notes.txt").write_text("x"), "file notes.txt of bundle tiny: expected only"),
    "a hidden file": (lambda b: (b / ".notes").write_text("x"), "file .notes of bundle tiny: expected only"),
    "a file in a folder": (
        lambda b: ((b / "more").mkdir(), (b / "more" / "x").write_text("x")), "file more/x of bundle tiny"),
    "a missing network": (lambda b: (b / "policy.onnx").unlink(), "file policy.onnx of bundle tiny: expected the file"),
    "a missing card": (lambda b: (b / "CARD.md").unlink(), "file CARD.md of bundle tiny: expected the file"),
    "a missing manifest": (lambda b: (b / "controller.json").unlink(), "expected a controller.json in the folder"),
    "a missing list": (lambda b: (b / "bundle.json").unlink(), "bundle tiny: expected a bundle.json"),
    "only golden vectors left": (
        lambda b: ((b / "bundle.json").unlink(), (b / "bundle.sig").unlink()), "bundle tiny: expected a bundle.json"),
    "a link": (with_link, "file policy.onnx of bundle tiny: expected a plain file, found a symbolic link"),
    "a linked signature": (with_linked_signature, "file bundle.sig of bundle tiny: expected a plain file"),
    "a pipe": (with_pipe, "file policy.onnx of bundle tiny: expected a plain file, found a device"),
    "a folder for a file": (with_folder, "file policy.onnx of bundle tiny: expected a plain file"),
    "a cut list": (lambda b: os.truncate(b / "bundle.json", 300), "bundle tiny, bundle.json, text: expected a JSON"),
    "a cut signature": (lambda b: os.truncate(b / "bundle.sig", 100), "bundle.sig, text: expected a JSON file"),
    "a cut network": (lambda b: os.truncate(b / "policy.onnx", 100), "file policy.onnx of bundle tiny: expected 10"),
    "a longer network": (
        lambda b: (b / "policy.onnx").write_bytes((b / "policy.onnx").read_bytes() + b"x"), "of bundle tiny: expected"),
    "a huge list": (
        lambda b: (b / "bundle.json").write_bytes(b" " * (MOST_LISTING_BYTES + 1)), "expected at most 1048576 bytes"),
    "a huge signature": (lambda b: (b / "bundle.sig").write_bytes(b" " * 5000), "expected at most 4096 bytes"),
    "a deep list": (lambda b: (b / "bundle.json").write_text("[" * 100_000), "bundle.json, text: expected a JSON"),
    "another bundle's signature": (with_signature_of_another, "signature of bundle tiny: expected one by key"),
    "another bundle's manifest": (with_file_of_another, "file controller.json of bundle tiny: expected"),
    "a listed path upwards": (lambda b: listed(b, "../x"), "expected a plain relative path, found '../x'"),
    "a listed path from the root": (lambda b: listed(b, "/etc/x"), "expected a plain relative path, found '/etc/x'"),
    "a listed list": (lambda b: listed(b, "bundle.json"), "expected a plain relative path"),
    "a manifest with another hash": (with_other_hash_in_manifest, "expected model.file and model.sha256 of a listed"),
    "a robot by a path": (
        lambda b: with_robot_from_elsewhere(b, str(b.parent / "robot")), "a file of the bundle, found /"),
    "a robot from elsewhere": (with_robot_from_elsewhere, "a file of the bundle, found ../robot.json"),
}


@pytest.mark.parametrize("allow_unsigned", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_what_was_tampered_with_is_refused_in_its_own_words(bundle: Path, case: str, allow_unsigned: bool) -> None:
    harm, words = WRONG[case]
    harm(bundle)
    assert words in refusal(bundle, allow_unsigned=allow_unsigned)


def test_each_kind_of_tampering_is_told_apart(whole: Path, tmp_path: Path) -> None:
    said = {}
    for case, (harm, _) in WRONG.items():
        folder = tmp_path / case / "tiny"
        shutil.copytree(whole, folder)
        harm(folder)
        said.setdefault(refusal(folder), []).append(case)
    shared = [cases for cases in said.values() if len(cases) > 1]
    assert shared == [["a missing list", "only golden vectors left"]], shared


# ---- whose it is


def test_an_unsigned_bundle_is_refused_unless_somebody_insists(bundle: Path) -> None:
    (bundle / "bundle.sig").unlink()
    assert "expected a signature by a trusted key, found no signature" in refusal(bundle)
    admitted, _ = load(bundle, allow_unsigned=True)
    assert admitted.warnings == ("bundle tiny has no signature (bundle.sig is missing); --allow-unsigned lets it run",)


def test_a_bundle_by_a_key_nobody_here_trusts_is_refused_unless_somebody_insists(bundle: Path, elsewhere: Path) -> None:
    key_id = json.loads((bundle / "bundle.sig").read_text())["key_id"]
    assert f"found a signature by key {key_id}, which nobody here trusts" in refusal(bundle)
    admitted, _ = load(bundle, allow_unsigned=True)
    assert key_id in admitted.warnings[0]


def test_a_bundle_is_opened_where_its_key_was_brought_to(
    bundle: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = json.loads((bundle / "bundle.sig").read_text())["key_id"]
    monkeypatch.undo()
    public = signature.config_folder() / "trusted-keys" / f"{key_id}.pub"
    monkeypatch.setenv("EXOACTOR_CONFIG", str(elsewhere))
    assert exoactor.main(["export", "bundle", "trust", str(public)]) == 0
    assert load(bundle)[0].warnings == ()


def test_a_robot_that_is_no_g1_is_not_the_real_one_s(bundle: Path, tmp_path: Path) -> None:
    robot = json.loads((Path(signature.__file__).parent / "robots" / "g1_29dof.json").read_text())
    robot["name"] = "h1_29dof"
    data = tiny_bundle.manifest(robot="robot.json")
    other = tiny_bundle.make(tmp_path / "h1", data, more={"robot.json": json.dumps(robot).encode()})
    assert load(other)[1].manifest.robot.name == "h1_29dof"
    assert "expected one for --robot g1, found one for h1_29dof" in refusal(other, target="g1")


@pytest.mark.parametrize("target", ["sim", "g1"])
def test_a_bare_manifest_moves_only_simulated_robots(tmp_path: Path, target: str) -> None:
    (tmp_path / "m.json").write_text(json.dumps(tiny_bundle.manifest()), encoding="utf-8")
    path = str(tmp_path / "m.json")
    if target == "sim":
        assert admit(path).warnings == ()
        return
    with pytest.raises(Refused, match="expected a signed bundle, to move a real robot, found a manifest without"):
        admit(path, target=target)
    assert "--allow-unsigned" in admit(path, target=target, allow_unsigned=True).warnings[0]


# ---- what was checked is what is used


def test_what_is_changed_after_the_check_is_not_what_runs(bundle: Path) -> None:
    admitted = admit(str(bundle))
    flip(bundle / "policy.onnx", 5000, 0x01)
    (bundle / "controller.json").write_text("{}", encoding="utf-8")
    assert open_admitted(admitted).manifest.name == "tiny"


def test_a_run_opens_a_bundle_with_no_model_but_its_own(bundle: Path, tmp_path: Path) -> None:
    other = tiny_bundle.network(tmp_path / "other.onnx", seed=1)
    with pytest.raises(Refused, match="expected sha256"):
        open_admitted(admit(str(bundle)), str(other))
    same = shutil.copy(bundle / "policy.onnx", tmp_path / "same.onnx")
    assert open_admitted(admit(str(bundle)), str(same)).manifest.name == "tiny"


def test_a_verified_network_takes_no_weights_from_the_working_directory(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.chdir(tmp_path)
    onnx.save(onnx.load(bundle / "policy.onnx"), "spread.onnx", save_as_external_data=True, location="w.bin",
              size_threshold=0)
    shutil.move("spread.onnx", bundle / "policy.onnx")
    digest = hashlib.sha256((bundle / "policy.onnx").read_bytes()).hexdigest()
    edit(bundle, "controller.json", lambda manifest: manifest["model"].update(sha256=digest))
    sign(bundle)
    assert "an ONNX network this onnxruntime can load" in refusal(bundle)


def test_open_controller_verifies_by_itself(bundle: Path) -> None:
    settings = RunSettings(str(bundle), "", None, None, (0.0, 0.0, 0.0), None, "sim", 0, None, (), "")
    manifest = admit(str(bundle)).manifest
    assert open_controller(manifest, settings).manifest.name == "tiny"
    flip(bundle / "policy.onnx", 5000, 0x01)
    with pytest.raises(Refused, match="sha256"):
        open_controller(manifest, settings)


def test_golden_vectors_hold_to_the_bundle_s_own_tolerance(bundle: Path, tmp_path: Path) -> None:
    edit(bundle, "controller.json", lambda manifest: manifest["action"].update(scale=0.251))
    sign(bundle)
    assert "in target at tick 0" in refusal(bundle)
    edit(bundle, "bundle.json", lambda listing: listing["tolerances"].update(action=0.01))
    sign(bundle)
    load(bundle)


def test_a_precision_has_a_tolerance_of_its_own(bundle: Path) -> None:
    from runtime.admission import check_golden

    edit(bundle, "controller.json", lambda manifest: manifest["action"].update(scale=0.251))
    edit(bundle, "bundle.json", lambda listing: listing["tolerances"].update(action_fp16=0.01))
    sign(bundle)
    admitted = admit(str(bundle))
    controller = open_admitted(Admitted(admitted.manifest, None, ""))
    assert isinstance(admitted.bundle, Bundle)
    with pytest.raises(Refused, match="golden"):
        check_golden(admitted.bundle, controller)
    controller.model.backend = "engine-fp16"
    check_golden(admitted.bundle, controller)
    controller.model.backend = "cuda"
    with pytest.raises(Refused, match="golden"):
        check_golden(admitted.bundle, controller)


# ---- parsers


LISTING = {
    "schema": "exoactor-bundle/1", "name": "x", "robot": "g1_29dof", "created_utc": "2030-01-01T00:00:00Z",
    "tolerances": {"observation": 1e-5, "action": 1e-4}, "provenance": {},
    "files": {name: {"sha256": "0" * 64, "bytes": 1} for name in ("controller.json", "golden.npz")},
}


def test_the_listing_of_these_tests_is_a_right_one() -> None:
    assert parse_listing(json.dumps(LISTING).encode(), "x").name == "x"


@pytest.mark.parametrize(("key", "value"), [
    ("schema", "exoactor-bundle/2"), ("name", ""), ("robot", 3), ("tolerances", {}), ("tolerances", None),
    ("tolerances", {"observation": 1e-5, "action": 2}), ("tolerances", {"observation": -1, "action": 1}),
    ("files", []), ("files", None), ("files", {}), ("files", {**LISTING["files"], "a\\b": LISTING["files"]}),
    ("files", {**LISTING["files"], "x": {"sha256": "A" * 64, "bytes": 1}}),
    ("files", {**LISTING["files"], "x": {"sha256": "0" * 64, "bytes": MOST_BYTES}}),
    ("files", {**LISTING["files"], "x": {"sha256": "0" * 64, "bytes": -1}}),
    ("files", {**LISTING["files"], "x": {"sha256": "0" * 64, "bytes": True}}),
    ("files", {**LISTING["files"], **{f"x{i}": {"sha256": "0" * 64, "bytes": 1} for i in range(63)}}),
    ("provenance", []), ("more", 1),
])
def test_a_listing_that_is_not_one_is_refused(key: str, value: Any) -> None:
    with pytest.raises(Refused, match=r"^x, bundle\.json, "):
        parse_listing(json.dumps({**LISTING, key: value}).encode(), "x")


@pytest.mark.parametrize("text", ['{"schema": 1, "schema": 2}', '{"a": NaN}', "\xff", "", "null", '{"a": 1} x'])
def test_json_is_read_strictly(text: str) -> None:
    with pytest.raises(Refused, match=r"^x, bundle\.json, "):
        parse_listing(text.encode("latin-1"), "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_the_parsers_refuse_whatever_is_none(data: bytes) -> None:
    for parse in (lambda: parse_listing(data, "x"), lambda: signature.check(b"", data, "x")):
        with pytest.raises(Refused):
            parse()


@given(st.sampled_from(sorted(LISTING)), JSON)
def test_any_value_at_any_key_is_read_or_refused(key: str, value: Any) -> None:
    try:
        parse_listing(json.dumps({**LISTING, key: value}).encode(), "x")
    except Refused as error:
        assert key in str(error) or "NaN" in str(error) or "Infinity" in str(error)


# ---- signed again after an edit


def test_an_edit_is_signed_and_said_to_be_refused_until_golden_vectors_are_new(bundle: Path) -> None:
    swap_terms(bundle)
    signed = sign_bundle(bundle)
    assert signed.changed == ["controller.json"]
    assert "golden vectors" in signed.objection
    assert "golden vectors of bundle tiny" in refusal(bundle)
    before = np.load(bundle / "golden.npz")["state"]
    assert sign_bundle(bundle, new_golden=True).objection == ""
    assert (np.load(bundle / "golden.npz")["state"] == before).all()
    assert load(bundle)[1].action.shape == (N,)


def test_another_network_gets_its_hash_into_the_manifest(bundle: Path) -> None:
    tiny_bundle.network(bundle / "policy.onnx", seed=5)
    (bundle / "notes.txt").write_text("x", encoding="utf-8")
    signed = sign_bundle(bundle, new_golden=True)
    assert (signed.changed, signed.added, signed.objection) == (
        ["controller.json", "golden.npz", "policy.onnx"], ["notes.txt"], "")
    load(bundle)
