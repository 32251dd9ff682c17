"""The look-up of the nearest level, against a comparison with all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from espalier.passes.quantize.fitting.nearest import nearest_codes, nearest_levels

level_sets = st.lists(st.integers(-128, 127), min_size=1, max_size=256, unique=True).map(sorted)
values = st.lists(st.floats(-300, 300, width=32) | st.integers(-400, 400).map(lambda half: half / 2), min_size=1)


@given(level_sets, values)
def test_nearest_and_ties_upwards(levels, values):
    levels, x = np.array(levels, np.int16), np.array(values, np.float32)
    # exact distances: next to 1, a float64 does not see a value of 1e-38
    expected = [min((abs(Fraction(float(one)) - int(level)), -int(level)) for level in levels) for one in x]
    found = nearest_levels(x.copy(), levels)
    np.testing.assert_array_equal(found, [-level for _, level in expected])
    np.testing.assert_array_equal(levels[nearest_codes(x.copy(), levels)], found)


def test_what_is_beyond_takes_the_last():
    levels = np.array([-8, 0, 1], np.int16)
    np.testing.assert_array_equal(nearest_codes(np.array([-1e38, 1e38, -1e-30], np.float32), levels), [0, 2, 1])
