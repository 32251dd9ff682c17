"""Predicted accuracies, on networks whose errors follow a law that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from espalier.core.architecture import architecture_space, work_of
from espalier.core.errors import InvalidInputError
from espalier.tuning.nas.accuracy_model import LEAST_NETWORKS, AccuracyModel, left_out
from espalier.tuning.nas.sampling import spread
from espalier.tuning.nas.tuned_networks import TunedNetwork

SPACE = architecture_space("resnet-cifar")
PLAIN, FEW_BITS = ("float32",) * 3, ("uniform<4>", "uniform<6>", "uniform<4>")


def accuracy_of(architecture, weights=PLAIN) -> float:
    """Errors fall as a power of the work, and are a tenth larger in few bits; a deep last stage is worth a little."""
    error = 0.12 * (work_of(architecture)[0] / 12.5e6) ** -0.35
    error *= 1 - 0.01 * architecture.stages[2].depth
    return 1 - error * (1.1 if weights == FEW_BITS else 1)


def sampled(count: int, seed: int, noise: float = 0.0) -> list[TunedNetwork]:
    random, found = np.random.default_rng(seed), []
    for architecture in spread(SPACE, count, seed):
        for weights in (PLAIN, FEW_BITS):
            before = 0.3 + 0.08 * math.log(work_of(architecture)[0] / 2e6) + random.normal(0, 0.05)
            accuracy = accuracy_of(architecture, weights) + random.normal(0, noise)
            found.append(TunedNetwork(str(architecture), weights, before, accuracy, ""))
    return found


def test_networks_never_seen_are_predicted():
    model, random = AccuracyModel(), np.random.default_rng(7)
    model.fit(sampled(24, 0, noise=0.003))
    others = [SPACE.sample(random) for _ in range(40)]
    for weights in (PLAIN, FEW_BITS):
        told = [model.predict(one, weights, 0.5) for one in others]
        true = np.array([accuracy_of(one, weights) for one in others])
        assert np.abs(np.array([one.accuracy for one in told]) - true).mean() < 0.006
        assert spearmanr([one.accuracy for one in told], true)[0] > 0.97
        assert all(0.0005 < one.deviation < 0.02 for one in told)


def test_noisy_samples_are_less_certain():
    deviations = []
    for noise in (0.001, 0.01):
        model = AccuracyModel()
        model.fit(sampled(24, 0, noise))
        deviations.append(model.predict(SPACE.largest, PLAIN, 0.5).deviation)
    assert deviations[0] < deviations[1]


def test_what_is_left_out_is_not_seen():
    networks = sampled(6, 0)
    wrong = [
        TunedNetwork(one.architecture, one.weights, one.supernet_accuracy, 0.1, "") if number < 2 else one
        for number, one in enumerate(networks)
    ]
    assert left_out(wrong)[0] == left_out(networks)[0]
    errors = [abs(one.accuracy - told.accuracy) for one, told in zip(networks, left_out(networks))]
    assert np.mean(errors) < 0.01


def test_too_few_networks_are_refused():
    with pytest.raises(InvalidInputError, match=f"accepted are {LEAST_NETWORKS} or more"):
        AccuracyModel().fit(sampled(2, 0))
    with pytest.raises(InvalidInputError, match="fit it first"):
        AccuracyModel().predict(SPACE.largest, PLAIN, 0.5)
