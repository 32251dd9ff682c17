"""The analytic rule as a cost model."""

from __future__ import annotations

import math

import pytest
from oracles.cost_models import CostModelSuite
from oracles.tuning import CYCLE_S, SPACES

from espalier.tuning.cost_model.analytic import Analytic
from espalier.tuning.cost_model.interface import Sample


class TestAnalytic(CostModelSuite):
    name, spearman = "analytic", 0.2


def test_it_learns_how_long_a_cycle_takes():
    model = Analytic()
    model.fit([Sample(task, one, one.cycles * CYCLE_S) for task, space in SPACES.items() for one in space])
    assert model.log_cycle_s == pytest.approx(math.log(CYCLE_S))
