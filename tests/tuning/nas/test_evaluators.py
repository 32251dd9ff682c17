from __future__ import annotations

import dataclasses
import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from espalier.core.architecture import architecture_space, work_of
from espalier.core.errors import InvalidInputError
from espalier.core.plan import Plan
from espalier.tuning.latency_predictor import LEAST_NETWORKS, NetworkSample, PredictedLatency
from espalier.tuning.nas import evaluators
from espalier.tuning.nas.joint_space import Candidate, stage_plan
from espalier.tuning.nas.problem import Value
from espalier.tuning.nas.sampling import spread
from espalier.tuning.nas.tuned_networks import TunedNetwork, TunedNetworks
from espalier.tuning.network_work import AMOUNTS, NetworkWork

SMALLEST = architecture_space("resnet-cifar").smallest
CANDIDATE = SimpleNamespace(architecture=None, plan=Plan(), target="llvm", threads=1)
NETWORKS = SimpleNamespace(
    module=lambda architecture: None, split=SimpleNamespace(calibration=np.zeros((1, 32, 32, 3), np.uint8))
)
WORK = NetworkWork((), dict.fromkeys(AMOUNTS, 1.0))


def test_a_search_that_goes_on_measures_no_more_networks_than_one_that_was_never_stopped(tmp_path, monkeypatch):
    seconds, learned = itertools.count(1), []
    monkeypatch.setattr(evaluators.MeasuredLatency, "sample", lambda *_: NetworkSample(WORK, float(next(seconds)), ()))
    monkeypatch.setattr(evaluators.LatencyPredictor, "fit", lambda _, samples: learned.extend(samples))
    monkeypatch.setattr(evaluators.LatencyPredictor, "predict", lambda *_: PredictedLatency(0.5, 0.0))
    monkeypatch.setattr(evaluators, "network_work", lambda *_: WORK)
    monkeypatch.setattr(evaluators, "placeholder_calibration", lambda *_: None)
    found = [
        evaluators.PredictedLatency(NETWORKS, tmp_path / "latency").evaluate(CANDIDATE)["latency"]
        for _ in range(LEAST_NETWORKS + 1)
    ]
    assert [one.number for one in found] == [*map(float, range(1, LEAST_NETWORKS + 1)), 0.5]
    assert all(one.how.startswith("measured") for one in found[:-1])
    assert found[-1].how.startswith(f"predicted from {LEAST_NETWORKS} measured networks")
    assert sorted(one.seconds for one in learned) == [one.number for one in found[:-1]]
    on_two = SimpleNamespace(**{**vars(CANDIDATE), "threads": 2})
    value = evaluators.PredictedLatency(NETWORKS, tmp_path / "latency").evaluate(on_two)
    assert value["latency"].how.startswith("measured")
    assert value["latency"].how.endswith("2 threads")
    assert value["throughput"].number == 1 / value["latency"].number


def test_a_network_is_judged_once_for_all_speeds_of_a_board(monkeypatch):
    judged = []
    monkeypatch.setattr(evaluators.SupernetAccuracy, "_in_torch", lambda self, one, *_: judged.append(one) or 0.5)
    split = SimpleNamespace(search=(np.zeros(4), np.zeros(4)), origin="images")
    accuracy, architecture = evaluators.SupernetAccuracy(SimpleNamespace(split=split)), SMALLEST
    for weights in (["uniform<8>"] * 3, ["uniform<4>"] * 3):
        for speed in (500, 1000):
            one = Candidate(architecture, stage_plan(architecture, weights), {"kind": "fpga_hls", "speed": speed})
            assert accuracy.evaluate(one)["accuracy"].number == 0.5
    assert len(judged) == 2


def test_weights_get_the_levels_of_the_compiler():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 1, bias=False))
    layer[0].weight.data = torch.eye(32)[:, :16, None, None] + 0.01 * torch.randn(32, 16, 1, 1)
    before = layer[0].weight.data.clone()
    for bits, most in ((8, 0.01), (4, 0.1)):
        network = evaluators.in_levels(layer, Plan(layers={"0": {"weights": f"uniform<{bits}>"}}))
        assert (network[0].weight - before).abs().max() < most
        assert len(network[0].weight[0].unique()) <= 2**bits
    assert torch.equal(layer[0].weight, before)
    assert torch.equal(evaluators.in_levels(layer, Plan(layers={"0": {"weights": "float32"}}))[0].weight, before)


def test_accuracy_after_fine_tuning_is_predicted_with_its_deviation(monkeypatch):
    weights = ("float32",) * 3
    rows = [
        TunedNetwork(str(one), weights, 0.5, 0.6 + 0.05 * np.log(work_of(one)[0] / 2e6), "")
        for one in spread(architecture_space("resnet-cifar"), 12, 0)
    ]
    table = TunedNetworks("", "3 epochs of fine-tuning", "", "", tuple(rows))
    monkeypatch.setattr(evaluators.SupernetAccuracy, "evaluate", lambda *_: {"accuracy": Value(0.5, "made up")})
    one = architecture_space("resnet-cifar").sample(np.random.default_rng(3))
    candidate = Candidate(one, stage_plan(one, weights), {"kind": "llvm"})
    value = evaluators.FittedAccuracy(NETWORKS, table).evaluate(candidate)["accuracy"]
    assert value.number == pytest.approx(0.6 + 0.05 * np.log(work_of(one)[0] / 2e6), abs=0.01)
    found = re.fullmatch(
        r"by a Gaussian process over 12 fine-tuned networks, deviation ([\d.]+) points; for 3 epochs of fine-tuning",
        value.how,
    )
    assert 0 < float(found[1]) < 3
    with pytest.raises(InvalidInputError, match="got 3 fine-tuned networks"):
        evaluators.FittedAccuracy(NETWORKS, dataclasses.replace(table, networks=table.networks[:3]))
