from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espalier.tuning.nas.front import front, hypervolume, thinned

LOSSES = st.integers(1, 3).flatmap(
    lambda columns: arrays(np.int64, st.tuples(st.integers(1, 7), st.just(columns)), elements=st.integers(0, 4))
)


@settings(deadline=None)
@given(LOSSES)
def test_a_front_dominates_the_rest_and_itself_not(losses):
    kept = losses[front(losses)]
    assert len(np.unique(kept, axis=0)) == len(kept)
    for row in losses:
        assert ((kept <= row).all(1)).any()
    for row in kept:
        assert not ((losses <= row).all(1) & (losses < row).any(1)).any()


@settings(deadline=None)
@given(LOSSES, st.integers(1, 7))
def test_a_thinned_front_keeps_what_dominates_most(losses, count):
    losses = losses[front(losses)].astype(float)
    kept = thinned(losses, count)
    assert len(kept) == min(count, len(losses)) == len(set(kept.tolist()))
    low, span, ends = losses.min(0), np.ptp(losses, axis=0), set(losses.argmin(0).tolist())
    assert ends <= set(kept.tolist()) or count < len(ends)
    scaled, reference = (losses - low) / np.where(span > 0, span, 1), np.full(losses.shape[1], 1.1)
    if len(losses) == count + 1:
        for out in set(range(len(losses))) - (ends if len(ends) <= count else set()):
            assert hypervolume(scaled[kept], reference) >= hypervolume(np.delete(scaled, out, 0), reference)


def on_a_sphere(count, columns, seed):
    """Losses of which none dominates another."""
    drawn = np.abs(np.random.default_rng(seed).normal(size=(count, columns)))
    return -drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def every_rest(losses, count):
    """As `thinned`, by the volumes of all rests; there is room for the best of each objective."""
    scaled = (losses - losses.min(0)) / np.ptp(losses, axis=0)
    kept, reference = [*range(len(losses))], np.full(losses.shape[1], 1.1)
    while len(kept) > count:
        rests = [[one for one in kept if one != out] for out in kept if out not in losses.argmin(0)]
        kept = max(rests, key=lambda rest: hypervolume(scaled[rest], reference))
    return kept


@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_thinned_front_leaves_out_what_is_worth_least(columns, seed):
    losses = on_a_sphere(12, columns, seed)
    assert len(front(losses)) == 12
    assert thinned(losses, 5).tolist() == every_rest(losses, 5)


def test_large_fronts_of_many_objectives_are_thinned_soon(monkeypatch):
    """In less work than a single volume of all rows takes, which is made of slices of one objective less."""
    slices = []
    monkeypatch.setattr("espalier.tuning.nas.front.hypervolume", lambda *words: slices.append(1) or hypervolume(*words))
    losses = on_a_sphere(40, 4, 0)
    assert len(thinned(losses, 5)) == 5
    of_thinning = len(slices)
    hypervolume(losses, np.full(4, 1.1))
    assert of_thinning < len(slices) - of_thinning


def test_a_thinned_front_keeps_its_ends():
    losses = np.array([[0.0, 9.0], [1.0, 8.9], [2.0, 3.0], [2.1, 2.9], [9.0, 0.0]])
    assert thinned(losses, 3).tolist() == [0, 3, 4]
    near = np.array([[0.0, 9.0], [0.1, 4.0], [4.0, 0.1], [9.0, 0.0]])
    assert thinned(near, 2).tolist() == [0, 3]
    assert thinned(near, 1).tolist() in ([1], [2])


@settings(deadline=None)
@given(LOSSES)
def test_hypervolume_counts_the_dominated_cells(losses):
    """Of whole numbers it is the number of unit cells with a corner that some row reaches."""
    corners = np.stack(np.meshgrid(*[range(4)] * losses.shape[1], indexing="ij"), -1).reshape(-1, losses.shape[1])
    cells = sum((losses <= corner).all(1).any() for corner in corners)
    assert hypervolume(losses.astype(float), np.full(losses.shape[1], 4.0)) == pytest.approx(cells)


def test_what_is_beyond_the_reference_counts_nothing():
    assert hypervolume(np.array([[2.0, 0.0]]), np.array([1.0, 1.0])) == 0
    assert hypervolume(np.zeros((0, 2)), np.array([1.0, 1.0])) == 0
