"""Figures of an acceptance: errors against truth with their stated intervals, judged over all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

COVERED = (0.90, 0.99)
"""How often a stated 95 % interval has to hold the truth."""
TRUST = 1.96


@dataclass(frozen=True)
class Asked:
    """Of one quantity: its 95th percentile error at most; of the true value where `is_relative`, else in `unit`.

    Attributes:
        limit: None: shown, and nothing asked of it.
    """

    limit: float | None
    unit: str = ""
    is_relative: bool = False


@dataclass(frozen=True)
class Measured:
    """One value of one trial: what is true, what was found, and the half-width of the stated 95 % interval."""

    quantity: str
    truth: float
    found: float
    half_width: float
    where: str = ""


@dataclass(frozen=True)
class Check:
    """Something that has to be so in every trial: `quantity` names it, `why` says what was seen where it was not."""

    quantity: str
    is_met: bool
    why: str = ""


@dataclass(frozen=True)
class Row:
    """Of the table."""

    quantity: str
    asked: str
    measured: str
    covered: str
    is_met: bool


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (E. B. Wilson, JASA 1927)."""
    if not trials:
        return 0.0, 1.0
    z2, p = TRUST**2, hits / trials
    middle = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = TRUST * np.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return float(middle - reach), float(middle + reach)


def rows(asked: Mapping[str, Asked], found: Sequence[Measured | Check]) -> list[Row]:
    """One row a quantity. A coverage fails where so many trials as there were tell it from 90 to 99 %."""
    out = []
    for quantity, want in asked.items():
        values = [one for one in found if isinstance(one, Measured) and one.quantity == quantity]
        out.append(_row(quantity, want, values))
    checks = dict.fromkeys(one.quantity for one in found if isinstance(one, Check))
    for quantity in checks:
        these = [one for one in found if isinstance(one, Check) and one.quantity == quantity]
        met = sum(one.is_met for one in these)
        why = next((f": {one.why}" for one in these if not one.is_met), "")
        out.append(Row(quantity, "always", f"{met} of {len(these)}{why}", "", met == len(these)))
    return out


def _row(quantity: str, want: Asked, values: Sequence[Measured]) -> Row:
    unit = "%" if want.is_relative else want.unit
    limit = "-" if want.limit is None else f"<= {(100 if want.is_relative else 1) * want.limit:g} {unit}"
    if not values:
        return Row(quantity, limit, "nothing was measured", "", False)
    error = np.array([abs(one.found - one.truth) / (abs(one.truth) if want.is_relative else 1) for one in values])
    inside = sum(abs(one.found - one.truth) <= one.half_width for one in values)
    low, high = wilson(inside, len(values))
    p95 = float(np.percentile(error, 95))
    scale = 100 if want.is_relative else 1
    text = f"p95 {scale * p95:.3g} {unit}, median {scale * float(np.median(error)):.3g}, n {len(values)}"
    is_met = (want.limit is None or p95 <= want.limit) and low <= COVERED[1] and high >= COVERED[0]
    return Row(quantity, limit, text, f"{100 * inside / len(values):.0f} % ({inside} of {len(values)})", is_met)
