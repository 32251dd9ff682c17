"""A new device from a few measurements: other devices' models tell more than the measurements alone."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import SPACES, spearman, true_seconds

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.gaussian_process import ResidualProcess
from espalier.tuning.cost_model.interface import Sample
from espalier.tuning.cost_model.transfer import TransferredProcess

TASK, SPACE = next(iter(SPACES.items()))
FEW, KNOWN = 6, 40


def device_s(option, bend: float) -> float:
    """Seconds on a device that likes many rows the more, the larger `bend`."""
    return true_seconds(TASK, option) * (1 + dict(option.choice.sizes).get("rows", 1)) ** -bend


def samples(bend: float, count: int, seed: int) -> list[Sample]:
    """So many random options with a device's times."""
    order = np.random.default_rng(seed).permutation(len(SPACE))[:count]
    return [Sample(TASK, SPACE[number], device_s(SPACE[number], bend)) for number in order]


@pytest.fixture(scope="module")
def learned() -> TransferredProcess:
    """From three known devices."""
    return TransferredProcess.learned({str(bend): samples(bend, KNOWN, 0) for bend in (0.2, 0.5, 0.9)})


def ranks(model) -> float:
    """Against a device between the known ones."""
    return spearman(model.predict(TASK, SPACE).log_seconds, [device_s(one, 0.7) for one in SPACE])


def test_few_measurements_suffice(learned):
    alone = ResidualProcess()
    for model in (learned, alone):
        model.fit(samples(0.7, FEW, 1))
    assert ranks(learned) > max(0.95, ranks(alone))


def test_measurements_make_it_surer(learned):
    deviations = []
    for count in (2, 30):
        learned.fit(samples(0.7, count, 1))
        deviations.append(learned.predict(TASK, SPACE).deviation)
    assert (deviations[1] >= 0).all()
    assert deviations[1].mean() < 0.9 * deviations[0].mean()


def test_before_any_measurement_it_says_what_the_others_say(learned):
    learned.fit([])
    found = learned.predict(TASK, SPACE)
    assert ranks(learned) > 0.9
    assert found.deviation.min() > 0.5


def test_a_saved_model_predicts_the_same(learned, tmp_path):
    learned.fit(samples(0.7, FEW, 1))
    learned.save(tmp_path / "model.npz")
    loaded = TransferredProcess.load(tmp_path / "model.npz")
    expected, found = learned.predict(TASK, SPACE), loaded.predict(TASK, SPACE)
    np.testing.assert_allclose(found.log_seconds, expected.log_seconds, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6, atol=1e-9)


def test_another_models_file_is_refused(tmp_path):
    model = ResidualProcess()
    model.fit(samples(0.2, KNOWN, 0))
    model.save(tmp_path / "model.npz")
    with pytest.raises(InvalidInputError, match="model is 'gp', accepted is 'transfer'"):
        TransferredProcess.load(tmp_path / "model.npz")


def test_one_known_device_is_not_enough():
    with pytest.raises(InvalidInputError, match="got 1 known devices, accepted are 2"):
        TransferredProcess.learned({"one": samples(0.2, 8, 0)})
