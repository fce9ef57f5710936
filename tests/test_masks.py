"""Yes or no of small arrays: the quick way says what numpy says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.masks import has_all, has_any, is_finite


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 3))
def test_any_and_all_are_numpy_s(values: list[bool], stride: int) -> None:
    mask = np.array(values, np.bool_)[::stride]
    assert has_any(mask) == bool(mask.any()) and has_all(mask) == bool(mask.all())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_number_that_is_none_is_found_beside_its_opposite(bad: float, kind: type) -> None:
    block = np.zeros((12, 5), kind)
    block[:, 0] = 1e6
    assert is_finite(block)
    block[7, 3] = bad
    assert not is_finite(block)
    block[2, 1] = -bad
    assert not is_finite(block)
