"""The judge of the calibration's acceptance: what it lets pass and what not."""

from __future__ import annotations

import numpy as np

from tests.acceptance_calibration.figures import Asked, Check, Measured, rows, wilson

ASKED = {"gain": Asked(0.1, is_relative=True)}


def judged(error: float, half_width: float, n: int = 100) -> bool:
    """Errors spread evenly up to `error`, of a truth of 2."""
    found = [Measured("gain", 2.0, 2.0 + 2 * e, half_width) for e in np.linspace(0, error, n)]
    return rows(ASKED, found)[0].is_met


def test_an_error_beyond_what_is_asked_fails() -> None:
    assert judged(0.1, 0.19)
    assert not judged(0.11, 0.21)


def test_intervals_that_are_too_narrow_and_too_wide_fail() -> None:
    assert not judged(0.1, 0.15)
    assert not judged(0.1, 1.0, n=1000)
    assert judged(0.1, 1.0, n=20)  # 20 of 20 may be 99 %


def test_a_part_that_measured_nothing_fails_and_a_check_fails_with_its_reason() -> None:
    assert not rows(ASKED, [])[0].is_met
    row = rows({}, [Check("sign", True), Check("sign", False, "knee")])[0]
    assert not row.is_met and row.measured == "1 of 2: knee"


def test_wilsons_interval_is_the_published_one() -> None:
    low, high = wilson(81, 263)  # R. G. Newcombe, Statistics in Medicine 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
