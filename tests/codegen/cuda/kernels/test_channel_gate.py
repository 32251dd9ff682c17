"""The kernels of a gate, emulated, against the formula: sums of its input, and what follows from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import emulated, integers, nn
from oracles.gates import gates
from oracles.running import drawn

from espalier.codegen.cuda.kernels import channel_gate as gate
from espalier.codegen.cuda.kernels import channel_sums
from espalier.codegen.cuda.layout import GROUP, Layout
from espalier.core.integer import GateArithmetic
from espalier.core.layers import ActiveList, ChannelGateSpec
from espalier.targets.gpu import gpu_of_arch

CASES = {
    "boost": ((2, 24, 5, 7), 64, ChannelGateSpec("g", "boost", 8, 3), 3),
    "select": ((1, 64, 9, 9), 40, ChannelGateSpec("g", "select", 1, 17), 4),
    "one part": ((1, 3, 6, 6), 16, ChannelGateSpec("g", "boost", 4, 4), 1),
    "listed": ((3, 96, 4, 4), 32, ChannelGateSpec("g", "boost", 16, 1, active=ActiveList(2, 16)), 2),
    "many channels": ((1, 2080, 2, 3), 600, ChannelGateSpec("g", "boost", 8, 2), 2),
}
"""Shape of x, channels out, the gate, and blocks of a sample in both launches."""


ARITHMETICS = [
    GateArithmetic(0, (1 << 24) - 1, 28, 1, 9),
    GateArithmetic(3, 1 << 15, 20, 300, 20),
    GateArithmetic(0, 1, 0, 1, 4),
]


def run(spec, x, phi, rho, active, parts: int, dtype: str) -> list[np.ndarray]:
    """pi and winners of two launches after each other, which must be equal."""
    lists = [] if active is None else [active]
    sums_shape = channel_sums.sums_shape(x.shape, parts)
    numbers = channel_sums.sums_numbers(spec, x.shape, dtype, parts)
    outputs = [(sums_shape, "float32" if spec.integer is None else "int32")]
    (sums,) = emulated.call(channel_sums.variant_of(dtype), numbers, [Layout(dtype).stored(x), *lists], outputs)
    counters = [tvm.runtime.tensor(np.zeros(len(x), np.int32))] if parts > 1 else []
    numbers = gate.gate_numbers(spec, x.shape, phi.shape[1], sums_shape, parts)
    tensors, outputs = [sums, phi, rho, *lists, *counters], gate.output_shapes(spec, len(x), phi.shape[1])
    first, second = (emulated.call(gate.variant_of(spec), numbers, tensors, outputs)[:2] for _ in range(2))
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)
    return first


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_gate(name, dtype):
    shape, channels, spec, parts = CASES[name]
    random = np.random.default_rng(0)
    x = random.standard_normal(shape).astype(dtype).astype(np.float32)
    phi = random.standard_normal((shape[1], channels), np.float32) / np.float32(shape[1] ** 0.5)
    rho = random.uniform(0.2, 1, channels).astype(np.float32)
    active = None
    if spec.active:
        order = random.random((shape[0], shape[1] // spec.active.granularity)).argsort(1)
        active = np.sort(order[:, : spec.active.count], axis=1).astype(np.int32)
        listed = nn.listed_channels(active, spec.active.granularity, shape[1])[..., None, None] > 0
        pi, winners = run(spec, np.where(listed, x, 1e4).astype(np.float32), phi, rho, active, parts, dtype)
        x = x * listed
    else:
        pi, winners = run(spec, x, phi, rho, None, parts, dtype)
    expected_pi, expected_winners = nn.channel_gate(x, phi, rho, spec.mode, spec.granularity, spec.kept)
    np.testing.assert_array_equal(winners, expected_winners)
    np.testing.assert_allclose(pi, expected_pi, rtol=1e-4, atol=1e-5)


@given(gates(), st.sampled_from(ARITHMETICS), st.integers(1, 3))
@drawn(12)
def test_bytes(case, arithmetic, parts):
    spec, batch, channels_in, image = case
    assume(not spec.active or spec.active.granularity % GROUP == 0)
    arithmetic = dataclasses.replace(arithmetic, x_zero=0) if spec.active else arithmetic
    channels = spec.granularity * (spec.kept + 2)
    spec, random = dataclasses.replace(spec, integer=arithmetic), np.random.default_rng(0)
    given_arrays = {
        "x": random.integers(0, 256, (batch, channels_in, *image)).astype(np.uint8),
        "phi": random.integers(-128, 128, (channels_in, channels)).astype(np.int8),
        "rho": random.integers(-3000, 3000, channels).astype(np.int32),
    }
    x, active = given_arrays["x"], None
    if spec.active:
        order = random.random((batch, channels_in // spec.active.granularity)).argsort(1)
        active = np.sort(order[:, : spec.active.count], axis=1).astype(np.int32)
        listed = nn.listed_channels(active, spec.active.granularity, channels_in)[..., None, None] > 0
        given_arrays["x"], x = x * listed, np.where(listed, x, 99).astype(np.uint8)  # what rests is not read
    results = run(spec, x, given_arrays["phi"], given_arrays["rho"], active, min(parts, image[0]), "uint8")
    for actual, expected in zip(results, integers.channel_gate(spec, given_arrays), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_an_index_out_of_range_is_never_followed():
    shape, channels, spec, parts = CASES["listed"]
    random = np.random.default_rng(0)
    x, phi = random.standard_normal(shape, np.float32), random.standard_normal((shape[1], channels), np.float32)
    rho, far = np.ones(channels, np.float32), np.array([[-9, 2**30]] * shape[0], np.int32)
    for ours, inside in zip(*(run(spec, x, phi, rho, one, parts, "float32") for one in (far, far.clip(0, 5)))):
        np.testing.assert_array_equal(ours, inside)


def test_a_tie_goes_to_the_lower_group():
    spec = ChannelGateSpec("g", "boost", 8, 2)
    x, phi = np.ones((1, 8, 2, 2), np.float32), np.zeros((8, 32), np.float32)
    _, winners = run(spec, x, phi, np.ones(32, np.float32), None, 2, "float32")
    np.testing.assert_array_equal(winners, [[0, 1]])


def test_no_block_is_without_work():
    assert gate.parts_of(7) == [1]
    assert gate.parts_of(512) == [1, 2, 4, 8, 16, 32, 64]
    h100 = gpu_of_arch("sm_90a")
    assert [channel_sums.slots_of(h100, *one) for one in ((1, 49), (32, 49), (600, 49), (1, 3))] == [32, 16, 1, 3]
