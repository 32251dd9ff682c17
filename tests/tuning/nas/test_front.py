from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espalier.tuning.nas.front import front, hypervolume

LOSSES = st.integers(1, 3).flatmap(
    lambda columns: arrays(np.int64, st.tuples(st.integers(1, 7), st.just(columns)), elements=st.integers(0, 4))
)


@given(LOSSES)
def test_a_front_dominates_the_rest_and_itself_not(losses):
    kept = losses[front(losses)]
    assert len(np.unique(kept, axis=0)) == len(kept)
    for row in losses:
        assert ((kept <= row).all(1)).any()
    for row in kept:
        assert not ((losses <= row).all(1) & (losses < row).any(1)).any()


@given(LOSSES)
def test_hypervolume_counts_the_dominated_cells(losses):
    """Of whole numbers it is the number of unit cells with a corner that some row reaches."""
    corners = np.stack(np.meshgrid(*[range(4)] * losses.shape[1], indexing="ij"), -1).reshape(-1, losses.shape[1])
    cells = sum((losses <= corner).all(1).any() for corner in corners)
    assert hypervolume(losses.astype(float), np.full(losses.shape[1], 4.0)) == pytest.approx(cells)


def test_what_is_beyond_the_reference_counts_nothing():
    assert hypervolume(np.array([[2.0, 0.0]]), np.array([1.0, 1.0])) == 0
    assert hypervolume(np.zeros((0, 2)), np.array([1.0, 1.0])) == 0
