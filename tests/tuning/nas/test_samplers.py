from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from search_problems import problem

from espalier.tuning.budget import Budget
from espalier.tuning.nas import samplers
from espalier.tuning.nas.study import Search, front_of

pytest.importorskip("optuna")


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("5m", "qlognehvi"), ("15m", "qlognehvi"), ("2h", "nsga2"), ("300trials", "qlognehvi"), ("301trials", "nsga2")],
)
def test_the_default_sampler_depends_on_the_budget(budget, expected, monkeypatch):
    monkeypatch.setattr(samplers.importlib.util, "find_spec", lambda name: name)
    assert samplers.sampler_for("auto", Budget.parse(budget), 2, 0) == expected
    assert samplers.sampler_for("random", Budget.parse(budget), 2, 0) == "random"


@pytest.mark.parametrize(
    ("objectives", "known", "expected"),
    [(1, 0, "qlognehvi"), (3, 0, "nsga2"), (2, 300, "qlognehvi"), (2, 301, "nsga2")],
)
def test_the_default_sampler_depends_on_what_is_to_be_modelled(objectives, known, expected, monkeypatch):
    monkeypatch.setattr(samplers.importlib.util, "find_spec", lambda name: name)
    assert samplers.sampler_for("auto", Budget.parse("5m"), objectives, known) == expected


def test_the_default_sampler_needs_no_botorch(monkeypatch):
    monkeypatch.setattr(samplers.importlib.util, "find_spec", lambda name: None)
    assert samplers.sampler_for("auto", Budget.parse("5m"), 2, 0) == "nsga2"


def test_limits_on_objectives_bound_the_hypervolume_that_a_model_expects():
    pytest.importorskip("botorch")
    from espalier.tuning.nas.bayesian import HypervolumeSampler

    sampler = HypervolumeSampler(problem("latency<=4ms", "accuracy>=62%", "latency>=1ms"), 0)
    losses = np.array([[-0.5, 0.001], [-0.6, 0.003], [-0.65, 0.004], [-0.7, 0.006]])
    assert sampler._worst(losses) == pytest.approx([0.0, norm.ppf(3 / 4)])
    assert sampler._worst(losses[3:]) == pytest.approx([0.1, norm.ppf(1 / 4)])


def test_a_model_searches_within_limits():
    pytest.importorskip("botorch")
    search = Search(problem("latency<=6ms", "accuracy>=59%"), None, "qlognehvi", 0)
    search.run(Budget(trials=34))
    found = [one.values["latency"].number for one in front_of(search.problem, search.evaluated)]
    assert found == pytest.approx([6e-3, 5e-3, 4e-3])
