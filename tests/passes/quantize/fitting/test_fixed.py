"""Fixed point: rounding, and a range that is kept or refused."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import Conformance
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import InvalidInputError
from espalier.core.formats import Fixed
from espalier.passes.quantize.fitting.fit import fit


class TestFixed(Conformance):
    texts = ("fixed<2,0>", "fixed<4,3>", "fixed<8,7>", "fixed<8,-3>")
    is_fitted = False

    def prepared(self, weight):
        return np.clip(weight, -1, 0.5)

    def test_never_worse_than_naive_rounding_to_the_same_levels(self):
        """There is nothing but rounding, see test_rounds_to_the_nearest."""

    def test_pruned_weights_and_zeros_stay_zero(self):
        weight, mask = np.full((2, 3), 0.5, np.float32), np.array([[True, False, True], [False] * 3])
        np.testing.assert_array_equal(fit(weight, Fixed(4, 2), mask=mask).integers, [[2, 0, 2], [0, 0, 0]])


@given(st.lists(st.floats(-16, 15, width=32), min_size=1, max_size=20), st.integers(-3, 3))
def test_rounds_to_the_nearest(values, fraction):
    weight = np.array(values, np.float32)
    fitted = fit(weight, Fixed(8, fraction))
    np.testing.assert_array_equal(fitted.integers, np.floor(weight.astype(np.float64) * 2.0**fraction + 0.5))
    assert (fitted.scale == 2.0**-fraction).all()


@pytest.mark.parametrize(
    ("low", "high", "fmt", "accepted"),
    [
        (-0.5, 1.0, Fixed(8, 7), "at most 6 fraction bits"),
        (-1.01, 0, Fixed(8, 7), "at most 6 fraction bits"),
        (0, 1e6, Fixed(8, 6), "at most -13 fraction bits"),
        (-1e30, 0, Fixed(2, 0), "formats with a scale of their own"),
    ],
)
def test_weights_out_of_range_are_refused(low, high, fmt, accepted):
    weight = np.array([[low], [high]], np.float32)
    with pytest.raises(InvalidInputError, match=f"{fmt}: weights from .* leave its range; accepted are {accepted}"):
        fit(weight, fmt)
