"""Keys and signatures: whose they are, who may read them, and what they are over."""

from __future__ import annotations

import builtins
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nacl", reason="missing dependency: PyNaCl")

from runtime import signature
from runtime.errors import Refused
from runtime.signature import check, load_signing_key, make_signing_key, sign, trust, trusted_keys

DATA = b"what is signed"


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A computer without keys."""
    monkeypatch.setenv("EXOACTOR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(signature, "SHIPPED", tmp_path / "shipped")
    yield tmp_path / "config"


def forget(config: Path) -> None:
    """Trust nobody any more."""
    for path in (config / "trusted-keys").glob("*.pub"):
        path.unlink()


def test_a_key_is_made_private_and_its_public_half_trusted(config: Path) -> None:
    key, public = make_signing_key("lab laptop")
    assert stat.S_IMODE((config / "signing_key").stat().st_mode) == 0o600
    assert public == config / "trusted-keys" / f"{key.key_id}.pub"
    assert trusted_keys() == {key.key_id: key}
    assert str(key) == f"{key.key_id} (lab laptop)"
    signed = check(DATA, sign(DATA, load_signing_key()), "x")
    assert signed.key == key


def test_a_private_key_is_never_overwritten(config: Path) -> None:
    make_signing_key("")
    before = (config / "signing_key").read_bytes()
    with pytest.raises(Refused, match="expected none at"):
        make_signing_key("")
    assert (config / "signing_key").read_bytes() == before


@pytest.mark.parametrize(("mode", "ok"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False), (0o620, False)])
def test_a_private_key_that_others_may_touch_is_refused(config: Path, mode: int, ok: bool) -> None:
    make_signing_key("")
    (config / "signing_key").chmod(mode)
    if ok:
        load_signing_key()
        return
    with pytest.raises(Refused, match=rf"mode 0600\), found mode {mode:04o}"):
        load_signing_key()


def test_without_a_private_key_nothing_is_signed(config: Path) -> None:
    with pytest.raises(Refused, match="exoactor export bundle keygen"):
        load_signing_key()


def test_a_right_signature_by_a_key_nobody_trusts_is_told_from_a_wrong_one(config: Path) -> None:
    make_signing_key("")
    content = sign(DATA, load_signing_key())
    forget(config)
    assert check(DATA, content, "x").key is None
    with pytest.raises(Refused, match=r"signature of x: expected one by key [0-9a-f]{16} over this bundle\.json"):
        check(DATA + b".", content, "x")


def test_a_key_is_trusted_once_its_public_half_is_copied(config: Path, tmp_path: Path) -> None:
    _, public = make_signing_key("theirs")
    content = sign(DATA, load_signing_key())
    brought = public.rename(tmp_path / "any name.pub")
    assert check(DATA, content, "x").key is None
    key, place = trust(brought)
    assert place == public
    signed = check(DATA, content, "x")
    assert signed.key is not None
    assert str(signed.key) == str(key) == f"{key.key_id} (theirs)"


def test_keys_that_ship_with_the_runtime_are_trusted(config: Path, tmp_path: Path) -> None:
    key, public = make_signing_key("the project")
    (tmp_path / "shipped").mkdir()
    public.rename(tmp_path / "shipped" / "project.pub")
    assert list(trusted_keys()) == [key.key_id]


@pytest.mark.parametrize(("mode", "ok"), [(0o755, True), (0o775, True), (0o757, False)])
def test_a_folder_of_trusted_keys_that_everybody_may_write_to_is_refused(config: Path, mode: int, ok: bool) -> None:
    make_signing_key("")
    (config / "trusted-keys").chmod(mode)
    if ok:
        assert len(trusted_keys()) == 1
        return
    with pytest.raises(Refused, match="everybody may write to; chmod o-w"):
        trusted_keys()


@pytest.mark.parametrize("text", [
    "", "x", "exoactor-ed25519-public " + "0" * 63, "exoactor-ed25519-public " + "G" * 64,
    "exoactor-ed25519-secret " + "0" * 64, "exoactor-ed25519-public " + "0" * 64 + "\n\n", "\xff" * 80,
    "exoactor-ed25519-public " + "0" * 64 + " " + "c" * 101,
])
def test_a_file_that_is_no_public_key_is_refused(config: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.pub").write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=r"key file .*bad\.pub"):
        trust(tmp_path / "bad.pub")
    (config / "trusted-keys").mkdir(parents=True)
    (tmp_path / "bad.pub").rename(config / "trusted-keys" / "bad.pub")
    with pytest.raises(Refused, match=r"key file .*bad\.pub"):
        trusted_keys()


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="found No such file or directory"):
        trust(tmp_path / "none.pub")


@pytest.mark.parametrize("comment", ["c" * 101, "two\nlines", "ü"])
def test_a_comment_that_would_not_fit_its_line_is_refused(comment: str) -> None:
    with pytest.raises(Refused, match="comment of a key"):
        make_signing_key(comment)


@pytest.mark.parametrize(("key", "value"), [
    ("schema", "exoactor-signature/2"), ("key_id", "0" * 16), ("key_id", 1), ("public_key", "0" * 64),
    ("signature", "0" * 127), ("signature", "A" * 128), ("more", ""),
])
def test_a_signature_file_that_is_none_is_refused(key: str, value: Any) -> None:
    make_signing_key("")
    fields = {**json.loads(sign(DATA, load_signing_key())), key: value}
    with pytest.raises(Refused, match=r"x, bundle\.sig"):
        check(DATA, (json.dumps(fields, indent=1, sort_keys=True) + "\n").encode(), "x")


def test_without_pynacl_the_refusal_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    make_signing_key("")
    content = sign(DATA, load_signing_key())
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "nacl":
            raise ModuleNotFoundError("No module named 'nacl'", name="nacl")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for work in (lambda: check(DATA, content, "x"), load_signing_key, lambda: make_signing_key("")):
        with pytest.raises(Refused, match=r"Python package PyNaCl: .*pip install 'exoactor\[robot\]'"):
            work()


@given(data=st.binary(max_size=100), place=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_no_changed_byte_of_data_or_signature_passes(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, mask: int
) -> None:
    import nacl.signing

    content = sign(data, nacl.signing.SigningKey(bytes(32)))
    assert check(data, content, "x").key_id
    for text, about in ((content, data), (data, content)):
        if not text:
            continue
        changed = bytearray(text)
        changed[place % len(text)] ^= mask
        with pytest.raises(Refused):
            check(bytes(changed) if about is content else data, content if about is content else bytes(changed), "x")
