"""The dense kernel computes x W^T + bias, over all inputs or the listed ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import nn
from oracles.running import PAIRS, assert_close, drawn, every_isa, needs_pairs, run_kernel

from espalier.codegen.cpu.kernels.bfloat16 import multiplies_pairs
from espalier.codegen.cpu.kernels.dense import dense, pack_dense_pairs, pack_dense_weight
from espalier.codegen.cpu.kernels.lists import whole_blocks
from espalier.core.layers import Activation, ActiveList, DenseSpec

ACTIVATIONS = [Activation(), Activation("relu"), Activation("clip", -1.0, 0.5)]


@every_isa
def test_dense(isa):
    @drawn(12)
    @given(
        st.integers(1, 3),
        st.sampled_from([(1, 1), (17, 3), (20, 17), (64, 100), (512, 1000)]),
        st.booleans(),
        st.sampled_from([None, (1, 1), (2, 4), (1, 16)]),
        st.sampled_from(ACTIVATIONS),
        st.sampled_from(["float32", "bfloat16"]),
    )
    def holds(batch, channels, with_bias, listed, activation, form):
        check_dense(isa, batch, channels, with_bias, listed, activation, form)

    holds()


def check_dense(isa, batch, channels, with_bias, listed, activation, form):
    random, (c_in, c_out) = np.random.default_rng(0), channels
    arrays = {
        "x": random.standard_normal((batch, c_in), np.float32),
        "weight": random.standard_normal((c_out, c_in), np.float32),
    }
    if with_bias:
        arrays["bias"] = random.standard_normal(c_out, np.float32)
    active = ActiveList(*listed) if listed and listed[0] * listed[1] <= c_in and c_in % listed[1] == 0 else None
    if active:
        order = random.random((batch, c_in // active.granularity)).argsort(1)
        arrays["active"] = np.sort(order[:, : active.count], axis=1).astype(np.int32)
        arrays["x"] *= nn.listed_channels(arrays["active"], active.granularity, c_in).astype(np.float32)
    spec = DenseSpec("fc", tuple(arrays), activation, active=active, format=form)
    if form == "bfloat16":
        arrays["weight"] = nn.bfloat16(arrays["weight"])
    pack = pack_dense_pairs if multiplies_pairs(spec, isa) else pack_dense_weight
    packed = {
        "weight": lambda one: pack(one, isa.lanes),
        "bias": lambda one: whole_blocks(one, isa.lanes),
    }
    kernel = dense(spec, (batch, c_in), c_out, isa)
    inputs = [packed.get(role, lambda one: one)(array) for role, array in arrays.items()]
    assert_close(run_kernel(kernel, isa, *inputs)[0], nn.layer(spec, arrays))


@needs_pairs
@pytest.mark.parametrize("channels", [(1, 1), (17, 3), (64, 100), (512, 1000)])
@pytest.mark.parametrize("listed", [None, (1, 1), (2, 4), (1, 16)])
def test_pairs_of_bfloat16(channels, listed):
    check_dense(PAIRS, 2, channels, True, listed, Activation("relu"), "bfloat16")
