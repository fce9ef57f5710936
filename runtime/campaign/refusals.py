"""What must never start: each fault that is refused, brought before the real loaders, the real gate, the real check.

Each refusal is called with an empty folder and a seed, and must end in the project's own `BridgeError`; what it says is
kept. Whoever returns has let the fault through.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from runtime.admission import admit
from runtime.bundle import LISTING, SIGNATURE
from runtime.calibration_file import load_calibration, write_calibration
from runtime.clip import CLIPS, load_clip
from runtime.engine_file import EngineFile, EngineKey, Machine, read_engine, write_engine
from runtime.layouts import CUSTOM, layout_digest
from runtime.manifest import CONTROLLERS, OWN_CONTROLLER
from runtime.manifest_reader import load_manifest
from runtime.npz_file import MAX_BYTES
from runtime.policy import Policy
from runtime.robot import load_robot
from runtime.settings import RunSettings

MODEL, MANIFEST_FILE = "policy.onnx", "controller.json"
ROBOT = "g1_29dof"


@dataclass(frozen=True)
class Refusal:
    """One fault that forbids the start.

    Attributes:
        says: what the refusal must name, so that one for another reason does not count.
    """

    row: int
    flag: str
    how: str
    attempt: Callable[[Path, int], None]
    says: str


def settings_of(controller: str, clip: str | None = "wave", **changes: Any) -> RunSettings:
    """Of a run in simulation that is not to start."""
    return RunSettings(**{
        "controller": controller, "robot": ROBOT, "model": None, "clip": clip, "command": (0.0, 0.0, 0.0),
        "duration_s": None, "target": "sim", "domain": 0, "interface": None, "peers": (), "out": "", **changes,
    })


def _bundle(folder: Path) -> Path:
    """A copy of our own controller's bundle."""
    return Path(shutil.copytree(CONTROLLERS / OWN_CONTROLLER, folder / OWN_CONTROLLER))


def _edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    change(data)
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _list_again(bundle: Path) -> None:
    """Let the listing agree with the files again, as somebody without the key would; the signature goes."""
    _edit(bundle / MANIFEST_FILE, lambda data: data["model"].update(sha256=_digest(bundle / MODEL)))

    def change(listing: dict[str, Any]) -> None:
        for name, row in listing["files"].items():
            row.update(sha256=_digest(bundle / name), bytes=(bundle / name).stat().st_size)

    _edit(bundle / LISTING, change)
    (bundle / SIGNATURE).unlink()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _tampered(folder: Path, seed: int) -> None:
    """One bit of one file of the bundle, any of them."""
    bundle, rng = _bundle(folder), np.random.default_rng(seed)
    file = sorted(bundle.iterdir())[int(rng.integers(len(list(bundle.iterdir()))))]
    data = bytearray(file.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    admit(str(bundle))


def _relisted(folder: Path, seed: int) -> None:
    """A changed manifest, and a listing that was made to agree."""
    bundle = _bundle(folder)
    _edit(bundle / MANIFEST_FILE, lambda data: _swap(data["joints"], seed))
    _list_again(bundle)
    admit(str(bundle))


def _other_network(folder: Path, seed: int) -> None:
    """Zeros over a part of the weights, listed as they are and allowed unsigned: only the golden vectors know."""
    bundle, rng = _bundle(folder), np.random.default_rng(seed)
    data = bytearray((bundle / MODEL).read_bytes())
    start = int(rng.integers(len(data) // 4, len(data) // 2)) & ~3
    data[start : start + 16384] = bytes(16384)
    (bundle / MODEL).write_bytes(data)
    _list_again(bundle)
    Policy(settings_of(str(bundle), allow_unsigned=True))


def _joints_reordered(folder: Path, seed: int) -> None:
    """Two joints of the bundle's manifest change places."""
    bundle = _bundle(folder)
    _edit(bundle / MANIFEST_FILE, lambda data: _swap(data["joints"], seed))
    admit(str(bundle))


def _layout_broken(folder: Path, seed: int) -> None:
    """A bare manifest that claims its layout, of which two joints have changed places since."""
    bundle = _bundle(folder)
    for name in (LISTING, SIGNATURE, "golden.npz"):
        (bundle / name).unlink()
    digest = layout_digest(load_manifest(str(bundle)))
    _edit(bundle / MANIFEST_FILE, lambda data: data.update(layout=CUSTOM + digest[:16]))
    _edit(bundle / MANIFEST_FILE, lambda data: _swap(data["joints"], seed))
    Policy(settings_of(str(bundle)))


def _swap(names: list[str], seed: int) -> None:
    i, j = np.random.default_rng(seed).choice(len(names), 2, replace=False)
    names[i], names[j] = names[j], names[i]


def _clip(folder: Path, change: Callable[[dict[str, Any]], None], clip: str = "walk_turning") -> Path:
    """A shipped clip, changed and written again as it was, without compression."""
    with np.load(CLIPS / f"{clip}.npz", allow_pickle=False) as npz:
        arrays: dict[str, Any] = {key: npz[key] for key in npz.files}
    change(arrays)
    path = folder / "motion.npz"
    np.savez(path, **arrays)
    return path


def _load(path: Path) -> None:
    load_clip(path, load_robot(ROBOT))


def _xyzw(folder: Path, seed: int) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["root_quat_wxyz"] = arrays["root_quat_wxyz"][:, [1, 2, 3, 0]]

    _load(_clip(folder, change, ("walk_turning", "turn_in_place", "walk")[seed % 3]))


def _too_fast(folder: Path, seed: int) -> None:
    """A motion of 50 frames a second that says 500."""
    _load(_clip(folder, lambda arrays: arrays.update(fps=np.array(500.0)), "walk_fast"))


def _pickled(folder: Path, seed: int) -> None:
    """An object array, which only a pickle can hold."""
    _load(_clip(folder, lambda arrays: arrays.update(joint_names=arrays["joint_names"].astype(object))))


def _huge(folder: Path, seed: int) -> None:
    """A small file that unpacks to more than may be unpacked."""
    path = folder / "bomb.npz"
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("joint_pos.npy", "w") as member:
        for _ in range(MAX_BYTES // (8 << 20) + 1):
            member.write(bytes(8 << 20))
    _load(path)


def _link_out(folder: Path, seed: int) -> None:
    """A bundle with a link to a file outside it."""
    bundle = _bundle(folder)
    (bundle / "CARD.md").unlink()
    (bundle / "CARD.md").symlink_to(CLIPS / "walk.npz")
    admit(str(bundle))


def _path_out(folder: Path, seed: int) -> None:
    """A bundle whose listing names a file outside it."""
    bundle = _bundle(folder)
    _edit(bundle / LISTING, lambda data: data["files"].update({"../outside": {"sha256": "0" * 64, "bytes": 1}}))
    (bundle / SIGNATURE).unlink()
    admit(str(bundle), allow_unsigned=True)


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Engines lie in a folder of this attempt."""
    before = os.environ.get("EXOACTOR_CACHE")
    os.environ["EXOACTOR_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("EXOACTOR_CACHE")
        if before is not None:
            os.environ["EXOACTOR_CACHE"] = before


HERE = Machine(tensorrt="10.13.0", gpu="a GPU", compute_capability="8.7")


def _calibration(serial: str = "G1-0001", age_days: float = 0, *, edit: bool = False) -> Callable[[Path, int], None]:
    """A calibration of robot G1-0001 with an offset of some joint, valid for 90 days."""

    def attempt(folder: Path, seed: int) -> None:
        robot, path, now = load_robot(ROBOT), folder / "calibration.json", datetime.now(timezone.utc)
        joint = robot.order.names[seed % len(robot.joints)]
        write_calibration(path, robot.name, serial, {joint: (0.05, 0.0)}, created=now - timedelta(days=age_days),
                          valid_days=90)
        if edit:
            _edit(path, lambda data: data["versions"][-1]["joints"][joint].update(encoder_offset_rad=0.06))
        load_calibration(path, robot, "G1-0001", now)

    return attempt


def _engine(**built: str) -> Callable[[Path, int], None]:
    """An engine that was built from or for something else, where ours would lie."""

    def attempt(folder: Path, seed: int) -> None:
        with _cache(folder):
            key = EngineKey("0" * 64, "fp32", **{**HERE.__dict__, **{k: v for k, v in built.items() if k != "network"}})
            path = write_engine(EngineFile(key, b"plan"))
            network = built.get("network", "0" * 64)
            if network != "0" * 64:
                path.rename(path.with_name(path.name.replace("0" * 64, network)))
            read_engine(network, "fp32", HERE, "bundle")

    return attempt


REFUSALS: tuple[Refusal, ...] = (
    Refusal(26, "JOINT_ORDER", "two joints of a bundle's manifest change places", _joints_reordered, "controller.json"),
    Refusal(26, "JOINT_ORDER", "two joints of a manifest that claims its layout change places", _layout_broken,
            "layout"),
    Refusal(27, "CLIP_CONVENTION", "a clip with quaternions x, y, z, w", _xyzw, "clip"),
    Refusal(27, "CLIP_CONVENTION", "a clip of 50 frames a second that says 500", _too_fast, "clip"),
    Refusal(33, "ENGINE_STALE", "an engine of another TensorRT", _engine(tensorrt="10.3.0"), "tensorrt"),
    Refusal(33, "ENGINE_STALE", "an engine of another GPU", _engine(gpu="another GPU"), "gpu"),
    Refusal(33, "ENGINE_STALE", "an engine of another network", _engine(network="1" * 64), "onnx_sha256"),
    Refusal(34, "BUNDLE_TAMPERED", "one bit of a bundle's file", _tampered, "bundle"),
    Refusal(34, "BUNDLE_TAMPERED", "a changed file and a listing made to agree", _relisted, "bundle"),
    Refusal(35, "GOLDEN_MISMATCH", "zeros over a part of the weights", _other_network, "golden"),
    Refusal(60, "CALIBRATION", "another robot's calibration", _calibration(serial="G1-0002"), "serial"),
    Refusal(60, "CALIBRATION", "a calibration that has expired", _calibration(age_days=100), "within the last"),
    Refusal(60, "CALIBRATION", "a calibration edited by hand", _calibration(edit=True), "by hand"),
    Refusal(64, "UNSAFE_FILE", "a clip with pickled objects", _pickled, "clip"),
    Refusal(64, "UNSAFE_FILE", "a clip that unpacks to more than 256 MiB", _huge, "clip"),
    Refusal(64, "UNSAFE_FILE", "a bundle with a link to a file outside it", _link_out, "CARD.md"),
    Refusal(64, "UNSAFE_FILE", "a bundle whose listing names a file outside it", _path_out, "bundle"),
)
"""In this process; those that need a wire are in `wire_refusals.py`."""
