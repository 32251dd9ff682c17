"""The mathematics of calibration on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.build import build
from espalier.calibration.evaluate import evaluate
from espalier.calibration.fit import (
    choice_variability,
    contribution,
    fit_correction,
    fit_predictor,
    mean_divergence,
    subsample,
    winners_mask,
)
from espalier.core.calibration import Calibration, Gate
from espalier.core.plan import Plan
from espalier.frontend.onnx import from_onnx
from tests.models import plain_net

random = np.random.default_rng(0)


def test_a_planted_linear_relation_is_recovered():
    features = random.uniform(0, 2, (400, 6)).astype(np.float32)
    phi = random.normal(size=(6, 5)).astype(np.float32)
    target = features @ phi + 20
    found, rho = fit_predictor(features, target, ridge=1e-8)
    np.testing.assert_allclose(found, phi, atol=1e-3)
    np.testing.assert_allclose(rho, np.full(5, 20), atol=1e-2)


def test_a_large_ridge_gives_the_mean():
    features, target = random.uniform(0, 2, (50, 3)), random.uniform(0, 1, (50, 4))
    phi, rho = fit_predictor(features, target, ridge=1e9)
    np.testing.assert_allclose(phi, 0, atol=1e-6)
    np.testing.assert_allclose(rho, target.mean(0), rtol=1e-5)


def test_no_prediction_is_clipped():
    features = random.uniform(0, 2, (100, 3))
    target = features @ random.normal(size=(3, 4)) - 5
    phi, rho = fit_predictor(features, target, ridge=1e-3)
    assert (features @ phi + rho).min() > 0


def test_a_feature_that_never_changes_is_harmless():
    features = np.concatenate([random.uniform(0, 2, (50, 2)), np.zeros((50, 1))], 1)
    phi, rho = fit_predictor(features, features[:, :1] * 2, ridge=1e-6)
    np.testing.assert_allclose(features @ phi + rho, features[:, :1] * 2, atol=1e-3)


@given(
    saliency=arrays.arrays(np.float32, (3, 8), elements=st.integers(0, 3).map(np.float32)),
    granularity=st.sampled_from([1, 2, 4]),
    kept=st.integers(1, 2),
)
def test_winners_are_the_largest_groups_and_the_lowest_of_equals(saliency, granularity, kept):
    mask = winners_mask(saliency, granularity, kept)
    for row, one in zip(saliency, mask):
        scores = [sum(row[i : i + granularity]) for i in range(0, 8, granularity)]
        winners = sorted(range(len(scores)), key=lambda group: (-scores[group], group))[:kept]
        np.testing.assert_array_equal(one, [float(channel // granularity in winners) for channel in range(8)])


@pytest.mark.parametrize(("granularity", "mode"), [(1, "select"), (4, "select"), (4, "boost")])
def test_masks_are_the_winners_of_the_compiled_gate(granularity, mode):
    """Two saliencies tie in every layer, and the predictor differs between inputs."""
    mod = from_onnx(plain_net(channels=16))
    plan = Plan(density=0.5, granularity=granularity)
    phi = {name: random.normal(size=(c, 16)).astype(np.float32) for name, c in (("conv0", 3), ("conv1", 16))}
    for matrix in phi.values():
        matrix[:, 4:8] = matrix[:, 0:4]
    calibration = Calibration({name: Gate(one, np.zeros(16, np.float32), mode) for name, one in phi.items()})
    x = random.normal(size=(20, 3, 8, 8)).astype(np.float32)
    expected = evaluate(mod, x, plan, calibration)
    for lower in (True, False):
        artifact = build(mod, plan=plan, calibration=calibration, lower=lower)
        np.testing.assert_allclose(np.concatenate([artifact(one[None]) for one in x]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_planted_correction_is_recovered(groups):
    planted = random.normal(size=(groups, 5, 4)).astype(np.float32)
    rows = [random.normal(1, 1, size=(groups, 200, 5)).astype(np.float32) for _ in range(3)]
    correction, shift = fit_correction([(x, x @ planted + 2) for x in rows], ridge=1e-7)
    np.testing.assert_allclose(correction, planted, atol=1e-3)
    np.testing.assert_allclose(shift, np.full((groups, 4), 2), atol=1e-2)


def test_nothing_missing_is_nothing_corrected():
    rows = random.normal(size=(1, 50, 5)).astype(np.float32)
    correction, shift = fit_correction([(rows, np.zeros((1, 50, 3), np.float32))], ridge=1e-2)
    assert not correction.any()
    assert not shift.any()


def test_inputs_of_zeros_get_a_bias_only():
    correction, shift = fit_correction([(np.zeros((1, 50, 5)), np.ones((1, 50, 3)))], ridge=1e-2)
    assert not correction.any()
    np.testing.assert_allclose(shift, 1)


def test_small_quantities():
    x = np.array([[[[1.0, -3.0]], [[0.0, 2.0]]]], np.float32)
    np.testing.assert_allclose(subsample(x), [[2, 1]])
    np.testing.assert_allclose(contribution(x, np.array([1.0, 2.0])), [[np.sqrt(5), 2 * np.sqrt(2)]], rtol=1e-6)
    centred = contribution(x, np.array([1.0, 2.0]), centre=np.array([-1.0, 2.0], np.float32))
    np.testing.assert_allclose(centred, [[2, 2 * np.sqrt(2)]], rtol=1e-6)
    static = np.tile(np.float32([1, 0]), (10, 1))
    half = np.array([[1, 0], [0, 1]] * 5, np.float32)
    assert (choice_variability(static, 0.5), choice_variability(half, 0.5)) == (0, 1)


def test_divergence():
    logits = random.normal(size=(5, 4)).astype(np.float32)
    assert mean_divergence(logits, logits + 3) == pytest.approx(0, abs=1e-12)
    p, q = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert mean_divergence(np.log(p)[None], np.log(q)[None]) == pytest.approx(expected)
