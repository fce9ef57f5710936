"""Whether a controller may be opened at all: who made it, whether it is what they made, and for which robot.

Looked at twice in a run: before anything is started, and again by the policy process on the very bytes it then uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.backend import action_tolerance, precision_of
from runtime.bundle import GOLDEN, MANIFEST, Bundle, is_bundle, open_bundle, refuse_untrusted
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.golden import Worst, refuse_mismatch, replay, unpack
from runtime.manifest import Manifest, Stage, find_manifest, find_model, find_stage_model
from runtime.manifest_reader import load_manifest, read_manifest
from runtime.settings import SERIAL

MOVES_A_ROBOT = ("g1", SERIAL)
ROBOT_OF_TARGET = {"g1": "g1_"}
"""How the name of a controller's robot begins when the target is a real one."""


@dataclass(frozen=True)
class Admitted:
    """A controller that may be opened.

    Attributes:
        bundle: its verified files, or None for a bare manifest.
        trust: one line on where it comes from, for logs.
        warnings: what was let pass because somebody said so.
    """

    manifest: Manifest
    bundle: Bundle | None
    trust: str
    warnings: tuple[str, ...] = ()

    def model(self, given: str | None) -> bytes | Path:
        """The network: a bundle's verified bytes, else the file that was given or that the manifest names."""
        if self.bundle is None:
            return find_model(self.manifest, given)
        if given is not None:
            find_model(self.manifest, given)
        return self.bundle.files[str(self.manifest.model_file)]

    def stage_model(self, stage: Stage) -> bytes | Path:
        """The network of a stage, likewise."""
        if self.bundle is None:
            return find_stage_model(self.manifest, stage)
        return self.bundle.files[str(stage.model_file)]


def admit(controller: str, *, target: str = "sim", allow_unsigned: bool = False) -> Admitted:
    """Check everything about a controller that needs no network to run.

    Args:
        controller: name, manifest or bundle folder.
        target: what it is to move, as `RunSettings.target`.
        allow_unsigned: let a bundle pass that no trusted key has signed, and a bare manifest move a real robot.

    Raises:
        Refused: as `open_bundle`; no trusted signature; another robot; a bare manifest for a real robot.
    """
    path = find_manifest(controller)
    if not is_bundle(path):
        admitted = _bare(load_manifest(str(path)), target, allow_unsigned)
    else:
        bundle = open_bundle(path.parent)
        warnings: tuple[str, ...] = ()
        if not bundle.trust.ok:
            if not allow_unsigned:
                refuse_untrusted(bundle.listing, bundle.trust)
            warnings = (f"bundle {bundle.listing.name} has {bundle.trust.text}; --allow-unsigned lets it run",)
        manifest = read_manifest(path, bundle.files[MANIFEST], bundle.files)
        refuse_misfit(bundle, manifest)
        admitted = Admitted(manifest, bundle, bundle.trust.text, warnings)
    start, robot = ROBOT_OF_TARGET.get(target, ""), admitted.manifest.robot
    if not robot.name.startswith(start):
        raise Refused(f"controller {admitted.manifest.name}", expected=f"one for --robot {target}",
                      found=f"one for {robot.name}", what_to_do="choose the controller of this robot")
    return admitted


def _bare(manifest: Manifest, target: str, allow_unsigned: bool) -> Admitted:
    found = "a manifest without hashes and signature"
    if target not in MOVES_A_ROBOT:
        return Admitted(manifest, None, found)
    if not allow_unsigned:
        raise Refused(f"controller {manifest.name}", expected="a signed bundle, to move a real robot", found=found,
                      what_to_do="make one with `exoactor export controller`, or say --allow-unsigned")
    return Admitted(manifest, None, found, (f"controller {manifest.name} is {found}; --allow-unsigned lets it run",))


def refuse_misfit(bundle: Bundle, manifest: Manifest) -> None:
    """Refuse a bundle of which manifest, networks and robot are not each other's."""
    listing = bundle.listing
    what = f"bundle {listing.name}"
    if manifest.robot.name != listing.robot:
        raise Refused(what, expected=f"a controller for {listing.robot}, as bundle.json says",
                      found=f"one for {manifest.robot.name}", what_to_do="this bundle is another robot's")
    networks = [(stage.model_file, stage.model_sha256) for stage in manifest.stages]
    for file, digest in [*networks, (manifest.model_file, manifest.model_sha256)]:
        if file is None or file not in listing.files or digest != listing.files[file].sha256:
            raise Refused(what, expected="model.file and model.sha256 of a listed file in controller.json",
                          found=f"{file}, sha256 {digest}", what_to_do="export the bundle again")


def check_golden(bundle: Bundle, controller: Controller) -> dict[str, Worst]:
    """Replay a bundle's golden vectors: the worst entries.

    The tolerance of actions is that of the lowest precision a network of the controller runs in (`action_tolerance`).

    Raises:
        Refused: naming the tick, the tensor, its worst entry and what stands there.
    """
    tolerances = dict(bundle.listing.tolerances)
    precisions = {precision_of(network.model.backend) for network in controller.networks}
    tolerances["action"] = max(action_tolerance(tolerances, precision) for precision in precisions)
    worst = replay(controller, unpack(bundle.files[GOLDEN]), tolerances)
    refuse_mismatch(f"bundle {bundle.listing.name}", worst)
    return worst
