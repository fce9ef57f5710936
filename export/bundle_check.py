"""Verifies a bundle check by check, for people and programs; a run makes the same checks and stops at the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from runtime.admission import Admitted, check_golden, refuse_misfit
from runtime.bundle import (
    ESTIMATOR,
    LISTING,
    MANIFEST,
    SIGNATURE,
    Bundle,
    Listing,
    Trust,
    check_folder,
    check_signature,
    read_entry,
    read_listing,
    refuse_untrusted,
)
from runtime.errors import Refused
from runtime.estimator import ESTIMATORS, learned_manifest, open_bundled
from runtime.golden import Worst
from runtime.manifest import Manifest, find_manifest
from runtime.manifest_reader import read_manifest
from runtime.policy import open_admitted

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """One check: what had to be, what was found, and the refusal where they differ."""

    check: str
    ok: bool
    expected: str
    found: str
    refusal: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def bundle_folder(name_or_path: str) -> Path:
    """The folder of a bundle: a path, or the name of one that ships with the runtime."""
    path, shipped = Path(name_or_path), ESTIMATORS / name_or_path
    folder = next((place for place in (path, shipped) if place.is_dir()), None) or find_manifest(name_or_path).parent
    if not (folder / LISTING).exists() and not (folder / SIGNATURE).exists() and not (folder / MANIFEST).exists():
        raise Refused(f"bundle {name_or_path}", expected=f"a folder with {LISTING}", found="another one",
                      what_to_do="name the folder of a bundle")
    return folder


def verify(folder: Path, robot: str | None = None) -> list[Finding]:
    """Every check of a bundle.

    Args:
        robot: name of the robot it must be for; None for the one it says itself.
    """
    return _Verification(folder, robot).findings


class _Verification:
    """The checks in order; what cannot be looked at because an earlier one failed is said to be so."""

    def __init__(self, folder: Path, robot: str | None) -> None:
        self.findings: list[Finding] = []
        listing = self._step(LISTING, "a list of the bundle's files", lambda: read_listing(folder), _about)
        if listing is None:
            return
        trust = self._signature(folder, listing)
        files = self._files(folder, listing)
        if trust is None or len(files) < len(listing.files):
            self._skip("manifest", "golden vectors")
            return
        bundle = Bundle(folder, listing, files, trust)
        if ESTIMATOR in files:
            self._estimator(bundle, robot)
            return
        manifest = self._step("manifest", f"one for {robot or listing.robot}", lambda: _manifest(bundle, robot),
                              lambda manifest: f"{manifest.name} for {manifest.robot.name}")
        if manifest is None:
            self._skip("golden vectors")
            return
        limits = ", ".join(f"{name} {value:g}" for name, value in listing.tolerances.items())
        self._step("golden vectors", f"errors within {limits}", lambda: _golden(bundle, manifest), _errors)

    def _estimator(self, bundle: Bundle, robot: str | None) -> None:
        manifest = self._step("manifest", f"one for {robot or bundle.listing.robot}",
                              lambda: learned_manifest(bundle, robot),
                              lambda manifest: f"{manifest.name} for {manifest.robot.name}")
        if manifest is None:
            self._skip("golden vectors")
            return
        self._step("golden vectors", f"errors within {bundle.listing.tolerances['action']:g}",
                   lambda: open_bundled(bundle, manifest)[1], lambda error: f"estimate {error:.2g}")

    def _signature(self, folder: Path, listing: Listing) -> Trust | None:
        """None where it is not over this list; without a trusted key the rest is still worth looking at."""
        expected = "one by a trusted key over this bundle.json"
        trust = self._step("signature", expected, lambda: check_signature(folder, listing), lambda trust: trust.text)
        if trust is not None and not trust.ok:
            self.findings.pop()
            self._step("signature", expected, lambda: refuse_untrusted(listing, trust), str)
        return trust

    def _files(self, folder: Path, listing: Listing) -> dict[str, bytes]:
        files = {}
        self._step("folder", "plain files, all listed", lambda: check_folder(folder, listing), lambda _: "as listed")
        for name, entry in listing.files.items():
            data = self._step(f"file {name}", f"{entry.size} bytes, sha256 {entry.sha256}",
                              partial(read_entry, folder, name, entry), lambda _: "as listed")
            if data is not None:
                files[name] = data
        return files

    def _step(
        self, check: str, expected: str, work: Callable[[], Result], say: Callable[[Result], str]
    ) -> Result | None:
        try:
            result = work()
        except Refused as error:
            self.findings.append(Finding(check, False, error.expected, error.found, str(error)))
            return None
        self.findings.append(Finding(check, True, expected, say(result)))
        return result

    def _skip(self, *checks: str) -> None:
        self.findings += [Finding(check, False, "the checks above to pass", "not looked at") for check in checks]


def _about(listing: Listing) -> str:
    return f"{listing.name} for {listing.robot}, {len(listing.files)} files, made {listing.created_utc}"


def _manifest(bundle: Bundle, robot: str | None) -> Manifest:
    manifest = read_manifest(bundle.folder / MANIFEST, bundle.files[MANIFEST], bundle.files)
    refuse_misfit(bundle, manifest)
    if robot is not None and manifest.robot.name != robot:
        raise Refused(f"bundle {bundle.listing.name}", expected=f"a controller for {robot}",
                      found=f"one for {manifest.robot.name}", what_to_do="this bundle is another robot's")
    return manifest


def _golden(bundle: Bundle, manifest: Manifest) -> dict[str, Worst]:
    return check_golden(bundle, open_admitted(Admitted(manifest, bundle, bundle.trust.text)))


def _errors(worst: dict[str, Worst]) -> str:
    return ", ".join(f"{name} {entry.error:.2g}" for name, entry in worst.items())
