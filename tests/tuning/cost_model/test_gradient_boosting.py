"""Boosted trees, as a ranking and as a regression."""

from __future__ import annotations

import pytest
from oracles.cost_models import CostModelSuite
from oracles.tuning import SPACES, exact_samples, spearman, true_seconds

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.features import CONVOLUTIONS
from espalier.tuning.cost_model.gradient_boosting import RANKING, REGRESSION, BoostedTrees
from espalier.tuning.cost_model.interface import Features


class TestRanking(CostModelSuite):
    name, spearman = "xgboost", 0.6


@pytest.mark.parametrize("objective", [RANKING, REGRESSION])
def test_either_objective_learns_and_comes_back(objective, tmp_path):
    model = BoostedTrees(objective)
    model.fit(exact_samples(40))
    model.save(tmp_path / "model.ubj")
    assert BoostedTrees.load(tmp_path / "model.ubj").objective == objective
    for task, space in SPACES.items():
        predicted = model.predict(task, space).log_seconds
        assert spearman(predicted, [true_seconds(task, one) for one in space]) > 0.7


def test_a_model_that_learned_nothing_is_not_saved(tmp_path):
    with pytest.raises(InvalidInputError, match="nothing was learned yet"):
        BoostedTrees().save(tmp_path / "model.ubj")


def test_other_features_are_refused(tmp_path):
    model = BoostedTrees()
    model.fit(exact_samples(4))
    model.save(tmp_path / "model.ubj")
    others = Features(("cycles",), CONVOLUTIONS.rows)
    with pytest.raises(InvalidInputError, match="features is .* accepted is"):
        BoostedTrees.load(tmp_path / "model.ubj", others)
