"""Pickles of other people's motions, read without running what they say.

    python -m export.motion.plain_pickle FILE OUT

A pickle is a program. This one may call a dozen names that build arrays and containers, all of them below, and anything
else ends it; and since a reader can be wrong, it works in a process of its own with bounded memory and time, which
hands over arrays (an npz) and a description of the tree around them (JSON), never objects.

Read: plain pickles (numpy 1 and 2), joblib's (numpy arrays inline, compressed or not), torch's zip archives (without
torch), object arrays of .npy files, and chumpy's arrays of old body models, as the numbers in them.
"""

from __future__ import annotations

import bz2
import collections
import io
import json
import lzma
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from runtime.errors import Refused

MOST_BYTES = 2 << 30
MOST_MEMORY = 8 << 30
LONGEST_S = 300
DEEPEST = 12
_PLAIN_DTYPE = re.compile(r"[<>=|]?([?bB]|[biufc](1|2|4|8|16)|[SaU][0-9]{1,6}|O8?)")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_TORCH_TYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?",
}
_HEADS = ((b"\x78", "zlib"), (b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ", "lzma"), (b"\x5d\x00", "lzma"))


class Forbidden(Exception):
    """The pickle asks for a name that it may not have."""


class _Numbers:
    """Stands for an object of chumpy or scipy: what state it had, of which the numbers count."""

    def __init__(self, *arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def plain(self) -> Any:
        """The array in a chumpy object; the parts of a sparse matrix."""
        state = self.state
        if isinstance(state, dict) and "x" in state:
            return state["x"]
        if isinstance(state, dict):
            return {key.lstrip("_"): value for key, value in state.items() if isinstance(key, str)}
        return None


class _Dtype:
    """Stands for numpy's dtype: of plain kinds, and never with a state set from outside.

    numpy takes the state of a dtype as it comes, also for the ones that it shares everywhere: a pickle that marks
    float64 as holding objects makes numpy follow numbers as addresses.
    """

    def __init__(self, code: Any = "", *rest: Any) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise Forbidden(f"dtype {str(code)[:40]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order: Any = state[1] if isinstance(state, tuple) and len(state) >= 5 else None
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Forbidden("a dtype of parts")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for numpy's array until its state tells what is in it."""

    def __init__(self, *rest: Any) -> None:
        self.value: Any = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, raw = state
        shape = tuple(int(size) for size in shape)
        if not isinstance(kind, _Dtype) or min(shape, default=0) < 0:
            raise ValueError("an array without a shape or dtype")
        if kind.dtype.hasobject:
            if not isinstance(raw, list) or len(raw) != int(np.prod(shape, dtype=object)):
                raise ValueError("an array of objects without them")
            self.value = raw
            return
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.value = _shaped(raw, kind.dtype, shape, "F" if is_fortran else "C")


def _shaped(raw: Any, dtype: Any, shape: Any, order: str) -> Any:
    """A copy of bytes as an array."""
    if dtype.hasobject or not isinstance(raw, (bytes, bytearray, memoryview)):
        raise ValueError("an array's bytes are none")
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")


class _Inline:
    """joblib's note that an array's bytes follow in the stream."""

    shape: Any = ()
    order = "C"
    dtype: Any = None
    numpy_array_alignment_bytes: int | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def read(self, stream: Any) -> Any:
        """The array, from where the stream stands."""
        if self.numpy_array_alignment_bytes is not None:
            stream.read(stream.read(1)[0])
        if not isinstance(self.dtype, _Dtype):
            raise ValueError("an array without a dtype")
        if self.dtype.dtype.hasobject:
            return PlainUnpickler(stream).load()
        size = self.dtype.dtype.itemsize
        for length in self.shape:
            size *= int(length)
        raw = stream.read(size) if 0 <= size <= MOST_BYTES else b""
        if len(raw) != size:
            raise ValueError("an array is cut short")
        return _shaped(raw, self.dtype.dtype, self.shape, self.order)


class _StorageType:
    """Stands for one of torch's storage classes."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(_TORCH_TYPES[name])


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Any:
    """torch's `_rebuild_tensor_v2`: a view of a storage, copied."""
    size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else 0
    if min((*size, *stride, offset, 0)) < 0 or last >= max(len(storage), 1):
        raise ValueError("a tensor reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * storage.itemsize for step in stride], writeable=False)
    return np.array(view)


def _parameter(data: Any, *rest: Any) -> Any:
    return data


def _scalar(dtype: Any, raw: Any = None) -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(dtype, _Dtype):
        raise ValueError("a number without a dtype")
    return _shaped(raw, dtype.dtype, (1,), "C")[0]


def _make(kind: Any, *rest: Any) -> Any:
    """`copyreg._reconstructor`, of the stand-ins only."""
    if kind is not _Numbers:
        raise Forbidden(f"an object of {kind!r}")
    return _Numbers()


def _buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a dtype")
    return _shaped(raw, dtype.dtype, shape, order)


def _encode(text: str, coding: str = "latin1") -> bytes:
    if coding not in ("latin1", "latin-1", "bytes"):
        raise Forbidden(f"coding {coding}")
    return text.encode("latin1")


class PlainUnpickler(pickle._Unpickler):  # the one written in Python can be extended
    """Builds containers and arrays, and nothing else.

    Args:
        storages: a torch archive's raw storages by key.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: Any, storages: dict[str, bytes] | None = None) -> None:
        super().__init__(stream, encoding="latin1")
        self.stack: list[Any]
        self._stream, self._storages = stream, storages or {}

    def find_class(self, module: str, name: str) -> Any:
        if name in ("_reconstruct", "scalar") and module in _NUMPY:
            return _Array if name == "_reconstruct" else _scalar
        if name == "_frombuffer" and module in ("numpy.core.numeric", "numpy._core.numeric"):
            return _buffer
        if module == "numpy" and name in ("ndarray", "dtype"):
            return _Array if name == "ndarray" else _Dtype
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in (("collections", "defaultdict"), ("__builtin__", "dict"), ("builtins", "dict")):
            return lambda *rest: {}
        if module in ("builtins", "__builtin__") and name in ("set", "object", "list", "tuple"):
            return {"set": set, "object": object, "list": list, "tuple": tuple}[name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module in ("copyreg", "copy_reg") and name == "_reconstructor":
            return _make
        if module.partition(".")[0] == "chumpy" or module.startswith("scipy.sparse"):
            return _Numbers
        if module == "joblib.numpy_pickle" and name == "NumpyArrayWrapper":
            return _Inline
        if module == "torch" and name in _TORCH_TYPES:
            return _StorageType(name)
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
            return _tensor if name == "_rebuild_tensor_v2" else _parameter
        raise Forbidden(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """A torch storage."""
        kind, storage_type, key = pid[:3]
        if kind != "storage" or not isinstance(storage_type, _StorageType) or key not in self._storages:
            raise Forbidden(f"persistent object {pid!r}")
        raw = self._storages[key]
        return np.frombuffer(raw[: len(raw) // storage_type.dtype.itemsize * storage_type.dtype.itemsize],
                             storage_type.dtype)

    def load_build(self) -> None:
        """As usual, but joblib's note becomes the array that follows it; only known kinds take a state."""
        if isinstance(self.stack[-2], _Inline):
            state = self.stack.pop()
            self.stack[-1].__setstate__(state)
            self.stack[-1] = self.stack[-1].read(self._stream)
            return
        if not isinstance(self.stack[-2], (_Array, _Dtype, _Numbers, collections.OrderedDict)):
            raise Forbidden(f"a state for {type(self.stack[-2]).__name__}")
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build


def load_plain(raw: bytes) -> Any:
    """What a file of one of those kinds holds, in containers, numbers, texts and arrays.

    Raises:
        Forbidden, ValueError and others: it is none, or wants more than that.
    """
    if raw[:2] == b"PK":
        return _load_torch(raw)
    if raw[:6] == b"\x93NUMPY":
        stream = io.BytesIO(raw)
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            return np.load(io.BytesIO(raw), allow_pickle=False)
        found = PlainUnpickler(stream).load()
        values = found.value if isinstance(found, _Array) else found
        if shape != () or not isinstance(values, list):
            return values
        return values[0] if values else None
    return PlainUnpickler(io.BytesIO(_unpacked(raw))).load()


def _unpacked(raw: bytes) -> bytes:
    """Without joblib's compression."""
    kind = next((kind for head, kind in _HEADS if raw.startswith(head)), "")
    if kind in ("zlib", "gzip"):
        decoder: Any = zlib.decompressobj(31 if kind == "gzip" else 15)
        out = decoder.decompress(raw, MOST_BYTES)
        if decoder.unconsumed_tail:
            raise ValueError(f"more than {MOST_BYTES >> 20} MiB unpacked")
        return bytes(out)
    if kind == "bz2":
        return bz2.BZ2Decompressor().decompress(raw, MOST_BYTES)
    if kind == "lzma":
        return lzma.LZMADecompressor().decompress(raw, MOST_BYTES)
    return raw


def _load_torch(raw: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 20} MiB unpacked")
        names = archive.namelist()
        main = [name for name in names if name.endswith("/data.pkl")]
        if len(main) != 1:
            raise ValueError("a zip archive, but not one of torch.save")
        folder = main[0].removesuffix("data.pkl")
        if folder + "byteorder" in names and archive.read(folder + "byteorder") != b"little":
            raise ValueError("big-endian tensors")
        storages = {name.removeprefix(folder + "data/"): archive.read(name)
                    for name in names if name.startswith(folder + "data/")}
        return PlainUnpickler(io.BytesIO(archive.read(main[0])), storages).load()


def describe(value: Any, arrays: dict[str, Any], depth: int = 0) -> Any:
    """A JSON description of a tree; its arrays go into `arrays`."""
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST}")
    if isinstance(value, _Numbers):
        return describe(value.plain(), arrays, depth + 1)
    if isinstance(value, _Array):
        return describe(value.value, arrays, depth + 1)
    if isinstance(value, (np.ndarray, np.generic)):
        arrays[f"a{len(arrays)}"] = np.asarray(value)
        return {"array": f"a{len(arrays) - 1}"}
    if isinstance(value, dict):
        return {"dict": [[_key(key), describe(item, arrays, depth + 1)] for key, item in value.items()]}
    if isinstance(value, (list, tuple, set)):
        return {"list": [describe(item, arrays, depth + 1) for item in value]}
    if isinstance(value, bytes):
        return value.decode("latin1")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise Forbidden(f"an object of {type(value).__name__}")


def _key(key: Any) -> Any:
    """A dictionary's key as JSON has it: numpy's numbers as plain ones, tuples as lists."""
    if isinstance(key, _Numbers):
        key = key.plain()
    if isinstance(key, _Array):
        key = key.value
    if isinstance(key, np.generic) or (isinstance(key, np.ndarray) and key.ndim == 0):
        key = key.item()
    if isinstance(key, tuple):
        return [_key(part) for part in key]
    if isinstance(key, bytes):
        return key.decode("latin1")
    if key is None or isinstance(key, (bool, int, float, str)):
        return key
    raise Forbidden(f"a key that is {type(key).__name__}")


def restore(tree: Any, arrays: Any) -> Any:
    """The inverse of `describe`."""
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "dict" in tree:
        return {tuple(key) if isinstance(key, list) else key: restore(item, arrays) for key, item in tree["dict"]}
    return [restore(item, arrays) for item in tree["list"]]


def read_in_child(path: Path) -> Any:
    """A file's content, read by a process of its own.

    Raises:
        Refused: it asks for what it may not have, is damaged, takes too long or too much memory.
    """
    with tempfile.TemporaryDirectory(prefix="exoactor-pickle-") as folder:
        out = Path(folder) / "tree"
        command = [sys.executable, "-m", "export.motion.plain_pickle", str(path.resolve()), str(out)]
        root = Path(__file__).resolve().parents[2]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False, cwd=root)
        except subprocess.TimeoutExpired:
            raise Refused(path.name, expected=f"a file that can be read in {LONGEST_S} s", found="a longer one",
                          what_to_do="cut the motion, or convert it to npz where it was made") from None
        if done.returncode != 0 or not out.with_suffix(".json").exists():
            why = (done.stderr.strip().splitlines() or [f"the reader ended with {done.returncode}"])[-1]
            raise Refused(path.name, expected="arrays and plain containers", found=why[:300],
                          what_to_do="a pickle can run code, so only arrays, numbers and texts are taken from one: "
                          "write the motion as npz where it was made")
        with np.load(out.with_suffix(".npz"), allow_pickle=False) as arrays:
            tree = json.loads(out.with_suffix(".json").read_text("utf-8"))
            return restore(tree, {key: arrays[key] for key in arrays.files})


def main(source: str, target: str) -> int:
    """Read one, write its tree."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))
    try:
        path = Path(source)
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
        arrays: dict[str, Any] = {}
        tree = describe(load_plain(path.read_bytes()), arrays)
        np.savez(target + ".npz", **arrays)
        Path(target + ".json").write_text(json.dumps(tree), "utf-8")
    except Forbidden as error:
        print(f"it asks for {error}", file=sys.stderr)
        return 1
    except Exception as error:  # damaged pickles raise everything there is
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
