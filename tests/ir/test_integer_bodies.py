"""The bodies of quantized operators are, bit for bit, what `core.integer` says in words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import integers, nn
from oracles.running import drawn, run_stock
from tvm import relax

from espalier.core import ir_names
from espalier.core.integer import (
    AddSpec,
    DequantizeSpec,
    GateArithmetic,
    LayerArithmetic,
    MeanPoolSpec,
    QuantizeSpec,
    ResidualArithmetic,
)
from espalier.core.layers import ActiveList, ChannelGateSpec, Conv2dSpec, DenseSpec
from espalier.ir.operators import channel_gate_function, layer_function, operator_of, quantization_function

RANDOM = np.random.default_rng(0)
GATES = [("none", ()), ("branch", ("pi", "winners")), ("output", ("pi", "winners")), ("listed", ("winners",))]
RESIDUALS = [
    ResidualArithmetic(zero=0),
    ResidualArithmetic(zero=7),
    ResidualArithmetic(zero=130, own=700_001, other=1_048_575, shift=20, low=-100, high=90),
    ResidualArithmetic(zero=3, own=3, other=5, shift=3),
]


def uint8(*shape: int, low: int = 0, high: int = 255) -> np.ndarray:
    return RANDOM.integers(low, high, shape, np.uint8, endpoint=True)


def int8(*shape: int) -> np.ndarray:
    return RANDOM.integers(-127, 127, shape, np.int8, endpoint=True)


def some_groups(batch: int, groups: int, kept: int) -> np.ndarray:
    return np.sort(RANDOM.random((batch, groups)).argsort(1)[:, :kept], axis=1).astype(np.int32)


def arguments_for(arrays) -> list[relax.Var]:
    return [relax.Var(f"a{i}", relax.TensorType(one.shape, str(one.dtype))) for i, one in enumerate(arrays)]


def check_layer(spec, arrays: dict) -> np.ndarray:
    arrays = {role: arrays[role] for role in spec.roles}
    function = layer_function(spec, arguments_for(arrays.values()))
    assert operator_of(function)[1] == spec
    (actual,) = run_stock(function, *arrays.values())
    np.testing.assert_array_equal(actual, integers.layer(spec, arrays), strict=True)
    return actual


@drawn(16)
@given(
    st.sampled_from(GATES),
    st.sampled_from([None, *RESIDUALS]),
    st.sampled_from([("bias",), (), ("active",)]),
    st.sampled_from([0, 1, 128, 255]),
    st.sampled_from([(0, 0, 255), (0, 0, 31), (5, 5, 255), (128, 100, 200)]),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from([((1, 1), (1, 1)), ((2, 1), (1, 2)), ((3, 2), (2, 1))]),
    st.sampled_from([(1, 8, 8), (2, 8, 4), (8, 8, 8)]),
    st.integers(1, 2),
)
def test_conv2d_body(gate, residual, more, x_zero, limits, padding, steps, channels, batch):
    groups, c_in, c_out = channels
    is_listed = "active" in more and groups == 1
    roles = ["x", "weight", "multiplier", *([] if residual is None else ["residual"]), *gate[1]]
    zero, low, high = limits
    spec = Conv2dSpec(
        "conv",
        (*roles, *(more if is_listed or "active" not in more else ())),
        gate=gate[0],
        winners=ActiveList(2, 2) if gate[1] else None,
        active=ActiveList(3, 2) if is_listed else None,
        padding=padding,
        strides=steps[0],
        dilation=steps[1],
        groups=groups,
        format="int8",
        out_format="uint8",
        integer=LayerArithmetic(0 if is_listed else x_zero, 24, zero, low, high, residual, pi_shift=6),
    )
    x = uint8(batch, c_in, 9, 8)
    listed = some_groups(batch, c_in // 2, 3)
    if is_listed:
        x = x * nn.listed_channels(listed, 2, c_in).astype(np.uint8)[:, :, None, None]
    weight = int8(c_out, c_in // groups, 3, 2)
    with_pi = "pi" in gate[1] and not (residual and gate[0] == "output")
    arrays = {
        "x": x,
        "weight": weight,
        "bias": RANDOM.integers(-9999, 9999, c_out, np.int32),
        "multiplier": RANDOM.integers(0, 400 if with_pi else 1 << 16, c_out, np.int32),
        "winners": some_groups(batch, c_out // 2, 2),
        "active": listed,
    }
    arrays["pi"] = uint8(batch, c_out) * nn.listed_channels(arrays["winners"], 2, c_out).astype(np.uint8)
    shape = nn.conv2d(x, weight, *steps[:1], padding, steps[1], groups).shape
    arrays["residual"] = uint8(*shape)
    check_layer(spec, arrays)


@pytest.mark.parametrize("more", [(), ("bias",), ("bias", "active")], ids="-".join)
@pytest.mark.parametrize("ending", ["multiplier", "scale"])
def test_dense_body(ending, more):
    is_listed = "active" in more
    spec = DenseSpec(
        "fc",
        ("x", "weight", *more, ending),
        active=ActiveList(2, 4) if is_listed else None,
        format="int8",
        out_format="uint8" if ending == "multiplier" else "float32",
        integer=LayerArithmetic(0 if is_listed else 9, 20, zero=100),
    )
    listed = some_groups(3, 4, 2)
    x = uint8(3, 16) * (nn.listed_channels(listed, 4, 16).astype(np.uint8) if is_listed else 1)
    arrays = {
        "x": x.astype(np.uint8),
        "weight": int8(5, 16),
        "bias": RANDOM.integers(-(2**30), 2**30, 5, np.int32) // (1 if ending == "scale" else 2**15),
        "multiplier": RANDOM.integers(1, 1 << 12, 5, np.int32),
        "scale": RANDOM.random(5, np.float32),
        "active": listed,
    }
    check_layer(spec, arrays)


def test_a_convolution_that_gives_real_numbers():
    spec = Conv2dSpec("c", ("x", "weight", "bias", "scale"), padding=(1, 1, 1, 1), format="int8",
                      integer=LayerArithmetic(77))  # fmt: skip
    arrays = {"x": uint8(2, 3, 5, 4), "weight": int8(4, 3, 3, 3), "bias": np.arange(-2, 2, dtype=np.int32)}
    check_layer(spec, {**arrays, "scale": np.float32([0.1, 1, 0.003, 7])})


def test_requantization_rounds_ties_to_even_and_reaches_the_ends_of_int32():
    """Sums are the bias alone; a multiplier of 1 and a shift of 1 halve them."""
    bias = np.int32([-7, -5, -3, -1, 1, 3, 5, 7, 2**31 - 1, -(2**31)])
    zeros = {"x": np.zeros((1, 1), np.uint8), "weight": np.zeros((10, 1), np.int8), "bias": bias}
    spec = DenseSpec("d", ("x", "weight", "bias", "multiplier"), format="int8", out_format="uint8",
                     integer=LayerArithmetic(0, 1, zero=100))  # fmt: skip
    halves = check_layer(spec, {**zeros, "multiplier": np.ones(10, np.int32)})
    np.testing.assert_array_equal(halves, [[96, 98, 98, 100, 100, 102, 102, 104, 255, 0]])
    wide = dataclasses.replace(spec, integer=LayerArithmetic(0, 47, zero=100))
    largest = check_layer(wide, {**zeros, "multiplier": np.full(10, 2**24 - 1, np.int32)})
    np.testing.assert_array_equal(largest[0, -2:], [255, 0])


@drawn(10)
@given(
    st.sampled_from(["select", "boost"]),
    st.sampled_from([(1, 6), (4, 3), (8, 2)]),
    st.sampled_from([0, 50]),
    st.sampled_from([(1, 3, 1, 1), (2, 8, 5, 4)]),
    st.data(),
)
def test_gate_body(mode, groups, x_zero, shape, data):
    granularity, count = groups
    channels = granularity * count
    multiplier, shift = data.draw(st.sampled_from([(1, 0), (13_421_773, 28), (1, 3)]))
    arithmetic = GateArithmetic(x_zero, multiplier, shift, *data.draw(st.sampled_from([(1, 0), (12_345, 20)])))
    spec = ChannelGateSpec("g", mode, granularity, data.draw(st.integers(1, count)), integer=arithmetic)
    small = data.draw(st.booleans())  # few distinct values, so that ties are frequent
    arrays = {
        "x": uint8(*shape, high=x_zero + 2 if small else 255),
        "phi": RANDOM.integers(-1, 2, (shape[1], channels)).astype(np.int8) if small else int8(shape[1], channels),
        "rho": np.zeros(channels, np.int32) if small else RANDOM.integers(-50_000, 50_000, channels, np.int32),
    }
    function = channel_gate_function(spec, arguments_for(arrays.values()))
    assert operator_of(function)[1] == spec
    for actual, expected in zip(run_stock(function, *arrays.values()), integers.channel_gate(spec, arrays)):
        np.testing.assert_array_equal(actual, expected, strict=True)


def check_operator(composite: str, spec, *arrays: np.ndarray) -> np.ndarray:
    function = quantization_function(composite, spec, arguments_for(arrays))
    assert operator_of(function) == (composite, spec)
    (actual,) = run_stock(function, *arrays)
    expected = {
        ir_names.QUANTIZE: integers.quantize,
        ir_names.DEQUANTIZE: integers.dequantize,
        ir_names.MEAN_POOL: integers.mean_pool,
        ir_names.ADD: integers.add,
    }[composite](spec, *arrays)
    np.testing.assert_array_equal(actual, expected, strict=True)
    return actual


@pytest.mark.parametrize(("scale", "zero", "low", "high"), [(0.5, 0, 0, 255), (0.25, 10, 3, 40), (0.0371, 128, 0, 255)])
def test_quantize_body(scale, zero, low, high):
    ties = np.arange(-400, 400, dtype=np.float32) * np.float32(scale) / 2
    far = np.float32([1e30, -1e30, np.inf, -np.inf, 0.0, -0.0])
    check_operator(ir_names.QUANTIZE, QuantizeSpec("q", scale, zero, low, high), np.concatenate([ties, far]))


def test_ties_of_quantize_go_to_even():
    x = np.float32([0.25, 0.75, 1.25, 1.75, -0.25, -0.75])
    actual = check_operator(ir_names.QUANTIZE, QuantizeSpec("q", 0.5, 10), x)
    np.testing.assert_array_equal(actual, [10, 12, 12, 14, 10, 8])


def test_dequantize_body():
    check_operator(ir_names.DEQUANTIZE, DequantizeSpec("d", 0.0371, 128), np.arange(256, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 5, 7, 3)])
@pytest.mark.parametrize("x_zero", [0, 100])
def test_mean_pool_body(shape, x_zero):
    pixels = shape[2] * shape[3]
    spec = MeanPoolSpec("m", x_zero, round(2**20 * 1.3 / pixels), 20, zero=9, low=9, high=200)
    check_operator(ir_names.MEAN_POOL, spec, uint8(*shape))


@pytest.mark.parametrize("limits", [(0, 0, 255), (128, 0, 255), (7, 7, 31)])
def test_add_body(limits):
    x, y = uint8(2, 3, 4, 5), uint8(2, 3, 4, 5)
    for own, other, shift in ((1, 1, 0), (2**20 - 1, 700_000, 20), (1, 3, 1)):
        check_operator(ir_names.ADD, AddSpec("a", 3, 128, own, other, shift, *limits), x, y)


def test_flat_tensors_are_added_too():
    check_operator(ir_names.ADD, AddSpec("a", 0, 0, 1, 1, 0, 0), uint8(2, 9), uint8(2, 9))
