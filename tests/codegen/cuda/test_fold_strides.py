"""Convolutions over blocks of pixels give what those with strides give; all others stay as they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from oracles.emulated import run_network
from oracles.graphs import specs
from oracles.integer_networks import IntegerNetwork
from oracles.running import drawn, run_stock
from tvm import relax

from espalier.codegen.cuda.fold_strides import FoldStrides, folded
from espalier.codegen.cuda.generate import lowered_on
from espalier.core.layers import Activation, Conv2dSpec
from espalier.ir.operators import layer_function
from espalier.targets.gpu import gpu_of_arch

H100 = gpu_of_arch("sm_90a")
STEM = Conv2dSpec("stem", ("x", "weight"), Activation("relu"), strides=(2, 2), padding=(3, 3, 3, 3), format="float16")


def network(spec: Conv2dSpec, shape, weight_shape) -> tvm.IRModule:
    """One convolution with random weights, exact in float16."""
    weight = np.random.default_rng(0).standard_normal(weight_shape).astype(np.float16).astype(np.float32)
    x, weight, builder = relax.Var("x", relax.TensorType(shape, "float32")), relax.const(weight), relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            call = relax.Call(builder.add_func(layer_function(spec, [x, weight]), spec.name), [x, weight])
            y = builder.emit_output(builder.emit(call, spec.name))
        builder.emit_func_output(y)
    return builder.get()


def image(shape) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float16).astype(np.float32)


@given(
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)).filter(lambda one: 1 < one[0] * one[1] <= 5),
    taps=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    blocks=st.tuples(st.integers(3, 5), st.integers(3, 5)),
)
@drawn(12)
def test_products_are_the_same(stride, taps, padding, blocks):
    shape = (2, 3, blocks[0] * stride[0], blocks[1] * stride[1])
    if any(size + sum(padding[axis::2]) < tap for axis, (size, tap) in enumerate(zip(shape[2:], taps))):
        padding = (3, 3, 3, 3)
    spec = dataclasses.replace(STEM, strides=stride, padding=padding, format="float32")
    mod = network(spec, shape, (4, 3, *taps))
    after = FoldStrides()(mod)
    assert specs(after)["stem"].strides == (1, 1)
    for ours, theirs in zip(run_stock(after, image(shape)), run_stock(mod, image(shape)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_7x7_convolution_has_4x4_taps():
    spec, weight = folded(STEM, np.ones((8, 3, 7, 7), np.float32))
    assert (spec.padding, weight.shape) == ((2, 2, 1, 1), (8, 12, 4, 4))
    assert weight.sum() == 8 * 3 * 7 * 7


@pytest.mark.parametrize(
    ("shape", "weight_shape", "changes"),
    [
        ((1, 3, 8, 8), (8, 3, 7, 7), {"strides": (1, 1)}),
        ((1, 8, 8, 8), (8, 8, 3, 3), {}),  # a block of 32 channels
        ((1, 3, 9, 8), (8, 3, 7, 7), {}),  # no whole blocks
        ((1, 3, 12, 12), (8, 3, 3, 3), {"dilation": (2, 2)}),
        ((1, 4, 8, 8), (4, 1, 3, 3), {"groups": 4}),
    ],
)
def test_others_stay(shape, weight_shape, changes):
    mod = network(dataclasses.replace(STEM, **changes), shape, weight_shape)
    assert specs(FoldStrides()(mod)) == specs(mod)


def test_lowered_equals_body():
    shape = (2, 3, 12, 10)
    mod = network(STEM, shape, (24, 3, 7, 7))
    (launch,) = lowered_on(mod, H100)[1].launches
    assert launch.numbers[7:9] == (24, 4)  # channels, and taps
    for ours, theirs in zip(run_network(mod, H100, image(shape)), run_stock(mod, image(shape)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bytes_are_surrounded_by_their_zero_point():
    g = IntegerNetwork(2, 3, 8, 12)
    mod = g.module(g.dequantize(g.conv(g.quantize(g.x), 24, 7, 2)))
    (launch,) = lowered_on(mod, H100)[1].launches
    assert launch.numbers[7:9] == (24, 4)
    x = np.random.default_rng(0).uniform(-1, 4, (2, 3, 8, 12)).astype(np.float32)
    (ours,), (expected,) = run_network(mod, H100, x), run_stock(mod, x)
    assert len(np.unique(expected)) > 4
    np.testing.assert_array_equal(ours, expected)
