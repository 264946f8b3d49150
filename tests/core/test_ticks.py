"""Ticks are round, even, few, and enclose what is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinesax.core.ticks import round_ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 123, [0, 25, 50, 75, 100, 125]),
        (0, 200, [0, 50, 100, 150, 200]),
        (-12, 31, [-20, -10, 0, 10, 20, 30, 40]),
        (3, 3, [2, 2.5, 3, 3.5, 4]),
    ],
)
def test_of_values(low, high, expected):
    assert round_ticks(low, high) == expected


@given(st.floats(-1e4, 1e4), st.floats(0.01, 1e4))
def test_they_enclose(low, extent):
    ticks = round_ticks(low, low + extent)
    assert ticks[0] <= low + 1e-6 * extent and ticks[-1] >= low + extent * (1 - 1e-6)
    assert 4 <= len(ticks) <= 9
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])
