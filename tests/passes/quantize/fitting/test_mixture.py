"""Expectation maximisation and the separation of components."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.passes.quantize.fitting.mixture import Mixture, fit_mixture, group_moments

KNOWN = Mixture(np.array([-1.0, 2.0]), np.array([0.5, 1.5]), np.array([0.25, 0.75]))


def density(mixture, x):
    """Each component's share, as the formula says it."""
    z = (x - mixture.means[:, None]) / mixture.deviations[:, None]
    return (mixture.proportions / mixture.deviations)[:, None] * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def drawn(mixture, size, seed=0):
    random = np.random.default_rng(seed)
    component = (random.random(size) < mixture.proportions[1]).astype(int)
    return random.normal(mixture.means[component], mixture.deviations[component]).astype(np.float32)


@pytest.mark.parametrize(
    "known",
    [
        KNOWN,
        Mixture(np.array([-0.5, 0.5]), np.array([0.2, 0.2]), np.array([0.5, 0.5])),
        Mixture(np.array([-3.0, 1.0]), np.array([1.0, 0.25]), np.array([0.9, 0.1])),
    ],
)
def test_a_known_mixture_is_recovered(known):
    found = fit_mixture(drawn(known, 50_000))
    np.testing.assert_allclose(found.means, known.means, atol=0.04)
    np.testing.assert_allclose(found.deviations, known.deviations, rtol=0.04)
    np.testing.assert_allclose(found.proportions, known.proportions, atol=0.015)


def test_no_mixture_nearby_is_likelier():
    x = drawn(KNOWN, 3000)
    found = fit_mixture(x)

    def likelihood(mixture):
        return np.log(density(mixture, x.astype(np.float64)).sum(axis=0)).mean()

    for name in ("means", "deviations"):
        for i in range(2):
            for by in (-0.02, 0.02):
                moved = getattr(found, name).copy()
                moved[i] += by
                parts = {"means": found.means, "deviations": found.deviations, name: moved}
                assert likelihood(Mixture(**parts, proportions=found.proportions)) < likelihood(found)


def test_separation_by_hand():
    """((-1 - 2)^2 + (0.5 - 1.5)^2) / 4."""
    assert KNOWN.separation(4.0) == 2.5


def test_densities_and_posterior_are_bayes():
    x = np.array([-30.0, -1.0, 0.1, 2.0, 40.0])
    share = density(KNOWN, x)
    np.testing.assert_allclose(np.exp(KNOWN.log_densities(x)), share, rtol=1e-12)
    np.testing.assert_allclose(KNOWN.posterior(x)[1:4], share[1, 1:4] / share[:, 1:4].sum(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(KNOWN.posterior(x)[[0, 4]] > 0.999, True)  # the wider component wins far out


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [-3.0, -1.0], [0.0, 1.0]])
def test_values_of_one_sign_have_no_mixture(x):
    assert fit_mixture(np.array(x, np.float32)) is None


@pytest.mark.parametrize("x", [[-1, 1], [-1] * 5 + [1e6], [-1e-30, 1e-30, 1e-30]])
def test_components_do_not_collapse(x):
    found = fit_mixture(np.array(x, np.float32))
    assert (found.deviations > 0).all()
    assert np.isfinite([found.means, found.deviations, found.proportions]).all()
    assert found.means[0] < 0 < found.means[1]


def test_groups_keep_the_moments_and_the_signs_apart():
    x = np.sort(drawn(KNOWN, 5000).astype(np.float64))
    weights = np.random.default_rng(1).random(5000)
    total, means, squares = group_moments(x, weights)
    assert len(total) <= 2049
    assert total @ means == pytest.approx(weights @ x)
    assert total @ squares == pytest.approx(weights @ x**2)
    negative = x < 0
    assert total[means < 0] @ means[means < 0] == pytest.approx(weights[negative] @ x[negative])


def test_no_values_have_no_groups():
    assert [len(one) for one in group_moments(np.zeros(0), np.zeros(0))] == [0, 0, 0]
