"""One way to bring a fault about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from runtime.campaign.trial import Trial

Begin = Callable[[Trial, np.random.Generator], None]
Onset = Callable[[Trial], bool]


@dataclass(frozen=True)
class Injection:
    """One way to bring a fault about.

    Attributes:
        row: kind of fault, 1 to 64; 0 for none of them.
        flag: what must be noticed.
        how: in words.
        begin: makes it happen.
        onset: true from the tick on in which the fault itself is there, where that is later than `begin` (a push is no
            fall yet); None: at once.
        lead_s: between `begin` and the fault, for what must be prepared (an operator must first command).
        by_flag: the flag itself is set, where the part that notices is not of this process: only the reaction is tried.
    """

    row: int
    flag: str
    how: str
    begin: Begin
    onset: Onset | None = None
    lead_s: float = 0.0
    by_flag: bool = False
