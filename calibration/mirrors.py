"""Wirings that gravity cannot tell from one another, because a robot that hangs has limbs that are mirror images.

A limb that hangs straight weighs alike when all that moves it sideways goes the other way round, and two limbs do when
they are in each other's place. Found by joints' names: a side's, and a chain's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CHAINS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
SIDES = ("left", "right")
SIDEWAYS = ("roll", "yaw")
"""What turns its sign in a mirror."""


@dataclass(frozen=True)
class Mirror:
    """A change of which joint is which.

    Attributes:
        joint: (motors,) what each joint is taken for.
        sign: (motors,) and which way round.
    """

    joint: npt.NDArray[np.intp]
    sign: npt.NDArray[np.float64]

    @property
    def changed(self) -> tuple[int, ...]:
        """Joints that it changes, from the trunk outwards."""
        return tuple(np.flatnonzero((self.joint != np.arange(len(self.joint))) | (self.sign < 0)).tolist())

    def among(self, joints: Collection[int]) -> Mirror:
        """What it changes of these joints alone: the others are known."""
        here = np.arange(len(self.joint))
        free = np.isin(here, list(joints)) & np.isin(self.joint, list(joints))
        return Mirror(np.where(free, self.joint, here), np.where(free, self.sign, 1.0))


def mirrors(names: Sequence[str]) -> Iterator[Mirror]:
    """Of a robot's joints, by slot: each limb reversed sideways; a pair exchanged, whole or what moves it one way."""
    for chain in CHAINS:
        limbs = {side: [i for i, name in enumerate(names) if side in name and any(part in name for part in chain)]
                 for side in SIDES}
        sideways = {i for i, name in enumerate(names) if any(axis in name for axis in SIDEWAYS)}
        for limb in limbs.values():
            yield _mirror(names, {i: i for i in limb}, sideways)
        pairs = [(i, _other(names[i])) for limb in limbs.values() for i in limb]
        across = {i: names.index(other) for i, other in pairs if other in names}
        aside = {i: j for i, j in across.items() if i in sideways}
        along = {i: j for i, j in across.items() if i not in sideways}
        yield _mirror(names, across, sideways)
        yield _mirror(names, aside, set())
        yield _mirror(names, aside, sideways)
        yield _mirror(names, along, set())


def _other(name: str) -> str:
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def _mirror(names: Sequence[str], places: dict[int, int], turned: set[int]) -> Mirror:
    joint, sign = np.arange(len(names)), np.ones(len(names))
    for here, there in places.items():
        joint[here], sign[here] = there, -1.0 if here in turned else 1.0
    return Mirror(joint, sign)
