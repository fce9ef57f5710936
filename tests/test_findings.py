"""A flag's value is kept, and a flag with hysteresis does not flutter."""

from __future__ import annotations

import pytest

from runtime.fault_table import BIT, PLACE
from runtime.findings import Findings, Level


def test_a_flag_that_measures_nothing_says_zero_and_others_keep_their_value() -> None:
    findings = Findings()
    assert findings.note("TILT", 0.5) == BIT["TILT"]
    assert findings.note("SECOND_WRITER") == BIT["SECOND_WRITER"]
    assert findings.measured[PLACE["SECOND_WRITER"]] == 0
    assert findings.measured[PLACE["TILT"]] == 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_a_level_is_up_from_its_limit_on_until_it_is_clearly_past(sign: int) -> None:
    findings = Findings()
    level = Level("TEMPERATURE_HIGH", sign * 90, sign * 85, sign=sign)
    values = [89.9, 90, 89.9, 85, 84.9, 85, 89.9, 90.1]
    assert [bool(level.look(sign * value, findings)) for value in values] == [
        False, True, True, True, False, False, False, True]
    assert findings.measured[PLACE["TEMPERATURE_HIGH"]] == pytest.approx(sign * 90.1)


def test_a_level_without_hysteresis_ends_where_it_begins() -> None:
    level = Level("BATTERY_LOW", 20, sign=-1)
    assert [bool(level.look(value, Findings())) for value in (20.1, 20, 20.1, 19)] == [False, True, False, True]
