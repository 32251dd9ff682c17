"""Uniform and shift: scales that keep the error low."""

from __future__ import annotations

import numpy as np
import pytest
from fitting_conformance import Conformance, error_of, errors, heavy, normal

from espalier.core.formats import Shift, Uniform
from espalier.passes.quantize.fitting.fit import fit


class TestUniform(Conformance):
    texts = ("uniform<2>", "uniform<3>", "uniform<4>", "uniform<5>", "uniform<6>", "uniform<8>")


class TestShift(Conformance):
    texts = tuple(f"shift<{bits}>" for bits in Shift.accepted)


@pytest.mark.parametrize(("bits", "gain"), [(2, 4), (3, 3.5), (4, 2), (8, 1.01)])
def test_clipping_a_heavy_tail_beats_the_greatest_magnitude(bits, gain):
    weight, fmt = np.random.default_rng(0).laplace(size=(4, 2000)).astype(np.float32), Uniform(bits)
    unclipped = np.abs(weight).max(axis=1) / (2 ** (bits - 1) - 1)
    assert error_of(weight, fit(weight, fmt)) * gain < errors(weight, fmt.levels(), unclipped).sum()


@pytest.mark.parametrize("fmt", [Uniform(2), Uniform(4), Uniform(8), Shift(2), Shift(4), Shift(5)], ids=str)
def test_scales_are_near_the_best_of_a_fine_search(fmt):
    """Every channel by itself, against 400 scales from 1/64 of the unclipped one to twice as much."""
    weight = np.concatenate([normal(3, 400), heavy(3, 400)])
    unclipped = np.abs(weight).max(axis=1) / fmt.levels()[-1]
    tried = [errors(weight, fmt.levels(), unclipped * 2.0**octave).sum(axis=1) for octave in np.linspace(-6, 1, 400)]
    fitted = fit(weight, fmt)
    found = errors(weight, fmt.levels(), fitted.scale).sum(axis=1)
    assert (found <= 1.1 * np.min(tried, axis=0)).all()
    assert found.sum() <= 1.01 * np.min(tried, axis=0).sum()


def test_a_shift_of_shifts_is_exact():
    """The bias of each channel is found: powers of two times any factor."""
    powers = np.array([-8, -4, -1, 0, 1, 2, 2, 8], np.float32)
    weight = powers * np.array([[1e-4], [0.3], [7]], np.float32)
    fitted = fit(weight, Shift(4))
    np.testing.assert_array_equal(fitted.integers, np.broadcast_to(powers, (3, 8)))
    np.testing.assert_allclose(fitted.dequantized(), weight, rtol=1e-6)


@pytest.mark.parametrize("width_bits", range(4, 9))
def test_levels_stay_inside_a_narrower_width(width_bits):
    fitted = fit(normal(4, 30), Shift(4 if width_bits < 6 else 5), width_bits)
    assert np.abs(fitted.integers.astype(int)).max() < 2 ** (width_bits - 1)
