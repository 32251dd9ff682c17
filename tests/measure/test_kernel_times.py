"""Kernels' times sum up to a run's: what the clock adds is taken off."""

from __future__ import annotations

import numpy as np
import pytest
from models import plain_net

import espalier
from espalier.core.errors import InvalidInputError
from espalier.measure import kernel_times
from espalier.measure.kernel_times import LEAST_SHARE, kernel_seconds

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def artifact():
    return espalier.build(espalier.from_onnx(plain_net()))


def test_every_kernel_has_its_time(artifact):
    found = kernel_seconds(artifact, X, blocks=2)
    assert set(found.kernels) == set(artifact.program.kernel_layers)
    assert all(0 < one < 1 for one in found.kernels.values())
    assert 0 < found.run_s < 1
    assert found.clock_s >= 0


def test_what_the_clock_adds_is_taken_from_each_call():
    found = kernel_times._without_clock(10.0, {"a": 9.0, "b": 4.0}, {"a": 1, "b": 2})
    assert found.clock_s == pytest.approx(1.0)
    assert found.kernels == pytest.approx({"a": 8.0, "b": 2.0})
    assert sum(found.kernels.values()) == pytest.approx(found.run_s)


def test_a_short_kernel_keeps_a_share_and_a_run_with_more_than_its_kernels_all():
    short = kernel_times._without_clock(2.0, {"a": 1.0, "b": 5.0}, {"a": 3, "b": 1})
    assert short.kernels["a"] == LEAST_SHARE
    assert kernel_times._without_clock(20.0, {"a": 9.0}, {"a": 1}).kernels == {"a": 9.0}


@pytest.mark.parametrize("blocks", [0, 1.5])
def test_impossible_blocks_are_refused(artifact, blocks):
    with pytest.raises(InvalidInputError, match=f"blocks is {blocks}, accepted is an integer from 1"):
        kernel_seconds(artifact, X, blocks=blocks)
