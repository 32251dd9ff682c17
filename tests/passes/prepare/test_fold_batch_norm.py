"""Batch norms disappear into convolutions, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from oracles.graphs import Graph, assert_unchanged
from oracles.running import assert_close, run_stock
from tvm import relax

from espalier.ir.dataflow import Dataflow
from espalier.passes.prepare.fold_batch_norm import FoldBatchNorm

X = np.random.default_rng(0).standard_normal((2, 4, 6, 6), np.float32)


def count(mod: tvm.IRModule, operator: str) -> int:
    flow = Dataflow.of(mod)
    return sum(flow.call_of(var, f"relax.{operator}") is not None for var in flow.values)


def assert_left_alone(mod: tvm.IRModule) -> None:
    assert_unchanged(FoldBatchNorm()(mod), mod)


def convolution_and_norm(weight, bias, statistics) -> tvm.IRModule:
    """conv2d [+ bias] [-> batch_norm of these statistics]."""
    g = Graph(*X.shape)
    y = g.emit(relax.op.nn.conv2d(g.x, relax.const(weight), padding=1), "conv")
    if bias is not None:
        y = g.emit(relax.op.add(y, relax.const(bias.reshape(1, -1, 1, 1))))
    if statistics is not None:
        statistics = [relax.const(one) for one in statistics]
        y = g.emit(relax.op.nn.batch_norm(y, *statistics, axis=1, epsilon=0.5, training=False))
        y = g.emit(relax.TupleGetItem(y, 0))
    return g.module(g.relu(y))


@pytest.mark.parametrize("with_bias", [False, True])
def test_before_and_expected(with_bias):
    """Statistics for which every step is exact: gamma / sqrt(3.5 + 0.5) = 0.5."""
    weight, bias = np.arange(144, dtype=np.float32).reshape(4, 4, 3, 3), np.arange(4, dtype=np.float32)
    gamma, beta, mean, variance = (np.full(4, value, np.float32) for value in (1, 7, 3, 3.5))
    before = convolution_and_norm(weight, bias if with_bias else None, (gamma, beta, mean, variance))
    expected_bias = (bias if with_bias else 0 * bias) / 2 - 1.5 + 7
    expected = convolution_and_norm(weight / 2, expected_bias, None)
    tvm.ir.assert_structural_equal(FoldBatchNorm()(before)["main"], expected["main"])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "attrs", [{}, {"groups": 4}, {"groups": 2, "strides": 2}, {"dilation": 2, "padding": 0}], ids=str
)
def test_meaning_is_kept(bias, attrs):
    g = Graph(*X.shape)
    y = g.relu(g.batch_norm(g.conv(g.x, "conv0", 8, bias=bias, **attrs)))
    before = g.module(g.batch_norm(g.conv(y, "conv1", 4, 1)))
    after = FoldBatchNorm()(before)
    assert count(after, "nn.batch_norm") == 0
    assert_close(run_stock(after, X)[0], run_stock(before, X)[0])


def test_the_convolution_keeps_its_name():
    g = Graph(*X.shape)
    mod = FoldBatchNorm()(g.module(g.relu(g.batch_norm(g.conv(g.x, "stage1.conv", 4)))))
    assert "stage1.conv" in [var.name for var in Dataflow.of(mod).values]


def test_unchanged_when_the_convolution_is_read_twice():
    g = Graph(*X.shape)
    conv = g.conv(g.x, "conv", 4, bias=False)
    assert_left_alone(g.module(g.emit(relax.op.add(g.batch_norm(conv), conv))))


def test_unchanged_when_the_biased_convolution_is_returned():
    g = Graph(*X.shape)
    conv = g.conv(g.x, "conv", 4)
    assert_left_alone(g.module(g.batch_norm(conv), conv))


def test_unchanged_without_a_convolution():
    g = Graph(*X.shape)
    assert_left_alone(g.module(g.batch_norm(g.relu(g.x))))


def test_unchanged_when_what_is_added_is_no_bias():
    g = Graph(*X.shape)
    conv = g.conv(g.x, "conv", 4, bias=False)
    assert_left_alone(g.module(g.batch_norm(g.emit(relax.op.add(conv, g.constant(1, 4, 6, 6))))))


def test_unchanged_over_another_axis():
    g = Graph(*X.shape)
    statistics = [g.constant(6, low=0.1) for _ in range(4)]
    norm = g.emit(relax.op.nn.batch_norm(g.conv(g.x, "conv", 4), *statistics, axis=2, training=False))
    assert_left_alone(g.module(g.emit(relax.TupleGetItem(norm, 0))))


@pytest.mark.parametrize(("center", "scale"), [(False, True), (True, False)])
def test_switched_off_scale_and_shift(center, scale):
    g = Graph(*X.shape)
    statistics = [g.constant(4, low=0.1) for _ in range(4)]
    norm = relax.op.nn.batch_norm(
        g.conv(g.x, "conv", 4), *statistics, axis=1, center=center, scale=scale, training=False
    )
    before = g.module(g.emit(relax.TupleGetItem(g.emit(norm), 0)))
    assert_close(run_stock(FoldBatchNorm()(before), X)[0], run_stock(before, X)[0])
