"""The predictor adds up what it is told each part takes, corrects it, and outlives the process."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from oracles.tuning import CYCLE_S, SPACES

from espalier.core.choices import Option
from espalier.core.errors import InvalidInputError
from espalier.tuning.cost_model.interface import FORMAT, Sample
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


def test_a_table_of_kernels_makes_it_more_exact(networks, predictor):
    known = {(one.task, one.option): one.option.cycles * CYCLE_S / 1.1 for net in networks for one in net.work.kernels}
    table = [Sample(task, option, bent(option) * seconds) for (task, option), seconds in known.items()]
    uneven = [NetworkSample(one.work, one.seconds + extra(one), tuple(in_network(one))) for one in networks]
    errors = {}
    for name, given in (("model", []), ("table", table)):
        found = LatencyPredictor()
        found.fit(uneven[:20], given)
        answers = [found.predict(one.work) for one in uneven[20:]]
        errors[name] = np.median([abs(one.seconds / net.seconds - 1) for one, net in zip(answers, uneven[20:])])
        errors[f"{name} deviation"] = np.median([one.deviation for one in answers])
    assert errors["table"] < errors["model"] / 2
    assert errors["table deviation"] < errors["model deviation"]


def bent(option: Option) -> float:
    """What no feature tells of a kernel: from 0.7 to 1.3."""
    return 0.7 + 0.6 * (zlib.crc32(str(option.choice).encode()) % 1000) / 1000


def in_network(one: NetworkSample) -> list[float]:
    return [kernel.option.cycles * CYCLE_S * bent(kernel.option) for kernel in one.work.kernels]


def extra(one: NetworkSample) -> float:
    return 1.05 * (sum(in_network(one)) - sum(one.kernel_seconds))


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
