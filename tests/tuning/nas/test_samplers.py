from __future__ import annotations

import pytest

from espalier.tuning.budget import Budget
from espalier.tuning.nas import samplers


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("5m", "qlognehvi"), ("15m", "qlognehvi"), ("2h", "nsga2"), ("300trials", "qlognehvi"), ("301trials", "nsga2")],
)
def test_the_default_sampler_depends_on_the_budget(budget, expected, monkeypatch):
    monkeypatch.setattr(samplers.importlib.util, "find_spec", lambda name: name)
    assert samplers.sampler_for("auto", Budget.parse(budget)) == expected
    assert samplers.sampler_for("random", Budget.parse(budget)) == "random"


def test_the_default_sampler_needs_no_botorch(monkeypatch):
    monkeypatch.setattr(samplers.importlib.util, "find_spec", lambda name: None)
    assert samplers.sampler_for("auto", Budget.parse("5m")) == "nsga2"
