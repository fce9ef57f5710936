"""Who steers: the highest of the sources that are both healthy and engaged. Pure, and a table to read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Source(IntEnum):
    """What can steer a robot; the numbers also stand in `OPERATOR_DTYPE.source`: there, NONE until the first gesture.

    KEYBOARD and GAMEPAD are local: in the hands of somebody beside the robot's computer. NETWORK holds the lease and
    gives velocities, STREAM holds it and gives reference frames. CLIP is the run's own motion or command, also what an
    operator names to hand back to it. ESTOP is whatever damps, the wireless remote's combination among it.
    """

    NONE = 0
    KEYBOARD = 1
    GAMEPAD = 2
    NETWORK = 3
    STREAM = 4
    CLIP = 5
    STAND = 6
    ESTOP = 7


LOCAL = (Source.KEYBOARD, Source.GAMEPAD)
TELEOP = (*LOCAL, Source.NETWORK)
"""The sources that give velocities."""
PRIORITY = (Source.ESTOP, *TELEOP, Source.STREAM, Source.CLIP, Source.STAND)
"""Highest first: e-stop > local remote > lease-holding teleoperator > streamed reference > clip > stand."""


@dataclass(frozen=True)
class Offer:
    """What a source has to say for itself.

    Attributes:
        is_engaged: it was asked to steer, and nobody has taken that back.
        is_healthy: it could.
    """

    source: Source
    is_engaged: bool
    is_healthy: bool = True


def pick(offers: Iterable[Offer]) -> Source:
    """The highest source that is engaged and healthy; STAND where there is none, so that somebody always steers."""
    able = [offer.source for offer in offers if offer.is_engaged and offer.is_healthy and offer.source in PRIORITY]
    return min(able, key=PRIORITY.index, default=Source.STAND)
