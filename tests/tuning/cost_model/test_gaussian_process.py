"""The process learns what the rule gets wrong, and knows how sure it is."""

from __future__ import annotations

import numpy as np
from oracles.cost_models import CostModelSuite
from oracles.tuning import SPACES, exact_samples, true_seconds

from espalier.tuning.cost_model.analytic import Analytic
from espalier.tuning.cost_model.gaussian_process import ResidualProcess


class TestResidualProcess(CostModelSuite):
    name, spearman = "gp", 0.95


def errors(model) -> np.ndarray:
    """Of log seconds, over all choices."""
    found = [(model.predict(task, space), space, task) for task, space in SPACES.items()]
    true = [np.log([true_seconds(task, one) for one in space]) for _, space, task in found]
    return np.concatenate([one.log_seconds - seconds for (one, _, _), seconds in zip(found, true)])


def test_it_is_closer_than_the_rule():
    rule, process = Analytic(), ResidualProcess()
    for model in (rule, process):
        model.fit(exact_samples(24))
    assert np.abs(errors(process)).mean() < 0.25 * np.abs(errors(rule)).mean()


def test_it_is_sure_where_it_has_measured():
    model, samples = ResidualProcess(), exact_samples(24)
    model.fit(samples)
    task, space = next(iter(SPACES.items()))
    seen = {one.option for one in samples if one.task == task}
    deviation = dict(zip(space, model.predict(task, space).deviation))
    known, unknown = (
        [value for option, value in deviation.items() if (option in seen) == which] for which in (True, False)
    )
    assert np.mean(known) < np.mean(unknown)


def test_before_anything_is_measured_it_says_what_the_rule_says():
    task, space = next(iter(SPACES.items()))
    prior = ResidualProcess().predict(task, space)
    np.testing.assert_array_equal(prior.log_seconds, Analytic().predict(task, space).log_seconds)
    assert (prior.deviation > 0.1).all()


def test_a_loaded_model_keeps_what_it_had_learned(tmp_path):
    """Of the differences between choices; how long a cycle takes is learned anew, for the machine may be another."""
    first, fresh = ResidualProcess(), ResidualProcess()
    first.fit(exact_samples(24))
    first.save(tmp_path / "model.npz")
    loaded = ResidualProcess.load(tmp_path / "model.npz")
    for model in (loaded, fresh):
        model.fit(exact_samples(1, seed=1))
    assert errors(loaded).std() < 0.3 * errors(fresh).std()


def test_draws_follow_mean_and_covariance():
    model = ResidualProcess()
    model.fit(exact_samples(12))
    task, space = next(iter(SPACES.items()))
    found = model.predict(task, space[:20])
    draws = found.draws(4000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(0), found.log_seconds, atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), found.covariance, atol=0.1 * found.covariance.max())
