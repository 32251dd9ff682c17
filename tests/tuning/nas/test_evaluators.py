from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from espalier.core.plan import Plan
from espalier.tuning.latency_predictor import LEAST_NETWORKS, NetworkSample, PredictedLatency
from espalier.tuning.nas import evaluators
from espalier.tuning.network_work import AMOUNTS, NetworkWork

CANDIDATE = SimpleNamespace(architecture=None, plan=Plan(), target="llvm")
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
