"""Dense layers of bytes equal the integers, bit for bit, with plain weights and with packed ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import integers
from oracles.integer_layers import arithmetics, random_arrays
from oracles.running import BYTES, HERE, drawn, every_isa_of_bytes, run_kernel

from espalier.codegen.cpu.kernels.dense_int8 import dense_int8, pack_dense_quads
from espalier.codegen.cpu.kernels.int8 import as_kernels_take_it
from espalier.codegen.cpu.kernels.packed_codes import codes_of
from espalier.codegen.cpu.kernels.requantize import FUSED, packed_constants, rounding_of
from espalier.core.integer import LayerArithmetic, ResidualArithmetic
from espalier.core.layers import ActiveList, DenseSpec

VBMI = BYTES[0]


@st.composite
def layers(draw) -> tuple[DenseSpec, tuple, tuple]:
    """(spec, shape of x, shape of the weight)."""
    c_in, c_out = draw(st.sampled_from([(1, 1), (17, 3), (20, 17), (64, 100), (512, 1000)]))
    listed = draw(st.sampled_from([None, (1, 1), (2, 4), (1, 16), (1, 64)]))
    active = ActiveList(*listed) if listed and c_in % listed[1] == 0 and listed[0] * listed[1] <= c_in else None
    kinds = [("multiplier",), ("bias", "multiplier"), ("bias", "residual", "multiplier"), ("scale",)]
    more = draw(st.sampled_from(kinds))
    spec = DenseSpec("fc", ("x", "weight", *more, *(["active"] if active else [])), active=active, format="int8")
    out_format = "float32" if "scale" in more else "uint8"
    spec = dataclasses.replace(spec, out_format=out_format, integer=draw(arithmetics(spec)))
    return spec, (draw(st.integers(1, 3)), c_in), (c_out, c_in)


def check(layer, isa, seed: int, levels: int | None = None) -> None:
    spec, x_shape, weight_shape = layer
    arrays = random_arrays(spec, x_shape, weight_shape, (x_shape[0], weight_shape[0]), seed)
    if levels:
        values = np.random.default_rng(seed).choice(np.arange(-128, 128), levels, replace=False)
        arrays["weight"] = np.random.default_rng(0).choice(values, weight_shape).astype(np.int8)
    expected = integers.layer(spec, arrays)
    rounding, followed = rounding_of(spec, arrays, isa), as_kernels_take_it(spec, isa)
    codes = codes_of(arrays["weight"], isa, followed.active and followed.active.granularity) if levels else None
    arrays |= packed_constants(followed, arrays, isa.lanes, rounding)
    table = [codes.table(arrays["weight"])] if codes else []
    arrays["weight"] = pack_dense_quads(arrays["weight"], isa.lanes, codes)
    kernel = dense_int8(followed, x_shape, weight_shape[0], isa, rounding, codes)
    given_arrays = [*(arrays[role] for role in followed.roles), *table]
    np.testing.assert_array_equal(run_kernel(kernel, isa, *given_arrays)[0], expected)


@every_isa_of_bytes
def test_dense_of_bytes(isa):
    @drawn(4)
    @given(layers(), st.integers(0, 2))
    def holds(layer, seed):
        check(layer, isa, seed)

    holds()


@pytest.mark.skipif(not {VBMI.int8, VBMI.permute} <= HERE, reason="this CPU permutes no bytes")
@drawn(16)
@given(layers(), st.integers(0, 2), st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17, 32, 50, 64, 65]))
def test_weights_that_stay_packed(layer, seed, levels):
    check(layer, VBMI, seed, levels)


@pytest.mark.parametrize("factors", [(1 << 22, 3 << 22, 23), (12_345_678, 9_876_543, 23), (16_777_215, 1, 24)])
def test_every_sum_and_residual_with_multipliers_of_24_bits(factors):
    """Sums are the biases, -256 .. 255; one row for each residual. The first multipliers make ties."""
    residual = ResidualArithmetic(100, *factors, low=-256, high=255)
    spec = DenseSpec("fc", ("x", "weight", "bias", "residual", "multiplier"), format="int8", out_format="uint8")
    spec = dataclasses.replace(spec, integer=LayerArithmetic(0, zero=128, residual=residual))
    arrays = {
        "x": np.zeros((256, 4), np.uint8),
        "weight": np.zeros((512, 4), np.int8),
        "bias": np.arange(-256, 256, dtype=np.int32),
        "residual": np.repeat(np.arange(256, dtype=np.uint8)[:, None], 512, axis=1),
        "multiplier": np.ones(512, np.int32),
    }
    isa = next(isa for isa in BYTES if {isa.feature} <= HERE)
    assert rounding_of(spec, arrays, isa) == FUSED
    expected = integers.layer(spec, arrays)
    arrays |= packed_constants(spec, arrays, isa.lanes, FUSED) | {
        "weight": pack_dense_quads(arrays["weight"], isa.lanes)
    }
    kernel = dense_int8(spec, (256, 4), 512, isa, FUSED)
    np.testing.assert_array_equal(run_kernel(kernel, isa, *(arrays[role] for role in spec.roles))[0], expected)


@pytest.mark.parametrize("bits", range(1, 7))
def test_codes_take_as_many_bits_as_they_say(bits):
    weight = np.random.default_rng(0).permutation(np.resize(np.arange(1 << bits), 64 * 256)).reshape(64, 256)
    codes = codes_of(weight.astype(np.int8), VBMI)
    assert codes.bits == bits
    assert pack_dense_quads(weight.astype(np.int8), 16, codes).nbytes == weight.size * bits // 8
    assert codes_of(np.arange(65, dtype=np.int8), VBMI) is None
