"""Finding, verifying and opening an estimator: the classical filter, or a learned one's bundle."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.bundle import ESTIMATOR, GOLDEN, Bundle, open_bundle, refuse_untrusted
from runtime.classical_estimator import ClassicalEstimator
from runtime.errors import Refused
from runtime.estimator_manifest import EstimatorManifest, read_estimator
from runtime.estimator_terms import ESTIMATE_SIZE
from runtime.golden import unpack
from runtime.learned_estimator import LearnedEstimator, check_estimates
from runtime.model import Model
from runtime.robot import Robot
from runtime.state import RobotState

ESTIMATORS = Path(__file__).with_name("estimators")
CLASSICAL = "classical"


class Estimator(Protocol):
    """What a run needs of an estimator.

    Attributes:
        name: for logs.
        values: (6,) float32, base velocity in base (m/s), base height (m), contacts (0 to 1).
    """

    name: str
    values: npt.NDArray[np.float32]

    def reset(self) -> None:
        """Forget everything."""
        ...

    def update(self, state: RobotState) -> None:
        """One control period on."""
        ...


@dataclass(frozen=True)
class OpenedEstimator:
    """A learned estimator's verified bundle, opened.

    Attributes:
        golden_error: the largest of its golden vectors.
        warnings: what was let pass because somebody said so.
    """

    estimator: LearnedEstimator
    manifest: EstimatorManifest
    bundle: Bundle
    golden_error: float
    warnings: tuple[str, ...] = ()


def estimator_names() -> list[str]:
    """The learned estimators that ship with the runtime."""
    return sorted(path.parent.name for path in ESTIMATORS.glob(f"*/{ESTIMATOR}"))


def find_estimator(name_or_path: str) -> Path:
    """The bundle folder of a learned estimator: a folder, or the name of a shipped one."""
    try:
        for folder in (Path(name_or_path), ESTIMATORS / name_or_path):
            if (folder / ESTIMATOR).is_file():
                return folder
    except OSError:  # a text too long for any file system
        pass
    names = [CLASSICAL, *estimator_names()]
    near = difflib.get_close_matches(name_or_path, names, 1)
    raise Refused("estimator", expected=f"one of {', '.join(names)}, or a bundle folder with {ESTIMATOR}",
                  found=name_or_path, what_to_do=f"did you mean {near[0]}?" if near else "check the name or the path")


def open_estimator(
    name_or_path: str, robot: Robot, rate_hz: float, *, backend: str = "cpu", allow_unsigned: bool = False,
    feet: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Estimator, tuple[str, ...]]:
    """The estimator of a run, and warnings to be said aloud.

    Args:
        feet: of a calibration, for the classical one; a network knows the forces that it was trained with.

    Raises:
        Refused: no such estimator; a bundle that is not whole, not trusted or of other golden vectors; another robot or
            rate; a robot without feet.
    """
    if name_or_path == CLASSICAL:
        classical = ClassicalEstimator(robot, rate_hz, feet)
        if classical.values.size != ESTIMATE_SIZE:
            raise Refused(f"robot {robot.name}", expected="two feet", found=f"{classical.values.size - 4}",
                          what_to_do="the terms are those of a biped")
        return classical, ()
    opened = open_learned(find_estimator(name_or_path), backend=backend, allow_unsigned=allow_unsigned)
    manifest = opened.manifest
    if manifest.robot.name != robot.name:
        raise Refused(f"estimator {manifest.name}", expected=f"one for {robot.name}",
                      found=f"one for {manifest.robot.name}", what_to_do="choose the estimator of this robot")
    if manifest.rate_hz != rate_hz:
        raise Refused(f"estimator {manifest.name}", expected=f"one for {rate_hz:g} Hz, the controller's rate",
                      found=f"one for {manifest.rate_hz:g} Hz", what_to_do=f'use "{CLASSICAL}", or train one')
    return opened.estimator, opened.warnings


def open_learned(folder: Path, *, backend: str = "cpu", allow_unsigned: bool = False) -> OpenedEstimator:
    """Verify a learned estimator's bundle and open it from the bytes that were verified.

    Raises:
        Refused: as a controller's bundle.
    """
    bundle = open_bundle(folder)
    listing = bundle.listing
    if ESTIMATOR not in bundle.files:
        raise Refused(f"bundle {listing.name}", expected=f"an estimator's, with {ESTIMATOR}", found="a controller's",
                      what_to_do="give an estimator's bundle")
    warnings: tuple[str, ...] = ()
    if not bundle.trust.ok:
        if not allow_unsigned:
            refuse_untrusted(listing, bundle.trust)
        warnings = (f"bundle {listing.name} has {bundle.trust.text}; --allow-unsigned lets it run",)
    manifest = learned_manifest(bundle)
    estimator, error = open_bundled(bundle, manifest, backend)
    return OpenedEstimator(estimator, manifest, bundle, error, warnings)


def learned_manifest(bundle: Bundle, robot: str | None = None) -> EstimatorManifest:
    """The manifest of a verified bundle.

    Args:
        robot: name of the robot it must be for; None for the one the list names.

    Raises:
        Refused: one that does not fit the list, or another robot's.
    """
    listing = bundle.listing
    manifest = read_estimator(bundle.folder / ESTIMATOR, bundle.files[ESTIMATOR], bundle.files)
    wanted = robot or listing.robot
    if manifest.robot.name != wanted:
        raise Refused(f"bundle {listing.name}", expected=f"an estimator for {wanted}",
                      found=f"one for {manifest.robot.name}", what_to_do="this bundle is another robot's")
    entry = listing.files.get(manifest.model_file)
    if entry is None or entry.sha256 != manifest.model_sha256:
        raise Refused(f"bundle {listing.name}", expected=f"model.file and model.sha256 of {ESTIMATOR} as listed",
                      found=f"{manifest.model_file}, sha256 {manifest.model_sha256}",
                      what_to_do="export the bundle again")
    return manifest


def open_bundled(
    bundle: Bundle, manifest: EstimatorManifest, backend: str = "cpu"
) -> tuple[LearnedEstimator, float]:
    """The estimator of verified bytes, its golden vectors replayed; gives their largest error too."""
    estimator = LearnedEstimator(manifest, Model(bundle.files[manifest.model_file], backend))
    return estimator, check_estimates(estimator, unpack(bundle.files[GOLDEN]), bundle.listing.tolerances["action"])
