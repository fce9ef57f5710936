"""The motion estimator's bundle: networks, golden vectors and card, all listed by hash, opened only if all agree.

It is data of an offline program and moves no robot, so it need not be signed; list and golden vectors are checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle_signing import json_bytes, make_listing
from export.bundle_writer import made_beside, refuse_other_folders, tools, write
from export.imagine.motion_estimator.pinhole import Pinhole
from export.imagine.motion_estimator.sight import NAMES, Sight
from runtime.bundle import CARD, ESTIMATOR, GOLDEN, LISTING, open_bundle
from runtime.errors import Refused
from runtime.golden import TOLERANCES, pack, unpack
from runtime.reader import Reader, parse_json

F64 = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
SCHEMA, NAME = "exoactor-motion-estimator/2", "mannequin"
SHIPPED = Path(__file__).resolve().parents[1] / "motion_estimators" / NAME
MOST_BYTES = 8 << 20
"""Of the networks together, so that they can ship."""


@dataclass(frozen=True)
class Opened:
    """A bundle whose golden vectors came out as recorded: what sees, which one it is, and how far off they were."""

    sight: Sight
    version: str
    golden_error: float


def write_motion_estimator(out: Path, networks: Mapping[str, bytes], images: Sequence[Image], lens: Pinhole, card: str,
                           provenance: Mapping[str, Any]) -> Path:
    """Writes a bundle to `out`, replacing one that is there.

    Args:
        networks: ONNX by NAMES. images: pictures (h, w, 3) seen through `lens` for golden vectors.

    Raises:
        Refused: networks that are too large, or that do not open.
    """
    refuse_other_folders(out)
    size = sum(len(data) for data in networks.values())
    if size > MOST_BYTES:
        raise Refused("motion estimator", expected=f"networks of at most {MOST_BYTES} bytes", found=f"{size}",
                      what_to_do="make them smaller")
    sight = Sight(networks)
    golden = {"images": np.stack(images), "fovy_rad": np.array(lens.fovy_rad),
              "seen": np.stack([sight.look(image, lens).row() for image in images])}
    manifest = {"schema": SCHEMA, "name": NAME, "networks": {name: f"{name}.onnx" for name in NAMES}}
    contents = {f"{name}.onnx": networks[name] for name in NAMES}
    contents |= {ESTIMATOR: json_bytes(manifest), GOLDEN: pack(golden), CARD: card.encode()}
    with made_beside(out) as folder:
        write(folder, contents)
        origin = json.loads(json.dumps({"tools": tools(), **provenance}))
        (folder / LISTING).write_bytes(make_listing(NAME, "human", TOLERANCES, contents, origin))
        open_motion_estimator(folder)
    return out


def open_motion_estimator(folder: Path) -> Opened:
    """A bundle, checked.

    Raises:
        Refused: none there; a file that is not the listed one; networks that no longer see what was recorded.
    """
    if not (folder / LISTING).is_file():
        raise Refused("motion estimator", expected=f"its bundle at {folder}", found="none",
                      what_to_do="train one: exoactor export motion-estimator --out BUNDLE (docs/imagine.md); or name "
                      "a program such as GVHMR or GEM under `estimate` of the providers file")
    bundle = open_bundle(folder)
    reader = Reader(f"motion estimator {folder.name}", "train it again")
    manifest = parse_json(bundle.files.get(ESTIMATOR, b""), reader)
    reader.keys("", manifest, {"schema", "name", "networks"}, {"schema", "name", "networks"})
    reader.one_of("schema", manifest["schema"], (SCHEMA,))
    reader.keys("networks", manifest["networks"], set(NAMES), set(NAMES))
    missing = sorted(set(manifest["networks"].values()) - set(bundle.files))
    if missing:
        raise reader.refuse("networks", "files that are listed", ", ".join(missing))
    sight = Sight({name: bundle.files[manifest["networks"][name]] for name in NAMES})
    error = _replay(sight, unpack(bundle.files[GOLDEN]))
    limit = bundle.listing.tolerances["action"]
    if not error <= limit:
        raise Refused(f"golden vectors of {folder.name}", expected=f"what was recorded within {limit:g}",
                      found=f"{error:.3g}", what_to_do="networks or code are not those that were exported: train again")
    return Opened(sight, f"{NAME} {bundle.listing.created_utc}", error)


def _replay(sight: Sight, golden: Mapping[str, npt.NDArray[Any]]) -> float:
    images = golden["images"]
    lens = Pinhole(images.shape[2], images.shape[1], float(golden["fovy_rad"].reshape(-1)[0]))
    seen = np.stack([sight.look(image, lens).row() for image in images])
    worst = np.abs(seen - golden["seen"]) / np.maximum(1.0, np.abs(golden["seen"]))
    return float(worst.max()) if np.isfinite(worst).all() else float("inf")
