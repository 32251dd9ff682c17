"""The best integer levels, against every choice there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from fitting_conformance import errors, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.passes.quantize.fitting.levels_of_cells import best_levels, cell_moments, widened
from espalier.passes.quantize.fitting.problem import Problem

WIDTH = 4
small = arrays.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 6)), elements=st.integers(-40, 40))


def every_choice(count):
    """All sets of at most `count` levels of four bits, 0 among them."""
    others = [level for level in range(-8, 8) if level]
    return [np.sort([0, *some]) for size in range(count) for some in combinations(others, size)]


@settings(deadline=None)
@given(small, st.integers(1, 4), st.booleans())
def test_no_choice_is_better(weight, count, is_weighted):
    importance = np.arange(1, weight.shape[1] + 1) if is_weighted else None
    problem = Problem.of(weight, importance=importance)
    scale = 3.3 / problem.peak  # in units of the peaks: 3.3 in the weights' own
    error, levels = best_levels(cell_moments(problem, scale, WIDTH), count, problem.energy)
    counted = 1 if importance is None else importance / importance.mean()
    absolute = np.full(len(weight), 3.3)
    least = min((counted * errors(weight, one, absolute)).sum() for one in every_choice(count))
    assert error == pytest.approx(least, rel=1e-4, abs=1e-3)
    assert (counted * errors(weight, levels, absolute)).sum() == pytest.approx(least, rel=1e-4, abs=1e-3)
    assert len(levels) <= count
    assert 0 in levels


@pytest.mark.parametrize("times", [1, 2, 4])
def test_moments_of_wider_scales_are_sums_of_moments(times):
    problem = Problem.of(normal(5, 300))
    scale = np.full(5, 2**-5, np.float32)
    wide = widened(cell_moments(problem, scale, WIDTH, 4), times, WIDTH)
    np.testing.assert_allclose(wide, cell_moments(problem, scale * np.float32(times), WIDTH), rtol=1e-6, atol=1e-6)
