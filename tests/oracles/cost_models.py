"""What holds for every cost model: a suite that each one's tests inherit."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import SPACES, exact_samples, spearman, true_seconds

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.choose import load_model, new_model


class CostModelSuite:
    """A subclass names its model, and how well it ranks after `samples` measurements of each task."""

    name: str
    samples = 24
    spearman = 0.8

    def fitted(self, count: int | None = None):
        model = new_model(self.name)
        model.fit(exact_samples(count or self.samples))
        return model

    def test_predictions_have_their_shapes(self):
        for model in (new_model(self.name), self.fitted()):
            for task, options in SPACES.items():
                found = model.predict(task, options)
                assert found.log_seconds.shape == found.deviation.shape == (len(options),)
                assert np.isfinite(found.log_seconds).all()
                assert (found.deviation >= 0).all()
                assert found.draws(5, np.random.default_rng(0)).shape == (5, len(options))
                assert model.predict(task, options[:1]).log_seconds.shape == (1,)

    def test_it_ranks_what_it_has_not_seen(self):
        model = self.fitted()
        for task, options in SPACES.items():
            predicted = model.predict(task, options).log_seconds
            assert spearman(predicted, [true_seconds(task, one) for one in options]) >= self.spearman

    def test_the_same_samples_give_the_same_model(self):
        task, options = next(iter(SPACES.items()))
        one, other = (self.fitted().predict(task, options).log_seconds for _ in range(2))
        np.testing.assert_array_equal(one, other)

    def test_fitting_again_forgets(self):
        task, options = next(iter(SPACES.items()))
        model = self.fitted()
        model.fit([])
        fresh = new_model(self.name).predict(task, options).log_seconds
        np.testing.assert_array_equal(model.predict(task, options).log_seconds, fresh)

    def test_a_saved_model_predicts_the_same(self, tmp_path):
        model = self.fitted()
        path = tmp_path / f"model{model.suffix}"
        model.save(path)
        loaded = load_model(path)
        assert type(loaded) is type(model)
        for task, options in SPACES.items():
            expected, found = model.predict(task, options), loaded.predict(task, options)
            np.testing.assert_allclose(found.log_seconds, expected.log_seconds, rtol=1e-9)
            np.testing.assert_allclose(found.deviation, expected.deviation, rtol=1e-6, atol=1e-9)

    def test_another_versions_file_is_refused(self, tmp_path, monkeypatch):
        model = self.fitted()
        path = tmp_path / f"model{model.suffix}"
        model.save(path)
        monkeypatch.setattr("espalier.tuning.cost_model.interface.FORMAT", 2)
        with pytest.raises(InvalidInputError, match="format is 1, accepted is 2; train it again"):
            load_model(path)

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"\x80\x04\x95pickled"])
    def test_what_is_no_model_is_refused(self, content, tmp_path):
        path = tmp_path / f"model{new_model(self.name).suffix}"
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="cost model"):
            load_model(path)
