"""Profiles: every layer has a time, the totals are the layers' sums."""

from __future__ import annotations

import json

import numpy as np
import pytest
from models import plain_net, residual_net

import espalier
from espalier import api
from espalier.core.errors import InvalidInputError
from espalier.measure import local

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def artifact():
    return api.build(espalier.from_onnx(plain_net()))


def test_a_profile_covers_every_layer(artifact):
    measurement = artifact.profile(X, repeats=3)
    assert [one.layer.name for one in measurement.layers] == ["conv0", "conv1", "fc"]
    assert all(one.latency_s > 0 and one.gflops > 0 for one in measurement.layers)
    assert measurement.glue_s >= 0
    assert measurement.latency_s == measurement.timing.median_s > 0
    assert measurement.timing.repeats == 3
    assert measurement.macs == measurement.macs_dense == 3 * 16 * 9 * 64 + 16 * 16 * 9 * 64 + 16 * 10


def test_a_profile_is_json(artifact):
    data = json.loads(artifact.profile(X, repeats=1).to_json())
    assert data["layers"][0]["name"] == "conv0"
    assert data["environment"]["threads"] >= 1


def test_inputs_by_name_and_after_loading(artifact, tmp_path):
    artifact.save(tmp_path / "saved")
    assert api.load(tmp_path / "saved").profile(x=X, repeats=1).layers[0].latency_s > 0


def test_layers_of_a_residual_network_keep_their_names():
    measurement = api.build(espalier.from_onnx(residual_net())).profile(X, repeats=1)
    names = [one.layer.name for one in measurement.layers]
    assert sorted(names) == ["block.conv1", "block.conv2", "block.shortcut", "fc", "stem"]
    assert all(one.latency_s > 0 for one in measurement.layers)


@pytest.mark.parametrize("repeats", [0, -1, 2.5])
def test_impossible_repeats_are_refused(artifact, repeats):
    with pytest.raises(InvalidInputError, match=f"profile: repeats is {repeats}, accepted is an integer from 1"):
        artifact.profile(X, repeats=repeats)


def test_wrong_inputs_are_refused(artifact):
    with pytest.raises(InvalidInputError, match=r"input x: got float64 \[1, 3, 8, 8\]"):
        artifact.profile(X.astype(np.float64))


def test_runs_before_the_timed_ones_do_not_count():
    calls = []
    timing = local.time_runs(lambda: calls.append(1), [], 4)
    assert timing.repeats == 4
    assert len(calls) == 4 + local.WARM_UP
