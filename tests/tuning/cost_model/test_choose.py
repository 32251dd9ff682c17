"""Models by name; the one that the package carries is of this version and ranks before any measurement."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import SPACES, exact_samples

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.choose import PRETRAINED, load_model, new_model
from espalier.tuning.cost_model.gaussian_process import ResidualProcess


def test_the_packages_model_has_learned_from_measurements():
    model, fresh = new_model(PRETRAINED), ResidualProcess()
    assert len(model.process.values) >= 200
    for task, space in SPACES.items():
        known, prior = model.predict(task, space), fresh.predict(task, space)
        assert np.isfinite(known.log_seconds).all()
        assert known.deviation.mean() < prior.deviation.mean()


def test_it_goes_on_learning_and_keeps_what_it_had_learned():
    model = new_model(PRETRAINED)
    inherited = len(model.process.values)
    model.fit(exact_samples(5))
    assert len(model.process.values) == inherited + len(exact_samples(5))


def test_unknown_names_and_endings_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="got 'oracle', accepted are pretrained, analytic"):
        new_model("oracle")
    with pytest.raises(InvalidInputError, match="got the ending '.pkl', accepted are"):
        load_model(tmp_path / "model.pkl")
