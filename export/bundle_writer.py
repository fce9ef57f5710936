"""Writes bundle folders: hashes filled in, golden vectors recorded, card made, signed, verified as a robot would."""

from __future__ import annotations

import copy
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from export.bundle_signing import (
    json_bytes,
    local_key,
    make_listing,
    naming_files,
    new_golden_vectors,
    verify_as_a_robot,
)
from export.card import make_card
from export.onnx_cost import has_external_data
from runtime import signature
from runtime.admission import Admitted
from runtime.bundle import CARD, ESTIMATOR, GOLDEN, LISTING, MANIFEST, SIGNATURE, is_bundle
from runtime.errors import Refused
from runtime.golden import TOLERANCES, pack
from runtime.manifest_reader import load_manifest
from runtime.policy import open_admitted

OWN = (MANIFEST, ESTIMATOR, GOLDEN, CARD, LISTING, SIGNATURE)


def write_bundle(
    out: Path,
    manifest: dict[str, Any],
    files: Mapping[str, Path | bytes],
    *,
    card: str | None = None,
    golden: Mapping[str, npt.NDArray[Any]] | None = None,
    tolerances: Mapping[str, float] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle to `out`, replacing a bundle that is there; returns `out`.

    Args:
        manifest: content of `controller.json`; `model.file` and every other `file` in it names a key of `files`, and
            gets the `sha256` of that file.
        files: relative path -> content, or where it is: networks, and a robot's description that the manifest names.
        card: Markdown; None makes one from manifest and networks.
        golden: `runtime.golden.record` of this controller; None records seeded random plausible ticks.
        tolerances: of golden vectors, on top of `runtime.golden.TOLERANCES`.
        provenance: where it comes from, as JSON allows.

    Raises:
        Refused: a manifest, network, golden vectors or folder that do not fit; `out` is then as it was.
    """
    out = Path(out)
    refuse_other_folders(out)
    contents = {name: part if isinstance(part, bytes) else _read(part) for name, part in files.items()}
    manifest = with_hashes(manifest, contents)
    limits = {**TOLERANCES, **(tolerances or {})}
    origin = {"tools": tools(), **(provenance or {})}
    with made_beside(out) as folder:
        contents[MANIFEST] = json_bytes(manifest)
        write(folder, contents)
        controller = open_admitted(Admitted(load_manifest(str(folder)), None, ""))
        arrays = golden if golden is not None else new_golden_vectors(controller)
        contents[GOLDEN] = pack(arrays)
        models = {name: data for name, data in contents.items() if name.endswith(".onnx")}
        text = card if card is not None else make_card(
            controller, manifest, models, len(arrays.get("state", ())), limits, origin
        )
        contents[CARD] = text.encode()
        write(folder, {name: contents[name] for name in (GOLDEN, CARD)})
        listing = make_listing(controller.manifest.name, controller.manifest.robot.name, limits, contents, origin)
        (folder / LISTING).write_bytes(listing)
        (folder / SIGNATURE).write_bytes(signature.sign(listing, local_key()))
        for line in verify_as_a_robot(folder):
            print(f"WARNING: {line}", file=sys.stderr)
    return out


@contextmanager
def made_beside(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `out` once that went well; otherwise `out` is as it was."""
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder = work / out.name
        folder.mkdir()
        yield folder
        put(folder, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_other_folders(out: Path) -> None:
    """Refuse to write where something other than a bundle stands."""
    is_ours = out.is_dir() and not out.is_symlink() and (is_bundle(out / MANIFEST) or not any(out.iterdir()))
    if out.exists() and not is_ours:
        raise Refused(f"output {out}", expected="a new or empty folder, or a bundle to be replaced",
                      found="something else", what_to_do="choose another --out, or move that away")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"file {path}", expected="a readable file", found=f"{error.strerror or error}",
                      what_to_do="check the path") from error


def with_hashes(manifest: dict[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """A copy of the manifest with the sha256 of every file it names."""
    taken = sorted(set(contents) & set(OWN))
    if taken:
        raise Refused("files of a bundle", expected=f"names other than {', '.join(OWN)}", found=", ".join(taken),
                      what_to_do="the writer makes these itself")
    manifest = copy.deepcopy(manifest)
    if not isinstance(manifest.get("model"), dict) or "file" not in manifest["model"]:
        raise Refused("manifest of a bundle", expected="model.file, naming its network", found="none",
                      what_to_do="a bundle brings its network along")
    for place in naming_files(manifest):
        name = place["file"]
        if name not in contents:
            raise Refused("manifest of a bundle", expected=f"files among {', '.join(sorted(contents)) or 'none'}",
                          found=f"{name}", what_to_do="give the bundle every file that its manifest names")
        place["sha256"] = hashlib.sha256(contents[name]).hexdigest()
    for name, data in contents.items():
        if name.endswith(".onnx") and _is_spread(data):
            raise Refused(f"network {name}", expected="one file with all of its weights",
                          found="weights in files beside it",
                          what_to_do="save it as one file: onnx.save(onnx.load(PATH), NEW_PATH)")
    return manifest


def _is_spread(data: bytes) -> bool:
    try:
        return has_external_data(data)
    except Exception:  # what is no ONNX at all is refused, with its reason, where it is opened
        return False


def tools() -> dict[str, str]:
    """Versions of what golden vectors depend on."""
    import numpy
    import onnxruntime

    return {"numpy": numpy.__version__, "onnxruntime": onnxruntime.__version__}


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Files by relative path."""
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def put(folder: Path, out: Path) -> None:
    """Move a finished bundle into place; what was there goes only once the new one is complete."""
    if out.exists():
        out.rename(folder.with_name("replaced"))
    folder.rename(out)
