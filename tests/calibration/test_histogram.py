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


@pytest.mark.parametrize("method", ["mse", "percentile"])
@pytest.mark.parametrize("outlier", [1e3, 1e6, -1e6])
@pytest.mark.parametrize("shape", [(1_000_000,), (1_000, 1_000)])
def test_one_outlier_costs_the_others_nothing(method, outlier, shape):
    values = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    seen = histogram(values, np.full((1, *shape[1:]), outlier))
    found = seen.range(method, 8)
    assert 0.99 < found.high < 1.02
    assert found.low >= -1.02
    assert seen.outliers == 1
    assert seen.lost(found, 8) < 0.01


@pytest.mark.parametrize("method", ["mse", "percentile"])
def test_an_outlying_sample_counts_once_however_many_values_it_has(method):
    """A pixel of 1e6 reaches every value of its sample in a network's later layers."""
    values = np.random.default_rng(0).normal(0, 1, (100, 500)).astype(np.float32)
    clean = histogram(values).range(method, 8)
    values[17] *= 1e6
    assert histogram(values).range("minmax", 8).high > 1e6
    assert histogram(values).range(method, 8).high == pytest.approx(clean.high, rel=0.1)


def drawn(kind: str) -> np.ndarray:
    """[500, 1000]: as many samples of a distribution."""
    random, shape = np.random.default_rng(7), (500, 1000)
    values = {
        "half normal": lambda: np.maximum(random.normal(0, 1, shape), 0),
        "laplace": lambda: random.laplace(0, 1, shape),
        "student": lambda: random.standard_t(3, shape),
        "lognormal": lambda: random.lognormal(0, 1, shape),
    }[kind]()
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "four_bits", "eight_bits"),
    [
        ("half normal", (0, 2.90625), (0, 4.28125)),
        ("laplace", (-4.9375, 4.9375), (-9.625, 9.625)),
        ("student", (-9.0625, 9.0625), (-54.75, 54.75)),
        ("lognormal", (0, 21.375), (0, 92.5)),
    ],
)
def test_a_heavy_tail_is_part_of_its_distribution(kind, four_bits, eight_bits):
    """The least squared error over all values, with no regard to samples."""
    seen = histogram(drawn(kind))
    assert [seen.range("mse", bits) for bits in (4, 8)] == [Range(*four_bits), Range(*eight_bits)]
    assert seen.ordinary() is seen
    assert seen.outliers == 0


def test_a_few_samples_are_outliers_and_many_are_not():
    values = np.random.default_rng(0).uniform(0, 1, (128, 50)).astype(np.float32)
    values[:2, 3] = 300, 9000
    assert histogram(values).outliers == 2
    assert histogram(values).range("mse", 8).high < 1.02
    values[2, 3] = 310
    assert histogram(values).outliers == 1
    assert histogram(values).ordinary().high == 310
    values[:3, 3] = 300, 310, 320
    assert histogram(values).outliers == 0
    assert [histogram(values[first:5]).outliers for first in (2, 3, 4)] == [1, 0, 0]


def test_samples_of_zeros_say_nothing_about_the_others():
    values = np.zeros((100, 10), np.float32)
    values[:3, 4] = 1, 2, 3
    assert histogram(values).range("mse", 8).high == 3
    assert histogram(values).outliers == 0


def test_values_lost_in_a_step():
    seen = histogram(np.array([[0, 0.4, 0.4, 0.6, 1000]]))
    assert seen.lost(Range(0, 255), 8) == 0.5
    assert seen.lost(Range(0, 1e6), 8) == 1
    assert histogram([0.0]).lost(Range(0, 1), 8) == 0


def test_constants_and_zeros():
    assert histogram([3.0, 3.0]).range("mse", 8).high == 3
    assert histogram([0.0]).range("mse", 8) == histogram([0.0]).range("percentile", 8) == Range(0, 0)
    assert histogram([-2.0]).range("minmax", 8) == Range(-2, 0)


def test_unknown_method():
    with pytest.raises(InvalidInputError, match="ranges: got 'max', accepted are mse, percentile, minmax"):
        checked_method("max")
