"""The gate of a quantized layer gives the integers, bit for bit, on every instruction set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import integers, nn
from oracles.gates import gates
from oracles.running import drawn, every_isa_of_bytes, run_kernel
from oracles.stored import store

from espalier.codegen.cpu.kernels.channel_gate_int8 import channel_gate_int8, pack_gate
from espalier.codegen.cpu.layout import Layout
from espalier.core.errors import InvalidModelError
from espalier.core.integer import GateArithmetic
from espalier.core.layers import ChannelGateSpec

ARITHMETICS = [
    GateArithmetic(0, (1 << 24) - 1, 28, 1, 9),
    GateArithmetic(3, 1 << 15, 20, 300, 20),
    GateArithmetic(0, 1, 0, 1, 4),
]


@every_isa_of_bytes
def test_gates_of_bytes(isa):
    @drawn(30 if isa.permute else 6)
    @given(gates(), st.sampled_from(ARITHMETICS), st.booleans(), st.integers(0, 2))
    def holds(case, arithmetic, in_blocks, halo):
        spec, batch, channels_in, image = case
        groups = spec.kept + 2
        if spec.active:
            arithmetic = dataclasses.replace(arithmetic, x_zero=0)
        spec, block = dataclasses.replace(spec, integer=arithmetic), isa.lanes if in_blocks else 1
        given_arrays = random_arrays(spec, batch, channels_in, groups * spec.granularity, image)
        packed = pack_gate(spec, given_arrays["phi"], given_arrays["rho"], isa.lanes)
        packed |= {"x": store(given_arrays["x"], block, halo, "uint8", 77)}
        if spec.active:  # what rests is not read
            resting = 1 - nn.listed_channels(given_arrays["active"], spec.active.granularity, channels_in)
            poisoned = np.where(resting[..., None, None] > 0, 99, given_arrays["x"]).astype(np.uint8)
            packed["x"] = store(poisoned, block, halo, "uint8", 77)
        channels = groups * spec.granularity
        kernel = channel_gate_int8(spec, given_arrays["x"].shape, channels, isa, Layout(block, halo, "uint8", 77))
        results = run_kernel(kernel, isa, *[{**given_arrays, **packed}[role] for role in spec.roles])
        for actual, expected in zip(results, integers.channel_gate(spec, given_arrays)):
            np.testing.assert_array_equal(actual, expected)

    holds()


def random_arrays(spec: ChannelGateSpec, batch: int, channels_in: int, channels: int, image) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {
        "x": random.integers(0, 256, (batch, channels_in, *image)).astype(np.uint8),
        "phi": random.integers(-128, 128, (channels_in, channels)).astype(np.int8),
        "rho": random.integers(-3000, 3000, channels).astype(np.int32),
    }
    if spec.active:
        order = random.random((batch, channels_in // spec.active.granularity)).argsort(1)
        arrays["active"] = np.sort(order[:, : spec.active.count], axis=1).astype(np.int32)
        mask = nn.listed_channels(arrays["active"], spec.active.granularity, channels_in)
        arrays["x"] = (arrays["x"] * mask[..., None, None]).astype(np.uint8)
    return arrays


def test_scores_beyond_32_bits_are_refused():
    spec = ChannelGateSpec("conv3", "boost", 4, 1, integer=ARITHMETICS[0])
    with pytest.raises(InvalidModelError, match="layer conv3: the scores of its channel gate can reach 2147483648, "):
        pack_gate(spec, np.zeros((3, 8), np.int8), np.full(8, 1 << 29, np.int32), 16)
