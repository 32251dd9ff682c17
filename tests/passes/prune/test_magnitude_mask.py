"""Masks by magnitude: how many weights they leave out, and which."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.passes.prune.magnitude_mask import magnitude_mask

FINITE = st.floats(-100, 100, width=32)
WEIGHTS = arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=6), elements=FINITE)


@given(WEIGHTS, st.floats(0, 0.999))
def test_so_many_of_the_smallest_are_left_out(weight, sparsity):
    mask = magnitude_mask(weight, sparsity)
    assert abs((~mask).sum() - sparsity * weight.size) < 1
    assert mask.any()
    assert np.abs(weight[~mask]).max(initial=0) <= np.abs(weight[mask]).min()


@given(WEIGHTS, st.floats(0, 0.999))
def test_what_is_pruned_already_counts(weight, sparsity):
    once = np.where(magnitude_mask(weight, sparsity), weight, 0)
    np.testing.assert_array_equal(np.where(magnitude_mask(once, sparsity), once, 0), once)


def test_of_equal_magnitudes_the_first_stay():
    np.testing.assert_array_equal(magnitude_mask(np.array([1, -1, 1, 1], np.float32), 0.5), [True, True, False, False])


def test_products_that_are_whole_but_for_rounding():
    assert (~magnitude_mask(np.arange(10, dtype=np.float32), 0.7)).sum() == 7
    assert (~magnitude_mask(np.arange(100, dtype=np.float32), 0.29)).sum() == 29
