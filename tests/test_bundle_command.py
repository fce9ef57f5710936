"""`exoactor export bundle`, and what `run` and `check` say of bundles, as typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

import exoactor
from runtime import manifest as manifest_module
from runtime.log_file import read_log
from runtime.manifest import controller_names
from runtime.preflight import Check, check_controller
from runtime.settings import RunSettings
from tests import tiny_bundle
from tests.tiny_bundle import edit


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle.make(tmp_path)


class Said:
    """What a command line printed, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: object) -> None:
        capsys.readouterr()
        self.code = exoactor.main([str(word) for word in words])
        self.out, self.err = capsys.readouterr()

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def test_verify_lists_every_check(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "export", "bundle", "verify", bundle, "--json")
    assert said.code == 0
    assert said.data["ok"] is True
    assert [check["check"] for check in said.data["checks"]] == [
        "bundle.json", "signature", "folder", "file CARD.md", "file controller.json", "file golden.npz",
        "file policy.onnx", "manifest", "golden vectors"]
    assert all(check["ok"] and check["expected"] and check["found"] for check in said.data["checks"])
    said = Said(capsys, "export", "bundle", "verify", bundle)
    assert said.code == 0
    assert said.out.count("ok ") == 9


def test_verify_goes_on_after_a_file_that_is_wrong(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("CARD.md", "policy.onnx"):
        data = (bundle / name).read_bytes()
        (bundle / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    said = Said(capsys, "export", "bundle", "verify", bundle, "--json")
    assert said.code == 2
    bad = {check["check"]: check["refusal"] for check in said.data["checks"] if not check["ok"]}
    assert list(bad) == ["file CARD.md", "file policy.onnx", "manifest", "golden vectors"]
    assert bad["file CARD.md"].startswith("file CARD.md of bundle tiny: expected sha256 ")
    said = Said(capsys, "export", "bundle", "verify", bundle)
    assert said.code == 2
    assert said.err.count("refused: file ") == 2
    assert "RED golden vectors           not looked at" in said.out


def test_verify_refuses_what_a_run_would_refuse(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "export", "bundle", "verify", bundle, "--robot", "g1_23dof")
    assert (said.code, "expected a controller for g1_23dof, found one for g1_29dof" in said.err) == (2, True)
    (bundle / "bundle.sig").unlink()
    said = Said(capsys, "export", "bundle", "verify", bundle, "--json")
    assert said.code == 2
    assert [check["check"] for check in said.data["checks"] if not check["ok"]] == ["signature"]
    (bundle / "bundle.json").unlink()
    said = Said(capsys, "export", "bundle", "verify", bundle)
    assert (said.code, "expected a bundle.json that lists its files" in said.err) == (2, True)


@pytest.mark.parametrize("words", [("verify", "no-such"), ("verify", "."), ("inspect", "no-such"), ("sign", "no-such")])
def test_what_is_no_bundle_is_refused(
    words: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = Said(capsys, "export", "bundle", *words)
    assert said.code == 2
    assert said.err.startswith("refused: ")


def test_inspect_shows_what_is_inside_and_that_it_is_not_trusted(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = Said(capsys, "export", "bundle", "inspect", bundle)
    assert said.code == 0
    assert "NOT TRUSTED" not in said.out
    monkeypatch.setenv("EXOACTOR_CONFIG", str(tmp_path / "elsewhere"))
    (bundle / "policy.onnx").write_bytes(b"x")
    (bundle / "extra").write_bytes(b"x")
    said = Said(capsys, "export", "bundle", "inspect", bundle)
    assert said.code == 0
    assert said.out.startswith("NOT TRUSTED")
    assert "NOT AS LISTED: file policy.onnx" in said.out
    assert "NOT AS LISTED: file extra" in said.out
    data = Said(capsys, "export", "bundle", "inspect", bundle, "--json").data
    assert data["trusted"] is False
    assert data["files"]["CARD.md"]["state"] == "as listed"


def test_somebody_else_s_text_cannot_steer_the_terminal(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(bundle, "bundle.json", lambda listing: listing.update(name="\x1b[2Jok"))
    said = Said(capsys, "export", "bundle", "inspect", bundle)
    assert "\x1b" not in said.out + said.err
    assert "?[2Jok" in said.out


def test_sign_says_what_changed_and_what_a_robot_would_still_refuse(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(bundle, "controller.json", lambda manifest: manifest["action"].update(scale=0.3))
    said = Said(capsys, "export", "bundle", "sign", bundle)
    assert said.code == 0
    assert "changed since it was last listed: controller.json" in said.out
    assert "WARNING: a robot will still refuse it: golden vectors of bundle tiny" in said.err
    assert Said(capsys, "export", "bundle", "verify", bundle).code == 2
    said = Said(capsys, "export", "bundle", "sign", bundle, "--new-golden")
    assert (said.code, said.err) == (0, "")
    assert Said(capsys, "export", "bundle", "verify", bundle).code == 0


def test_a_key_goes_from_one_computer_to_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXOACTOR_CONFIG", str(tmp_path / "laptop"))
    said = Said(capsys, "export", "bundle", "keygen", "--comment", "lab laptop")
    assert said.code == 0
    (public,) = (tmp_path / "laptop" / "trusted-keys").glob("*.pub")
    assert str(public) in said.out
    assert (tmp_path / "laptop" / "signing_key").read_text().split()[1] not in said.out
    bundle = tiny_bundle.make(tmp_path)
    monkeypatch.setenv("EXOACTOR_CONFIG", str(tmp_path / "robot"))
    assert Said(capsys, "export", "bundle", "verify", bundle).code == 2
    said = Said(capsys, "export", "bundle", "trust", public)
    assert (said.code, "(lab laptop) are trusted on this computer" in said.out) == (0, True)
    assert Said(capsys, "export", "bundle", "verify", bundle).code == 0
    assert not (tmp_path / "robot" / "signing_key").exists()


def test_a_shipped_bundle_is_found_by_its_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "controllers"
    shutil.copytree(bundle, shipped / "walker")
    (shipped / "bare.json").write_text("{}")
    monkeypatch.setattr(manifest_module, "CONTROLLERS", shipped)
    monkeypatch.chdir(tmp_path)
    assert controller_names() == ["bare", "walker"]
    assert Said(capsys, "export", "bundle", "verify", "walker").code == 0
    assert manifest_module.find_manifest("walker") == shipped / "walker" / "controller.json"


# ---- run and check


def settings(bundle: Path, **changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": str(bundle), "robot": "", "model": None, "clip": None, "command": (0.0, 0.0, 0.0),
        "duration_s": None, "target": "sim", "domain": 0, "interface": None, "peers": (), "out": "", **changes})


def checks(bundle: Path, **changes: Any) -> dict[str, Check]:
    return {check.check: check for check in check_controller(settings(bundle, **changes))}


def test_check_has_a_line_for_files_signature_and_golden_vectors(bundle: Path) -> None:
    found = checks(bundle)
    assert all(check.ok for check in found.values())
    assert found["controller signature"].measured.startswith("signed by ")
    assert found["golden vectors"].measured == "observation.0 0, action 0, target 0"
    (bundle / "bundle.sig").unlink()
    assert (checks(bundle)["controller signature"].ok, checks(bundle)["controller signature"].required) == (False, True)
    found = checks(bundle, allow_unsigned=True)
    assert (found["controller signature"].ok, found["controller signature"].required) == (False, False)
    assert found["golden vectors"].ok
    (bundle / "CARD.md").write_text("x")
    assert list(checks(bundle, allow_unsigned=True)) == ["file CARD.md of bundle tiny"]


@pytest.mark.parametrize(("target", "allow", "ok", "required"), [
    ("sim", False, True, True), ("g1", False, False, True), ("g1", True, False, False)])
def test_check_tells_a_bare_manifest_that_it_moves_no_real_robot(
    tmp_path: Path, target: str, allow: bool, ok: bool, required: bool
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(tiny_bundle.manifest()))
    tiny_bundle.network(tmp_path / "policy.onnx")
    found = checks(tmp_path / "m.json", target=target, allow_unsigned=allow)
    assert (found["controller signature"].ok, found["controller signature"].required) == (ok, required)
    assert found["model"].ok


def run(capsys: pytest.CaptureFixture[str], bundle: Path, *words: object) -> Said:
    return Said(capsys, "run", "--controller", bundle, "--out", bundle.parent / "out", *words)


def test_an_unsigned_run_is_loud_and_leaves_it_in_log_and_report(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    (bundle / "bundle.sig").unlink()
    out = bundle.parent / "out"
    said = run(capsys, bundle, "--lockstep", "--duration", 0.1)
    assert said.code == 2
    assert "refused: bundle tiny: expected a signature by a trusted key, found no signature" in said.err
    assert json.loads((out / "report.json").read_text())["refusal"]["found"].startswith("no signature")
    said = run(capsys, bundle, "--lockstep", "--duration", 0.1, "--allow-unsigned")
    assert said.code in (0, 1)  # it falls: nobody taught it to stand
    line = "bundle tiny has no signature (bundle.sig is missing); --allow-unsigned lets it run"
    assert f"WARNING: {line}" in said.err
    assert json.loads((out / "report.json").read_text())["warnings"] == [line]
    about = read_log(out / "log.mcap").about
    assert (about["allow_unsigned"], about["trust"]) == (True, "no signature (bundle.sig is missing)")


def test_a_signed_run_needs_no_word_and_is_logged_with_its_key(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    said = run(capsys, bundle, "--lockstep", "--duration", 0.1)
    assert "WARNING" not in said.err
    assert json.loads((bundle.parent / "out" / "report.json").read_text())["warnings"] == []
    about = read_log(bundle.parent / "out" / "log.mcap").about
    assert (about["allow_unsigned"], about["trust"][:10]) == (False, "signed by ")


def test_a_real_robot_is_not_moved_by_a_bare_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(tiny_bundle.manifest()))
    said = run(capsys, path, "--robot", "g1", "--interface", "lo")
    assert said.code == 2
    assert "expected a signed bundle, to move a real robot" in said.err
