"""Writes a learned estimator's bundle: the same list, hashes and signature as a controller's."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.bundle_signing import json_bytes, local_key, make_listing, verify_as_a_robot
from export.bundle_writer import made_beside, refuse_other_folders, tools, with_hashes, write
from export.estimator_evaluation import Score, table
from export.onnx_cost import measure_cost
from runtime import signature
from runtime.bundle import CARD, ESTIMATOR, GOLDEN, LISTING, SIGNATURE
from runtime.estimator_manifest import read_estimator
from runtime.golden import TOLERANCES, pack
from runtime.learned_estimator import LearnedEstimator, record_estimates
from runtime.model import Model
from runtime.observation import describe


def write_estimator_bundle(
    out: Path,
    manifest: dict[str, Any],
    network: bytes,
    states: npt.NDArray[np.float32],
    scores: Mapping[str, Mapping[str, Score]],
    provenance: Mapping[str, Any],
) -> Path:
    """Write a bundle to `out`, replacing a bundle that is there; returns `out`.

    Args:
        manifest: content of `estimator.json`; its `model.file` gets the hash of the network.
        network: ONNX.
        states: (T, 3 motors + 10) what golden vectors are recorded on.
        scores: estimators side by side on held-out rollouts, for the card; the first one is this one.
        provenance: where it comes from, as JSON allows.

    Raises:
        Refused: a manifest or network that does not fit; `out` is then as it was.
    """
    refuse_other_folders(out)
    contents = {str(manifest["model"]["file"]): network}
    manifest = with_hashes(manifest, contents)
    contents[ESTIMATOR] = json_bytes(manifest)
    origin = {"tools": tools(), **provenance}
    checked = read_estimator(Path(ESTIMATOR), contents[ESTIMATOR])
    estimator = LearnedEstimator(checked, Model(network))
    golden = record_estimates(estimator, states)
    contents[GOLDEN] = pack(golden)
    contents[CARD] = _card(estimator, manifest, network, len(states), scores, origin).encode()
    with made_beside(out) as folder:
        write(folder, contents)
        listing = make_listing(checked.name, checked.robot.name, TOLERANCES, contents, origin)
        (folder / LISTING).write_bytes(listing)
        (folder / SIGNATURE).write_bytes(signature.sign(listing, local_key()))
        for line in verify_as_a_robot(folder):
            print(f"WARNING: {line}", file=sys.stderr)
    return out


def _card(
    estimator: LearnedEstimator, manifest: Mapping[str, Any], network: bytes, ticks: int,
    scores: Mapping[str, Mapping[str, Score]], origin: Mapping[str, Any],
) -> str:
    cost = measure_cost(network)
    ((observation, _, _),) = estimator.network.observations
    about = {
        "robot": estimator.manifest.robot.name, "rate": f"{estimator.manifest.rate_hz:g} Hz",
        "source": manifest.get("source", "not named"), "licence": manifest.get("licence", "not named"),
        "network": f"{len(network):,} bytes, {cost.parameters:,} parameters, {cost.flops:,} FLOPs an inference",
    }
    parts = [
        f"# {estimator.name}",
        str(manifest.get("description", "Not described.")),
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        "## Accuracy on held-out rollouts in simulation",
        "Velocity: root mean square of the length of the error vector, in base. Contact: share of feet told right.",
        f"```\n{table(scores)}\n```" if scores else "Not measured.",
        "No real robot has been measured yet.",
        "## Inputs",
        f"First entry, entries, term:\n\n```\n{describe(observation)}\n```",
        "## Golden vectors",
        f"{ticks} ticks in `{GOLDEN}`, replayed whenever the bundle is opened (tolerance `action`).",
        "## Provenance",
        "\n".join(f"- {name}: {value}" for name, value in origin.items()),
        "## How to verify",
        "`exoactor export bundle verify FOLDER`, and `exoactor export estimator --evaluate FOLDER --controller ...` to "
        "measure it again.",
    ]
    return "\n\n".join(parts) + "\n"
