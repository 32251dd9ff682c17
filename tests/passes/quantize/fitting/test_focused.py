"""Focused quantization: components, the fallback, and levels that are integers."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import ORDINARY, UNUSUAL, Conformance, assert_same, error_of, heavy, normal, parted, rounding

from espalier.core.formats import Focused, Shift
from espalier.passes.quantize.fitting import focused
from espalier.passes.quantize.fitting.fit import fit


class TestFocused(Conformance):
    texts = tuple(f"focused<{bits}>" for bits in Focused.accepted)


def pruned(weight, kept=0.4):
    """The mask of the greatest magnitudes."""
    return np.abs(weight) >= np.quantile(np.abs(weight), 1 - kept)


@pytest.mark.parametrize("fmt", [Focused(bits) for bits in Focused.accepted], ids=str)
@pytest.mark.parametrize("width_bits", [6, 7, 8])
def test_levels_are_means_and_shifts(fmt, width_bits):
    weight = normal(8, 16, 3, 3)
    fitted = fit(weight, fmt, width_bits, mask=pruned(weight))
    (low, fine), (high, coarse) = fitted.components
    assert low < 0 < high
    signed = [0, *(s * 2**e for e in range(8) for s in (-1, 1))]
    possible = {0, *(low + fine * one for one in signed), *(high + coarse * one for one in signed)}
    assert set(fitted.table.tolist()) <= possible
    assert len(fitted.table) <= fmt.level_count
    assert {0, low, high} <= set(fitted.table.tolist())
    assert np.abs(fitted.table.astype(int)).max() < 2 ** (width_bits - 1)


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_apart_it_beats_a_shift_of_as_many_bits(bits):
    weight = normal(8, 16, 3, 3)
    mask = pruned(weight)
    parted_fit, shift = (fit(weight, fmt, mask=mask) for fmt in (Focused(bits), Shift(bits)))
    assert parted_fit.components
    assert error_of(weight * mask, parted_fit) < 0.75 * error_of(weight * mask, shift)


@pytest.mark.parametrize("weight", [normal(64, 288), np.abs(normal(4, 50)), np.full((2, 8), 0.25, np.float32)])
@pytest.mark.parametrize("bits", [3, 4, 5])
def test_together_it_is_a_plain_shift(weight, bits):
    """One Gaussian; weights of one sign; equal weights."""
    one, shift = fit(weight, Focused(bits)), fit(weight, Shift(bits))
    assert one.components == ()
    for name in ("codes", "table", "scale"):
        np.testing.assert_array_equal(getattr(one, name), getattr(shift, name))


@pytest.mark.parametrize("bits", [3, 4, 5])
@pytest.mark.parametrize("weight", [heavy(8, 500), heavy(8, 500, seed=3), normal(6, 4, 3, 3)])
def test_it_is_never_worse_than_a_shift_of_as_many_bits(weight, bits):
    """Wide and narrow components around 0 pass the test of separation, too."""
    assert error_of(weight, fit(weight, Focused(bits))) <= error_of(weight, fit(weight, Shift(bits))) * (1 + 1e-6)


@pytest.mark.parametrize("name", [*ORDINARY, *UNUSUAL])
@pytest.mark.parametrize("bits", [3, 6])
def test_components_that_hardly_differ_are_fitted_too(bits, name, monkeypatch):
    """As if every layer passed the test of separation; a component may then be the likelier one for no weight."""
    monkeypatch.setattr(focused, "SEPARATION", 0)
    weight = (ORDINARY | UNUSUAL)[name]
    least = error_of(weight, fit(weight, Shift(min(bits, 5))))
    assert error_of(weight, fit(weight, Focused(bits))) <= least * (1 + 1e-5) + rounding(weight)
    fit(weight, Focused(bits), random=np.random.default_rng(0))


def test_tight_clusters_are_met_exactly():
    """Means are integers, so that two values are two levels, however small the deviations."""
    weight = np.random.default_rng(0).choice(np.array([-0.4, 0, 0.7], np.float32), (6, 90))
    np.testing.assert_allclose(fit(weight, Focused(4)).dequantized(), weight, rtol=0.01)


def test_components_drawn_from_the_posterior():
    weight = np.concatenate([parted(4, 400), normal(4, 400)])
    drawn = [fit(weight, Focused(5), random=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert_same(drawn[0], drawn[1])
    assert (drawn[0].codes != drawn[2].codes).any()
    likelier = fit(weight, Focused(5))
    assert all(one.components for one in (*drawn, likelier))
    assert error_of(weight, likelier) < error_of(weight, drawn[0])
