"""Makes the list of a bundle's files and signs it: when a bundle is written, and again after a deliberate edit."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from export.plausible import plausible_ticks
from runtime import signature
from runtime.admission import Admitted, admit
from runtime.bundle import (
    ESTIMATOR,
    GOLDEN,
    LISTING,
    MANIFEST,
    MOST_BYTES,
    SCHEMA,
    SIGNATURE,
    parse_listing,
    read_listing,
    read_regular,
    walk,
)
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.estimator import open_learned
from runtime.estimator_manifest import EstimatorManifest, read_estimator
from runtime.golden import TOLERANCES, Tick, pack, record, unpack
from runtime.learned_estimator import LearnedEstimator, record_estimates
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.model_reference import ModelReference
from runtime.policy import open_admitted

GOLDEN_TICKS, GOLDEN_SEED = 32, 1


@dataclass(frozen=True)
class Signed:
    """What `sign_bundle` found to have changed since the list was last made, and what a robot would still refuse."""

    key_id: str
    changed: list[str]
    added: list[str]
    removed: list[str]
    objection: str


def make_listing(
    name: str, robot: str, tolerances: Mapping[str, float], contents: Mapping[str, bytes], provenance: Mapping[str, Any]
) -> bytes:
    """The bytes of a `bundle.json` for these files."""
    data = json_bytes({
        "schema": SCHEMA,
        "name": name,
        "robot": robot,
        "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "tolerances": dict(tolerances),
        "files": {
            file: {"sha256": hashlib.sha256(contents[file]).hexdigest(), "bytes": len(contents[file])}
            for file in sorted(contents)
        },
        "provenance": dict(provenance),
    })
    parse_listing(data, f"bundle {name}")
    return data


def local_key() -> Any:
    """This computer's signing key; made, trusted here and spoken of when there is none."""
    if not signature.signing_key_file().exists():
        key, path = signature.make_signing_key("made at the first export")
        print(f"made a signing key, {signature.signing_key_file()}: keep it private. What it signs is trusted on this "
              f"computer; a robot trusts key {key.key_id} once it has {path} (docs/bundles.md)", file=sys.stderr)
    return signature.load_signing_key()


def verify_as_a_robot(folder: Path) -> tuple[str, ...]:
    """Open a bundle as a run does; what a run would refuse for want of trust alone comes back as lines."""
    if (folder / ESTIMATOR).is_file():
        return open_learned(folder, allow_unsigned=True).warnings
    admitted = admit(str(folder), allow_unsigned=True)
    open_admitted(admitted)
    return admitted.warnings


def sign_bundle(folder: Path, *, new_golden: bool = False) -> Signed:
    """Hash every file of a folder anew, hashes in its manifest included, and sign the list with the local key.

    Args:
        new_golden: record golden vectors anew: what goes in stays what it was, what comes out is today's.

    Raises:
        Refused: a folder that is no bundle, or no manifest and network of one.
    """
    before = read_listing(folder) if os.path.lexists(folder / LISTING) else None
    contents = {name: read_regular(folder, name, MOST_BYTES) for name in _files(folder)}
    kind = ESTIMATOR if ESTIMATOR in contents else MANIFEST
    if kind not in contents:
        raise Refused(f"bundle {folder.name}", expected=f"a {MANIFEST}", found="none",
                      what_to_do="give the folder of a bundle")
    contents[kind] = _with_fresh_hashes(contents, kind)
    (folder / kind).write_bytes(contents[kind])
    manifest = (
        load_manifest(str(folder)) if kind == MANIFEST else read_estimator(folder / kind, contents[kind], contents)
    )
    if new_golden:
        contents[GOLDEN] = (
            _golden_again(manifest, contents.get(GOLDEN)) if isinstance(manifest, Manifest)
            else _estimates_again(manifest, contents)
        )
        (folder / GOLDEN).write_bytes(contents[GOLDEN])
    if GOLDEN not in contents:
        raise Refused(f"bundle {folder.name}", expected=f"a {GOLDEN}", found="none",
                      what_to_do="record one: exoactor export bundle sign --new-golden BUNDLE")
    listing = make_listing(
        manifest.name, manifest.robot.name, before.tolerances if before else TOLERANCES, contents,
        before.provenance if before else {},
    )
    key = local_key()
    (folder / LISTING).write_bytes(listing)
    (folder / SIGNATURE).write_bytes(signature.sign(listing, key))
    try:
        objection = "; ".join(verify_as_a_robot(folder))
    except Refused as error:
        objection = str(error)
    old, new = before.files if before else {}, parse_listing(listing, folder.name).files
    return Signed(
        signature.key_id(bytes(key.verify_key)), sorted(name for name in old if name in new and old[name] != new[name]),
        sorted(set(new) - set(old)), sorted(set(old) - set(new)), objection,
    )


def new_golden_vectors(controller: Controller) -> dict[str, npt.NDArray[Any]]:
    """Golden vectors of a controller for which nothing was recorded."""
    if controller.manifest.embedded is not None:
        ModelReference(controller, controller.manifest.embedded)  # how many rows its motion has
    return record(controller, plausible_ticks(controller, GOLDEN_TICKS, GOLDEN_SEED))


def naming_files(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a manifest that names a file."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from naming_files(part)


def json_bytes(data: Any) -> bytes:
    """JSON as the files of a bundle have it."""
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _files(folder: Path) -> list[str]:
    return sorted(name for name, _ in walk(folder) if name not in (LISTING, SIGNATURE))


def _with_fresh_hashes(contents: Mapping[str, bytes], kind: str) -> bytes:
    """The manifest with the hashes of the files it names; as it was when they are right."""
    data = contents[kind]
    try:
        manifest = json.loads(data)
    except ValueError:
        return data  # `load_manifest` says what is wrong with it
    stale = False
    for place in naming_files(manifest):
        if place["file"] in contents:
            digest = hashlib.sha256(contents[place["file"]]).hexdigest()
            stale |= place.get("sha256") != digest
            place["sha256"] = digest
    return json_bytes(manifest) if stale else data


def _golden_again(manifest: Manifest, old: bytes | None) -> bytes:
    controller = open_admitted(Admitted(manifest, None, ""))
    if old is None:
        return pack(new_golden_vectors(controller))
    arrays = unpack(old)
    start = "place."
    places = {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}
    ticks = [
        Tick(state, window, {name: values[tick] for name, values in places.items()})
        for tick, (state, window) in enumerate(zip(arrays["state"], arrays["window"], strict=True))
    ]
    return pack(record(controller, ticks))


def _estimates_again(manifest: EstimatorManifest, contents: Mapping[str, bytes]) -> bytes:
    if GOLDEN not in contents:
        raise Refused(f"bundle {manifest.name}", expected=f"a {GOLDEN} whose states are seen again", found="none",
                      what_to_do="train it again: exoactor export estimator")
    estimator = LearnedEstimator(manifest, Model(contents[manifest.model_file]))
    return pack(record_estimates(estimator, unpack(contents[GOLDEN])["state"]))
