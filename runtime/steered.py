"""The velocity controller that an operator steers: found, and checked against the run's own."""

from __future__ import annotations

from runtime.admission import Admitted, admit
from runtime.errors import Refused
from runtime.manifest import Manifest
from runtime.settings import RunSettings

USUAL = "g1-velocity"
"""What operators steer when nothing else is named: a bundle of our own making (docs/distill.md)."""
NO_CONTROLLER = "none"


def find_steered(settings: RunSettings, own: Manifest) -> tuple[Admitted | None, str]:
    """The controller that is to take an operator's velocities beside the run's own, and a warning to be said aloud.

    None without an operator, where none was wanted, where the run's own takes commands and no other was named, and
    where the usual one is another robot's.

    Raises:
        Refused: one that was named but takes no commands, is another robot's or of another rate, or that nobody steers.
    """
    name = settings.teleop_controller
    if settings.teleop is None and (name is not None or settings.teleop_model is not None):
        raise Refused("--teleop-controller", expected="a run with --teleop", found="one without",
                      what_to_do="say who may steer it, or leave it out")
    if settings.teleop is None or name == NO_CONTROLLER or (name is None and own.kind == "velocity"):
        return None, ""
    admitted = admit(name or USUAL, target=settings.target, allow_unsigned=settings.allow_unsigned)
    if name is None and admitted.manifest.robot.name != own.robot.name:
        return None, f"no velocity controller: {USUAL} is not for {own.robot.name}; see --teleop-controller"
    check_pair(admitted.manifest, own)
    return admitted, ""


def check_pair(steered: Manifest, own: Manifest) -> None:
    """A robot can be handed from one to the other.

    Raises:
        Refused: not a velocity controller, another robot's, or of another rate.
    """
    what = f"--teleop-controller {steered.name}"
    for is_so, expected, found in (
        (steered.kind == "velocity", "a controller that takes velocities", f"a {steered.kind}"),
        (steered.robot.name == own.robot.name, f"one for {own.robot.name}, as {own.name}",
         f"one for {steered.robot.name}"),
        (steered.rate_hz == own.rate_hz, f"one of {own.rate_hz:g} Hz, as {own.name}", f"{steered.rate_hz:g} Hz"),
    ):
        if not is_so:
            raise Refused(what, expected=expected, found=found,
                          what_to_do=f'choose another, or "{NO_CONTROLLER}" to do without')
