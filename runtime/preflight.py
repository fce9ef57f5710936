"""What is looked at before a robot may be armed: each check with its measured value, its limit and what to do.

The lists by subject stand in `preflight_machine`, `preflight_robot`, `preflight_pose` and `preflight_estop`; each
judges readings it was handed, so that every line can be made red and green. `preflight_list` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from firmware_bridge.errors import BridgeError
from runtime.admission import admit, check_golden
from runtime.calibration_file import load_calibration
from runtime.chain import chain_clip, find_chain
from runtime.clip import load_clip
from runtime.errors import Refused
from runtime.limits import Limits, loosened
from runtime.needs import check_clip_feeds, mode_of
from runtime.robot import Robot
from runtime.settings import RunSettings


@dataclass(frozen=True)
class Check:
    """One line of the list. `required` false only advises."""

    check: str
    ok: bool
    measured: str
    limit: str
    what_to_do: str
    required: bool = True

    @property
    def is_red(self) -> bool:
        """Nothing may be armed because of it."""
        return self.required and not self.ok

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def refused_line(error: BridgeError) -> Check:
    """The line of something that could not even be looked at."""
    return Check(error.what, False, error.found, error.expected, error.what_to_do)


def refuse_red(checks: Iterable[Check]) -> None:
    """Raises a refusal that names every red line, not just the first.

    Raises:
        Refused: something required is red.
    """
    red = [check for check in checks if check.is_red]
    if len(red) == 1:
        raise Refused(red[0].check, expected=red[0].limit, found=red[0].measured, what_to_do=red[0].what_to_do)
    if red:
        raise Refused(
            "preflight", expected="nothing red",
            found="; ".join(f"{check.check}: {check.measured} (limit: {check.limit})" for check in red),
            what_to_do="; ".join(f"{check.check}: {check.what_to_do}" for check in red),
        )


def check_controller(settings: RunSettings) -> Iterator[Check]:
    """Manifest, bundle, model and motion, as far as they were named."""
    try:
        admitted = admit(settings.controller, target=settings.target, allow_unsigned=True)
        manifest, bundle = admitted.manifest, admitted.bundle
        mode = mode_of(manifest, settings.mode)
        yield Check("controller", True, f"{manifest.name} for {manifest.robot.name}", "a valid manifest", "")
        if bundle is not None:
            yield Check("bundle files", True, f"{len(bundle.files)} files as listed", "the listed hashes", "")
        needs_key = bundle is not None or settings.target == "g1"
        yield Check("controller signature", not admitted.warnings, admitted.trust,
                    "signed by a trusted key" if needs_key else "none for a manifest in simulation",
                    "have it exported and signed (docs/bundles.md), or say --allow-unsigned",
                    not settings.allow_unsigned)
        if settings.model is not None or manifest.model_file is not None:
            from runtime.policy import open_admitted

            notes: list[str] = []
            controller = open_admitted(admitted, settings.model, settings.backend, notes.append)
            yield Check("model", True, f"fits {manifest.name}, {'; '.join(notes)}", "sizes of the manifest", "")
            if bundle is not None:
                worst = check_golden(bundle, controller)
                yield Check("golden vectors", True,
                            ", ".join(f"{name} {entry.error:.1g}" for name, entry in worst.items()),
                            ", ".join(f"{name} {entry.limit:g}" for name, entry in worst.items()), "")
        if settings.clip is not None:
            path = find_chain(settings.clip)
            clip, seams = (chain_clip(path, manifest.robot) if path.suffix == ".json"
                           else (load_clip(settings.clip, manifest.robot), []))
            check_clip_feeds(manifest, mode, clip)
            found = f"{clip.duration_s:.1f} s at {clip.fps:.2f} Hz"
            if seams:
                other = sum(not seam.same_contacts for seam in seams)
                found += f", {len(seams)} seams" + (f", {other} with other feet standing" if other else "")
            yield Check("clip", True, found, "a valid motion", "")
    except BridgeError as error:
        yield refused_line(error)


def check_limits(limits: Limits) -> Check:
    """Whether a limit of the robot's file lets more pass than as it ships."""
    lines = loosened(limits)
    return Check("limits", not lines, "; ".join(lines) or "none loosened", "as shipped",
                 "be sure that it is meant (`limits` of the robot's file, docs/safety.md)", False)


def check_calibration(settings: RunSettings, robot: Robot) -> Check:
    """The calibration file that was named, or what it means that none was."""
    if settings.calibration is not None:
        now = datetime.now(timezone.utc)
        try:
            file = load_calibration(Path(settings.calibration), robot, settings.serial, now)
        except BridgeError as error:
            return refused_line(error)
        return Check("calibration", True, f"of {file.serial}, {file.age_days(now):.0f} days old",
                     f"of this robot, at most {min(file.valid_days, robot.limits.calibration_days):g} days old", "")
    if settings.target in ("sim", "unitree-mujoco"):
        return Check("calibration", True, "none: a simulated robot needs none", "none in simulation", "", False)
    return Check("calibration", False, "none is used: the encoders' zeros are taken as they are", "one of this robot",
                 "see that every joint reads what it should where you can measure it (docs/hardware.md)", False)
