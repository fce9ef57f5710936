"""Motion files of others: what a container holds, told apart and read; a motion or a refusal, whatever the bytes.

Pickles are read here as their child process reads them, but in this one: a process for each of 100,000 would take a
day. What a child adds, bounds of time and memory, `tests/test_plain_pickle.py` holds.
"""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.motion.content import Content, ReadOptions
from export.motion.formats import motion_of
from export.motion.plain_pickle import MOST_BYTES, describe, load_plain, restore
from runtime.errors import Refused
from runtime.human_motion import HumanMotion
from runtime.npz_file import read_npz
from tests import motion_files as files

OPTIONS = ReadOptions(fps=30.0)


def _motion(kind: str, data: Any) -> None:
    motion = motion_of(Content(Path(f"fuzz.{kind}"), kind, data), None, OPTIONS)
    if isinstance(motion, HumanMotion):
        norms = np.linalg.norm(motion.local_wxyz, axis=-1)
        if not (np.isfinite(motion.pelvis_m).all() and np.allclose(norms, 1) and motion.frames >= 3):
            raise AssertionError("an unsound motion was taken")


def _tree(data: bytes) -> Any:
    """As `plain_pickle.main` and `read_in_child` do it."""
    try:
        arrays: dict[str, Any] = {}
        tree = json.loads(json.dumps(describe(load_plain(data), arrays)))
        if sum(array.nbytes for array in arrays.values()) > MOST_BYTES:
            raise MemoryError
        return restore(tree, arrays)
    except Exception as error:
        raise Refused("pickle", expected="arrays", found=str(error)[:100], what_to_do="write npz") from error


def eat_npz(data: bytes) -> None:
    """An npz archive."""
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        file.write(data)
        file.flush()
        arrays = read_npz(Path(file.name), "motion")
    _motion("npz", dict(arrays))


def eat_pickle(data: bytes) -> None:
    """A pickle, joblib's or an npy of objects."""
    _motion("pickle", _tree(data))


def eat_torch(data: bytes) -> None:
    """An archive of torch."""
    _motion("torch", _tree(data))


def eat_bvh(data: bytes) -> None:
    """A text."""
    _motion("bvh", data.decode("utf-8-sig", "replace"))


SHORT = files.walking(frames=4)


def _written(write: Callable[[Path], Path]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / "seed.npz").read_bytes()


def _npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _npzs() -> list[bytes]:
    return [_written(lambda path: files.amass_smplh(path, SHORT)),
            _written(lambda path: files.amass_smplx(path, SHORT)),
            _npz(**files.smplx_group(SHORT)),
            _npz(local_rot_mats=files.matrices(SHORT.local_wxyz[:, :22]), root_positions=SHORT.pelvis_m)]


def _pickles() -> list[bytes]:
    short = {"pose_body": files.vectors(SHORT, y_up=False)[1], "root_orient": files.vectors(SHORT, y_up=False)[0],
             "trans": SHORT.pelvis_m}
    return [_written(lambda path: files.wham(path, {1: (SHORT, np.arange(4))})),
            _written(lambda path: files.wham_api(path, SHORT)), _written(lambda path: files.phalp(path, SHORT)),
            _written(lambda path: files.joblib_file(path, short)), pickle.dumps(short, 0),
            pickle.dumps({"body_params_global": files.smplx_group(SHORT)}, 2)]


def _torches() -> list[bytes]:
    return [_written(lambda path: files.torch_archive(path, {"smpl_params_global": files.smplx_group(SHORT)})),
            _written(lambda path: files.torch_archive(path, files.omomo_tensor(SHORT)))]


def _bvhs() -> list[bytes]:
    return [_written(lambda path: files.bvh(path, SHORT)), _written(lambda path: files.bvh(path, SHORT, t_pose=False))]


MOTION_TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "motion_bvh": (eat_bvh, _bvhs), "motion_npz": (eat_npz, _npzs), "motion_pickle": (eat_pickle, _pickles),
    "motion_torch": (eat_torch, _torches),
}
