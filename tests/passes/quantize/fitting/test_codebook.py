"""Codebooks: no format of as many bits has a lower error."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import ORDINARY, UNUSUAL, Conformance, error_of, rounding

from espalier.core.formats import Codebook, Focused, Shift, Uniform
from espalier.passes.quantize.fitting.fit import fit


class TestCodebook(Conformance):
    texts = ("codebook<2>", "codebook<3>", "codebook<4>", "codebook<5>", "codebook<8>")


@pytest.mark.parametrize("bits", [2, 4, 7])
@pytest.mark.parametrize("name", [*ORDINARY, *UNUSUAL])
def test_not_worse_than_uniform(bits, name):
    weight = (ORDINARY | UNUSUAL)[name]
    uniform = error_of(weight, fit(weight, Uniform(bits)))
    assert error_of(weight, fit(weight, Codebook(bits))) <= uniform * (1 + 1e-5) + rounding(weight)


@pytest.mark.parametrize("other", [Shift(3), Shift(5), Focused(3), Focused(4), Focused(5)], ids=str)
@pytest.mark.parametrize("name", ["normal", "parted"])
def test_better_than_levels_of_a_pattern(other, name):
    weight = ORDINARY[name]
    assert error_of(weight, fit(weight, Codebook(other.bits))) < error_of(weight, fit(weight, other))


def test_a_few_values_are_found():
    """Three values and 0, in channels of different size: two bits are enough."""
    values = np.random.default_rng(0).choice([-100, -20, 0, 90], (5, 200))
    weight = (values * np.array([1e-3, 0.2, 1, 4, 50])[:, None]).astype(np.float32)
    scale = fit(weight, Codebook(2)).scale[:, None]
    np.testing.assert_array_less(np.abs(fit(weight, Codebook(2)).dequantized() - weight) / scale, 0.75)


@pytest.mark.parametrize("width_bits", range(3, 9))
def test_levels_stay_inside_a_narrower_width(width_bits):
    fitted = fit(ORDINARY["heavy"], Codebook(3), width_bits)
    assert -(2 ** (width_bits - 1)) <= fitted.table[0] < fitted.table[-1] < 2 ** (width_bits - 1)
