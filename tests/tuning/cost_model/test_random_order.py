"""The control knows nothing."""

from __future__ import annotations

from oracles.cost_models import CostModelSuite
from oracles.tuning import SPACES, spearman, true_seconds

from espalier.tuning.cost_model.random_order import RandomOrder


class TestRandomOrder(CostModelSuite):
    name, spearman = "random", -0.5


def test_its_order_depends_on_the_seed_and_on_nothing_else():
    task, options = next(iter(SPACES.items()))
    true = [true_seconds(task, one) for one in options]
    found = [RandomOrder(seed).predict(task, options).log_seconds for seed in (0, 0, 1)]
    assert spearman(found[0], found[1]) > 0.999
    assert abs(spearman(found[0], found[2])) < 0.3
    assert abs(spearman(found[0], true)) < 0.3
