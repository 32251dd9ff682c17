"""Binary weights, which cannot be 0."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import Conformance, with_zero_channel

from espalier.core.errors import InvalidInputError
from espalier.core.formats import Binary
from espalier.passes.quantize.fitting.fit import fit


class TestBinary(Conformance):
    texts = ("binary",)

    def prepared(self, weight):
        is_zero = ~weight.any(axis=tuple(range(1, weight.ndim)), keepdims=True)
        return np.where(is_zero, np.float32(1), weight)


def test_sign_times_mean_magnitude():
    weight = np.array([[1, -2, 0, 5], [-1e-9, 1, 1, 1]], np.float32)
    fitted = fit(weight, Binary())
    np.testing.assert_array_equal(fitted.integers, [[1, -1, 1, 1], [-1, 1, 1, 1]])
    np.testing.assert_allclose(fitted.scale, [2, 0.75], rtol=1e-6)
    weighted = fit(weight, Binary(), importance=[[3, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(weighted.scale, [5 / 4, 0.75], rtol=1e-6)


def test_what_has_to_be_zero_is_refused():
    weight = with_zero_channel()
    with pytest.raises(InvalidInputError, match="binary: got channel 2 with zeros only, .*accepted is a format with a"):
        fit(weight, Binary())
    with pytest.raises(InvalidInputError, match="binary: got pruned weights"):
        fit(weight + 1, Binary(), mask=weight > 0)
