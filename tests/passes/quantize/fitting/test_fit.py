"""Arguments that cannot be fitted are refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.core.errors import InvalidInputError, InvalidPlanError
from espalier.core.formats import Bfloat16, Binary, Codebook, Focused, Shift, Uniform
from espalier.core.packing import pack_codes, unpack_codes
from espalier.passes.quantize.fitting.fit import fit

WEIGHT = normal(4, 3, 3, 3)


def refused(error, message, *arguments, **options):
    with pytest.raises(error, match=message) as caught:
        fit(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_weights_that_are_not_finite(value):
    weight = WEIGHT.astype(np.float64)
    weight[1, 2, 0, 0] = value
    refused(InvalidInputError, r"weight \[4, 3, 3, 3\]: got a value that is not finite", weight, Uniform(8))


@pytest.mark.parametrize("weight", [np.float32(1), np.zeros((0, 3), np.float32), np.zeros((3, 0), np.float32)])
def test_weights_without_a_value(weight):
    refused(InvalidInputError, r"accepted is finite float32 \[C_out, ...\]", weight, Uniform(8))


@pytest.mark.parametrize("mask", [np.ones((4, 3, 3), bool), np.ones((4, 3, 3, 3), np.float32), True])
def test_masks_that_do_not_fit(mask):
    refused(InvalidInputError, r"mask: got .*, accepted is bool \[4, 3, 3, 3\]", WEIGHT, Uniform(8), mask=mask)


@pytest.mark.parametrize("importance", [np.ones(4), -np.ones((4, 1, 1, 1)), [[[[np.nan]]]], np.ones((2, 4, 3, 3, 3))])
def test_importance_that_does_not_fit(importance):
    message = r"importance: got .*, accepted are finite values that broadcast to \[4, 3, 3, 3\]"
    refused(InvalidInputError, message, WEIGHT, Uniform(8), importance=importance)


def test_formats_and_widths_that_do_not_fit():
    refused(InvalidPlanError, "bfloat16: is not quantized", WEIGHT, Bfloat16())
    for width in (1, 9, 2.5):
        refused(InvalidPlanError, f"width: got {width} bits, accepted are 2..8", WEIGHT, Uniform(2), width)
    for fmt, width in ((Uniform(8), 4), (Codebook(5), 4), (Shift(5), 5), (Focused(6), 5)):
        refused(InvalidPlanError, f"{fmt}: its levels need integers of . bits", WEIGHT, fmt, width)


@pytest.mark.parametrize("importance", [np.zeros((4, 1, 1, 1)), np.array([0, 1, 1, 1]).reshape(4, 1, 1, 1)])
def test_channels_without_importance_are_fitted_too(importance):
    fitted, plain = fit(WEIGHT, Uniform(4), importance=importance), fit(WEIGHT, Uniform(4))
    np.testing.assert_array_equal(fitted.codes, plain.codes)


@settings(deadline=None, max_examples=60)
@given(
    arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=4), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([Uniform(2), Uniform(5), Shift(3), Shift(5), Focused(3), Focused(6), Codebook(2), Codebook(7)]),
)
def test_any_finite_weights_are_fitted(weight, fmt):
    fitted = fit(weight, fmt)
    assert not fitted.integers[weight == 0].any()
    np.testing.assert_array_equal(
        unpack_codes(pack_codes(fitted.codes, fmt.bits), fmt.bits, weight.size), fitted.codes.reshape(-1)
    )
    scale = np.broadcast_to(fitted.scale.reshape(-1, *[1] * (weight.ndim - 1)), weight.shape)
    reach = scale * max(-int(fitted.table[0]), int(fitted.table[-1]))
    assert (np.abs(fitted.dequantized()) <= reach).all()


def test_random_is_for_focused_alone():
    for fmt in (Uniform(4), Shift(4), Codebook(4), Binary()):
        one, other = fit(WEIGHT, fmt), fit(WEIGHT, fmt, random=np.random.default_rng(0))
        np.testing.assert_array_equal(one.codes, other.codes)
