"""What lies in a motion's file, as plain data, before anybody knows which format it is."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.plain_pickle import read_in_child
from export.motion.robot_motion import RobotMotion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, Skeleton
from runtime.npz_file import read_npz
from runtime.robot import Robot, load_robot

MOST_TEXT_BYTES = 512 << 20
Motion = HumanMotion | RobotMotion
PICKLED = {".pkl": "pickle", ".p": "pickle", ".pickle": "pickle", ".pt": "torch", ".pth": "torch", ".joblib": "pickle"}


@dataclass(frozen=True)
class Content:
    """A file's content.

    Attributes:
        path: where it lies.
        kind: "npz", "npy", "pickle", "torch", "csv", "bvh" or "folder".
        data: npz, pickles: a tree of dictionaries, lists, numbers, texts and arrays; csv: a `Table`; bvh: its text;
            folder: name -> path.
    """

    path: Path
    kind: str
    data: Any

    @property
    def keys(self) -> frozenset[Any]:
        """Of a dictionary; none otherwise."""
        return frozenset(self.data) if isinstance(self.data, dict) else frozenset()


@dataclass(frozen=True)
class Table:
    """A CSV file: its header, () without one, and its numbers (rows, columns)."""

    header: tuple[str, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReadOptions:
    """What a reader may need to be told.

    Attributes:
        robot: whose joints a robot's motion has.
        fps: the rate, for files that keep none; overrides the one of a file.
        track: which person of several.
        up: "y" or "z", the file's axis upwards, where it cannot be seen.
        skeleton: bones to use instead of the file's.
        smpl_models: folder of body models, for the bones of a shape.
        hands: a file of hand tracks to go with the motion.
    """

    robot: Robot = field(default_factory=lambda: load_robot("g1_29dof"))
    fps: float | None = None
    track: str | None = None
    up: str | None = None
    skeleton: Skeleton | None = None
    smpl_models: Path | None = None
    hands: Path | None = None


def read_content(path: Path) -> Content:
    """Look into a file or folder.

    Raises:
        Refused: nothing there, too large, damaged, of an unknown kind, or a pickle that asks for more than arrays.
    """
    if path.is_dir():
        return Content(path, "folder", {file.name: file for file in sorted(path.iterdir()) if file.is_file()})
    if not path.is_file():
        raise Refused("motion", expected="a file or folder", found=f"nothing at {path}", what_to_do="check the path")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return Content(path, "npz", read_npz_or_pickled(path))
    if suffix == ".npy":
        return Content(path, "npy", read_in_child(path))
    if suffix in PICKLED:
        return Content(path, PICKLED[suffix], read_in_child(path))
    if suffix not in (".csv", ".bvh"):
        raise Refused(f"motion {path.name}", expected="npz, npy, pkl, p, joblib, pt, pth, csv, bvh or a folder",
                      found=suffix or "no ending", what_to_do="name the file by what it is")
    if path.stat().st_size > MOST_TEXT_BYTES:
        raise Refused(f"motion {path.name}", expected=f"at most {MOST_TEXT_BYTES >> 20} MiB",
                      found=f"{path.stat().st_size >> 20} MiB", what_to_do="cut the motion into shorter ones")
    text = path.read_text("utf-8-sig", errors="replace")
    return Content(path, suffix[1:], text if suffix == ".bvh" else read_table(path.name, text))


def read_npz_or_pickled(path: Path) -> dict[str, Any]:
    """An npz's arrays; where some are objects (None, texts, dictionaries), these by way of the restricted reader."""
    try:
        return dict(read_npz(path, f"motion {path.name}"))
    except Refused as error:
        if error.found != "pickled objects":
            raise
    import tempfile
    import zipfile

    out: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="exoactor-npz-") as folder:
        for member in archive.namelist():
            file = Path(folder) / "member.npy"
            file.write_bytes(archive.read(member))
            try:
                out[member.removesuffix(".npy")] = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
            except ValueError:
                out[member.removesuffix(".npy")] = read_in_child(file)
    return out


def read_table(name: str, text: str) -> Table:
    """A CSV file's header, if it has one, and numbers.

    Raises:
        Refused: rows of different lengths, or something else than numbers.
    """
    first = next(csv.reader(io.StringIO(text[: text.find("\n") + 1 or None])), [])
    is_header = any(not _is_number(cell) for cell in first if cell.strip())
    body = text[text.find("\n") + 1 :] if is_header else text
    try:
        values = np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2, dtype=np.float64)
    except ValueError as error:
        raise Refused(f"motion {name}", expected="rows of numbers, all of one length", found=str(error)[:200],
                      what_to_do="export the table again, with commas between the columns") from error
    if values.size == 0:
        raise Refused(f"motion {name}", expected="rows of numbers", found="none", what_to_do="export the table again")
    return Table(tuple(cell.strip() for cell in first) if is_header else (), values)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def rate_of(what: str, options: ReadOptions, given: Any = None, usual: float | None = None) -> float:
    """A motion's rate: the one asked for, else the file's, else the format's own.

    Raises:
        Refused: there is none, or it is out of range.
    """
    fps = options.fps
    if fps is None and given is not None:
        values = np.asarray(given, np.float64).reshape(-1)
        fps = float(values[0]) if values.size else None
    fps = usual if fps is None else fps
    if fps is None or not math.isfinite(fps) or not 1 <= fps <= 1000:
        raise Refused(what, expected="a frame rate between 1 and 1000", found=f"{fps}", what_to_do="give it with --fps")
    return fps


def real(what: str, value: Any, shape: tuple[int | None, ...], key: str) -> npt.NDArray[np.float64]:
    """An array of real numbers of a shape; None stands for any size.

    Raises:
        Refused: another one.
    """
    array = np.asarray(value) if not isinstance(value, (dict, str)) else np.zeros(0)
    fits = array.dtype.kind in "fiub" and array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True))
    if not fits:
        text = ", ".join("T" if size is None else str(size) for size in shape)
        raise Refused(what, expected=f"`{key}` of real numbers ({text})", found=f"{array.dtype} {array.shape}",
                      what_to_do="export the motion again, or choose its format with --from")
    return array.astype(np.float64)


def as_json(content: Content) -> str:
    """What there is, in a line: for refusals."""
    if isinstance(content.data, dict):
        return json.dumps(sorted(str(key) for key in content.data)[:30])
    if isinstance(content.data, Table):
        return f"a table of {content.data.values.shape[1]} columns, header {content.data.header[:6] or 'none'}"
    return type(content.data).__name__ if content.kind != "bvh" else "BVH"
