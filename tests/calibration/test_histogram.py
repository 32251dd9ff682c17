"""Ranges by each method, on distributions whose best range is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.calibration.histogram import RANGES, Histogram, checked_method
from espalier.core.calibration import Range
from espalier.core.errors import InvalidInputError


def histogram(*parts) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(np.asarray(part, np.float32))
    return found


def squared_error(values: np.ndarray, found: Range, bits: int) -> float:
    step = (found.high - found.low) / (2**bits - 1)
    return float(np.square(values - np.rint(np.clip(values, found.low, found.high) / step) * step).mean())


@given(arrays.arrays(np.float32, (2, 9), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(RANGES))
def test_ranges_reach_to_zero_and_not_beyond_what_was_seen(values, method):
    found = histogram(*values).range(method, 8)
    assert min(0, values.min()) <= found.low <= 0 <= found.high <= max(0, values.max())
    if method == "minmax":
        assert found == Range(min(0.0, float(values.min())), max(0.0, float(values.max())))


@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("kind", ["half normal", "normal", "laplace"])
def test_least_error_is_near_the_best_of_all_clips(kind, bits):
    random = np.random.default_rng(0)
    values = getattr(random, "laplace" if kind == "laplace" else "normal")(0, 1, 50_000).astype(np.float32)
    values = np.maximum(values, 0) if kind == "half normal" else values
    found = histogram(values).range("mse", bits)
    limits = np.linspace(0.2, 1, 60) * np.abs(values).max()
    best = min(squared_error(values, Range(max(values.min(), -x), min(values.max(), x)), bits) for x in limits)
    assert squared_error(values, found, bits) <= 1.1 * best


def test_one_outlier_costs_the_others_nothing():
    """By the percentile; a squared error is what a value of 1e6 is large in."""
    values = np.random.default_rng(0).uniform(0, 1, 1_000_000).astype(np.float32)
    found = histogram(values, [1e6]).range("percentile", 8)
    assert 0.99 < found.high < 1.02


def test_constants_and_zeros():
    assert histogram([3.0, 3.0]).range("mse", 8).high == 3
    assert histogram([0.0]).range("mse", 8) == histogram([0.0]).range("percentile", 8) == Range(0, 0)
    assert histogram([-2.0]).range("minmax", 8) == Range(-2, 0)


def test_unknown_method():
    with pytest.raises(InvalidInputError, match="ranges: got 'max', accepted are mse, percentile, minmax"):
        checked_method("max")
