"""Pickles of others: read without running them, refused where they ask for more than arrays."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.motion.content import read_content
from export.motion.plain_pickle import read_in_child
from runtime.errors import Refused
from tests import motion_files as files
from tests.torch_module import torch_or_skip


class Bomb:
    """Runs something when it is loaded."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def mark(folder: Path) -> Path:
    return folder / "it-ran"


def bombs(folder: Path) -> dict[str, Any]:
    order = f"touch {mark(folder)}"
    return {
        "os.system": Bomb(os.system, order),
        "eval": Bomb(eval, f"__import__('os').system({order!r})"),
        "exec": Bomb(exec, f"open({str(mark(folder))!r}, 'w')"),
        "getattr": Bomb(getattr, "a", "upper"),
        "open": Bomb(open, str(mark(folder)), "w"),
        "nested": {"fps": 30, "poses": [np.zeros(3), {"deep": (1, Bomb(os.system, order))}]},
        "in an array": np.array([Bomb(os.system, order)], object),
        "as a key": {("a", Bomb(os.system, order)): 1},
    }


@pytest.mark.parametrize("kind", bombs(Path()))
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_something_is_refused_and_does_not_run(kind: str, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps(bombs(tmp_path)[kind], protocol))
    with pytest.raises(Refused):
        read_in_child(path)
    assert not mark(tmp_path).exists()


@pytest.mark.parametrize("opcodes", [
    b"cos\nsystem\n(S'touch {}'\ntR.", b"(S'touch {}'\nios\nsystem\n.", b"cposix\nsystem\n(S'touch {}'\ntR.",
    b"c__builtin__\neval\n(S'open(\"{}\",\"w\")'\ntR.", b"cnumpy\nload\n(S'{}'\ntR.",
    b"cbuiltins\nobject.__subclasses__\n(tR.", b"\x80\x04\x8c\x05numpy\x8c\x0cf2py.os.path\x93.",
    b"cnumpy.dtypes\n__builtins__\n.", b"cchumpy\nos.system\n(S'touch {}'\ntR.",
])
def test_opcodes_written_by_hand_do_not_run_either(opcodes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(opcodes.replace(b"{}", str(mark(tmp_path)).encode()))
    with contextlib.suppress(Refused):
        read_in_child(path)
    assert not mark(tmp_path).exists()


def test_bombs_in_npy_npz_and_torch_files_do_not_run(tmp_path: Path) -> None:
    bomb = Bomb(os.system, f"touch {mark(tmp_path)}")
    np.save(tmp_path / "a.npy", np.array([bomb], object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", poses=np.zeros((3, 156)), trans=np.array([bomb], object))

    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(bomb))
    (tmp_path / "d.joblib").write_bytes(zlib.compress(pickle.dumps(bomb)))
    for name in ("a.npy", "b.npz", "c.pt", "d.joblib"):
        with pytest.raises(Refused):
            read_content(tmp_path / name)
    assert not mark(tmp_path).exists()


TREE = {"fps": np.float64(29.876), "root_rot": np.arange(12, dtype=np.float32).reshape(3, 4), "names": ["a", "b"],
        "none": None, 3: (True, 2, "x"), "strided": np.arange(24).reshape(4, 6)[:, ::2], "order": OrderedDict(a=1),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "text": np.array(["knee", "hip"])}


def check_tree(found: Any) -> None:
    assert float(found["fps"]) == 29.876
    for key in ("root_rot", "strided", "fortran", "text"):
        np.testing.assert_array_equal(found[key], TREE[key])
    assert (found["names"], found["none"], found[3], found["order"]) == (["a", "b"], None, [True, 2, "x"], {"a": 1})


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_any_protocol_are_read(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(TREE, protocol))
    check_tree(read_in_child(tmp_path / "a.pkl"))


@pytest.mark.parametrize("swap", [(b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")])
def test_both_numpys_spellings_are_read(swap: tuple[bytes, bytes], tmp_path: Path) -> None:
    raw = pickle.dumps(TREE, 0)  # protocol 0 has no lengths to keep in step
    (tmp_path / "a.pkl").write_bytes(raw.replace(*swap))
    check_tree(read_in_child(tmp_path / "a.pkl"))


def test_torch_s_archives_are_read_without_torch(tmp_path: Path) -> None:
    path = files.torch_archive(tmp_path / "a.pt", {"group": {"a": np.arange(6.0).reshape(2, 3)}, "n": 3})
    found = read_content(path).data
    np.testing.assert_array_equal(found["group"]["a"], np.arange(6.0).reshape(2, 3))
    assert found["n"] == 3


def test_what_torch_itself_wrote_is_read(tmp_path: Path) -> None:
    torch = torch_or_skip()
    values = torch.arange(24.0).reshape(4, 6)
    torch.save({"t": values.T[1:, ::2], "p": torch.nn.Parameter(values), "g": values.clone().requires_grad_(),
                "i": torch.tensor([1, 2]), "h": values.half(), "b": torch.tensor([True])}, tmp_path / "a.pt")
    found = read_content(tmp_path / "a.pt").data
    np.testing.assert_array_equal(found["t"], values.T[1:, ::2].numpy())
    for key in ("p", "g", "h"):
        np.testing.assert_array_equal(found[key], values.numpy())
    assert found["i"].tolist() == [1, 2]
    assert found["b"].tolist() == [True]


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3)])
def test_what_joblib_wrote_is_read(compress: Any, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="missing dependency: joblib")
    joblib.dump(TREE, tmp_path / "a.joblib", compress=compress)
    check_tree(read_content(tmp_path / "a.joblib").data)


@pytest.mark.parametrize("compress", [False, True])
def test_joblib_s_inline_arrays_are_read(compress: bool, tmp_path: Path) -> None:
    check_tree(read_content(files.joblib_file(tmp_path / "a.pkl", TREE, compress=compress)).data)


def test_chumpy_s_arrays_are_the_numbers_in_them(tmp_path: Path) -> None:
    raw = b"(dS'shapedirs'\nccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR(dS'x'\nF2.5\nsbs."
    (tmp_path / "a.pkl").write_bytes(raw)
    assert read_in_child(tmp_path / "a.pkl") == {"shapedirs": 2.5}


@pytest.mark.parametrize("raw", [
    b"", b"\x80", b"\x80\x04.", b"not a pickle", b"PK\x03\x04", b"\x78\x9c", pickle.dumps([1] * 9)[:-3],
    b"]" * 100 + b"a" * 99 + b".", b"]q\x00h\x00a.",
])
def test_damaged_pickles_are_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(raw)
    with pytest.raises(Refused):
        read_in_child(tmp_path / "a.pkl")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.motion import plain_pickle

    monkeypatch.setattr(plain_pickle, "MOST_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="unpacked"):
        plain_pickle.load_plain(zlib.compress(bytes(2 << 20)))


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = files.torch_archive(tmp_path / "a.pt", {"a": np.zeros((4, 4))})

    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["archive/data/0"] = parts["archive/data/0"][:32]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(Refused, match="beyond its storage"):
        read_content(path)


@pytest.mark.parametrize("state", [
    b"(I3\nS'<'\nNNNI8\nI8\nI63\nt", b"(I3\nS'|'\nNNNI-1\nI-1\nI63\nt", b"(I3\nS'|'\nN(S'a'\nt(dI8\nI1\nI16\nt",
])
def test_numpy_s_own_dtypes_take_no_state_from_a_pickle(state: bytes) -> None:
    """numpy believes it, for float64 everywhere, and follows numbers as addresses from then on."""
    from export.motion.plain_pickle import load_plain

    before = np.dtype("f8").__reduce__()
    with contextlib.suppress(Exception):
        load_plain(b"cnumpy\ndtype\n(S'f8'\nI0\nI0\ntR" + state + b"b.")
    assert np.dtype("f8").__reduce__() == before
    assert np.dtype("f8").flags == 0 and not np.dtype("f8").hasobject


def test_an_array_s_size_alone_allocates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"cnumpy\nndarray\n((I3221225472\nttR.")
    assert read_in_child(tmp_path / "a.pkl").size == 0


def test_what_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.motion import plain_pickle

    monkeypatch.setattr(plain_pickle, "LONGEST_S", 0.01)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    with pytest.raises(Refused, match="longer"):
        read_in_child(tmp_path / "a.pkl")
