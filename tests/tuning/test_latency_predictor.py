"""The predictor adds up what it is told each part takes, corrects it, and outlives the process."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.tuning import CYCLE_S, SPACES

from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.interface import FORMAT
from espalier.tuning.latency_predictor import LatencyPredictor, NetworkSample
from espalier.tuning.network_work import AMOUNTS, Kernel, NetworkWork

CALL_S, VALUE_S, RUN_S = 4e-7, 2e-10, 3e-6


def sample(random: np.random.Generator) -> NetworkSample:
    """A network of a few kernels whose time is the sum of what each part takes, and one twentieth more."""
    tasks, count = list(SPACES), int(random.integers(3, 9))
    kernels = []
    for number in range(count):
        task = tasks[int(random.integers(len(tasks)))]
        kernels.append(Kernel(f"layer{number}", task, SPACES[task][int(random.integers(20))]))
    amounts = dict.fromkeys(AMOUNTS, 0.0)
    amounts |= {"calls": float(count + random.integers(1, 20)), "changed_values": float(random.integers(0, 100_000))}
    seconds = tuple(one.option.cycles * CYCLE_S for one in kernels)
    others = CALL_S * amounts["calls"] + VALUE_S * amounts["changed_values"] + RUN_S
    return NetworkSample(NetworkWork(tuple(kernels), amounts), 1.05 * (sum(seconds) + others), seconds)


@pytest.fixture(scope="module")
def networks() -> list[NetworkSample]:
    """Forty to learn from, twenty to ask about."""
    random = np.random.default_rng(0)
    return [sample(random) for _ in range(60)]


@pytest.fixture(scope="module")
def predictor(networks) -> LatencyPredictor:
    """Of the first forty."""
    one = LatencyPredictor()
    one.fit(networks[:40])
    return one


def test_unseen_networks_are_predicted(networks, predictor):
    answers = predictor.predict_all([one.work for one in networks[40:]])
    ratios = np.array([one.seconds / sample.seconds for one, sample in zip(answers, networks[40:])])
    assert np.abs(ratios - 1).max() < 0.1
    assert np.median(np.abs(ratios - 1)) < 0.02
    assert all(0 < one.deviation < 0.5 for one in answers)
    assert predictor.predict(networks[40].work) == answers[0]


def test_a_saved_predictor_predicts_the_same(networks, predictor, tmp_path):
    predictor.save(tmp_path / "latency.npz")
    loaded = LatencyPredictor.load(tmp_path / "latency.npz")
    for one in networks[40:45]:
        assert loaded.predict(one.work).seconds == pytest.approx(predictor.predict(one.work).seconds, rel=1e-9)


def test_another_versions_file_is_refused(predictor, tmp_path, monkeypatch):
    predictor.save(tmp_path / "latency.npz")
    monkeypatch.setattr("espalier.tuning.cost_model.interface.FORMAT", FORMAT + 1)
    with pytest.raises(InvalidInputError, match="format is 1, accepted is 2"):
        LatencyPredictor.load(tmp_path / "latency.npz")


def test_what_is_no_predictor_is_refused(tmp_path):
    (tmp_path / "latency.npz").write_bytes(b"nonsense")
    with pytest.raises(InvalidInputError, match="latency predictor"):
        LatencyPredictor.load(tmp_path / "latency.npz")


def test_too_few_networks_are_refused(networks):
    with pytest.raises(InvalidInputError, match="got 3 networks, accepted are 8 or more"):
        LatencyPredictor().fit(networks[:3])
    with pytest.raises(InvalidInputError, match="nothing was learned yet"):
        LatencyPredictor().predict(networks[0].work)
