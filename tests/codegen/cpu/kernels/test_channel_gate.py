"""The gate's kernel picks the winners that the operator's body picks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import nn
from oracles.gates import gates
from oracles.running import assert_close, drawn, every_isa, run_kernel, run_stock
from oracles.stored import store
from tvm import relax

from espalier.codegen.cpu.kernels.channel_gate import channel_gate
from espalier.codegen.cpu.kernels.lists import whole_blocks
from espalier.codegen.cpu.layout import Layout
from espalier.core.layers import ChannelGateSpec
from espalier.ir.operators import channel_gate_function
from espalier.targets.cpu import ISAS

GENERIC = ISAS[-1]


def run_gate(spec, isa, block: int, halo: int, x, phi, rho, *active):
    """(pi, winners) of the kernel; the halo around x holds NaN, which it must not read."""
    stored = store(x, block, halo)
    if halo:
        stored[store(np.ones_like(x), block, halo) == 0] = np.nan
    kernel = channel_gate(spec, x.shape, phi.shape[1], isa, Layout(block, halo))
    packed = whole_blocks(phi, isa.lanes), whole_blocks(rho, isa.lanes)
    return run_kernel(kernel, isa, stored, *packed, *active)


def body_of_gate(spec, *arrays):
    """(pi, winners) of the reference body."""
    params = [relax.Var(f"a{i}", relax.TensorType(one.shape, str(one.dtype))) for i, one in enumerate(arrays)]
    return run_stock(channel_gate_function(spec, params), *arrays)


def random_arrays(spec, batch: int, channels_in: int, groups: int, image) -> list[np.ndarray]:
    random, channels = np.random.default_rng(0), groups * spec.granularity
    x = random.standard_normal((batch, channels_in, *image), np.float32)
    arrays = [
        x,
        random.standard_normal((channels_in, channels), np.float32),
        random.standard_normal(channels, np.float32),
    ]
    if spec.active:
        order = random.random((batch, channels_in // spec.active.granularity)).argsort(1)
        arrays.append(np.sort(order[:, : spec.active.count], axis=1).astype(np.int32))
        x *= nn.listed_channels(arrays[3], spec.active.granularity, channels_in)[..., None, None].astype(np.float32)
    return arrays


@every_isa
def test_kernel_follows_the_formula(isa):
    @drawn(10)
    @given(gates(), st.integers(0, 3), st.booleans(), st.integers(0, 2))
    def holds(gate, more_groups, in_blocks, halo):
        spec, batch, channels_in, image = gate
        arrays = random_arrays(spec, batch, channels_in, spec.kept + more_groups, image)
        pi, winners = run_gate(spec, isa, isa.lanes if in_blocks else 1, halo, *arrays)
        expected_pi, expected_winners = nn.channel_gate(*arrays[:3], spec.mode, spec.granularity, spec.kept)
        np.testing.assert_array_equal(winners, expected_winners)
        assert_close(pi, expected_pi)

    holds()


@drawn(6)
@given(gates(), st.integers(0, 3))
def test_kernel_equals_body(gate, more_groups):
    spec, batch, channels_in, image = gate
    arrays = random_arrays(spec, batch, channels_in, spec.kept + more_groups, image)
    pi, winners = run_gate(spec, GENERIC, 1, 0, *arrays)
    body_pi, body_winners = body_of_gate(spec, *arrays)
    np.testing.assert_array_equal(winners, body_winners)
    assert_close(pi, body_pi)


@every_isa
@pytest.mark.parametrize("granularity", [1, 4])
def test_ties_go_to_the_lowest_group(isa, granularity):
    """Sums of small integers over 2 x 2 pixels are exact, so equal saliencies are equal in the kernel too."""
    random = np.random.default_rng(1)
    spec = ChannelGateSpec("g", "boost", granularity, 3)
    x, phi, rho = (
        random.integers(-2, 3, shape).astype(np.float32)
        for shape in [(4, 8, 2, 2), (8, 8 * granularity), (8 * granularity,)]
    )
    pi, winners = run_gate(spec, isa, 1, 0, x, phi, rho)
    expected_pi, expected_winners = nn.channel_gate(x, phi, rho, "boost", granularity, 3)
    np.testing.assert_array_equal(winners, expected_winners)
    np.testing.assert_array_equal(pi, expected_pi)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("block", [1, GENERIC.lanes])
def test_values_that_are_not_finite_leave_the_list_in_range(value, block):
    """What the numbers are is not promised, only that every place of the list is filled, in order, with a group."""
    spec = ChannelGateSpec("g", "boost", 4, 3)
    x, phi, rho = random_arrays(spec, 2, 8, 5, (4, 4))
    x[0, 2, 1, 1] = value
    pi, winners = run_gate(spec, GENERIC, block, 0, x, phi, rho)
    assert winners.min() >= 0
    assert winners.max() < 5
    assert (np.diff(winners, axis=1) > 0).all()
    expected = nn.channel_gate(x[1:], phi, rho, "boost", 4, 3)
    np.testing.assert_array_equal(winners[1:], expected[1])
    assert_close(pi[1:], expected[0])


def test_nan_in_every_sample_writes_inside_the_list_only():
    spec = ChannelGateSpec("g", "select", 1, 2)
    x, phi, rho = np.full((1, 3, 2, 2), np.nan, np.float32), np.ones((3, 6), np.float32), np.zeros(6, np.float32)
    _, winners = run_gate(spec, GENERIC, 1, 0, x, phi, rho)
    assert ((winners >= 0) & (winners < 6)).all()


@every_isa
@pytest.mark.parametrize("in_blocks", [False, True])
def test_an_input_stored_in_bfloat16(isa, in_blocks):
    spec, block = ChannelGateSpec("g", "boost", 4, 3), isa.lanes if in_blocks else 1
    x, phi, rho = random_arrays(spec, 2, 20, 5, (5, 18))
    kernel = channel_gate(spec, x.shape, phi.shape[1], isa, Layout(block, 1, "bfloat16"))
    packed = whole_blocks(phi, isa.lanes), whole_blocks(rho, isa.lanes)
    pi, winners = run_kernel(kernel, isa, store(x, block, 1, "bfloat16"), *packed)
    expected_pi, expected_winners = nn.channel_gate(nn.bfloat16(x), phi, rho, "boost", 4, 3)
    np.testing.assert_array_equal(winners, expected_winners)
    assert_close(pi, expected_pi)
