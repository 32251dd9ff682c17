"""The dense layer of packed 4-bit weights, emulated, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import emulated

from espalier.codegen.cuda.kernels import dense_codebook as codebook
from espalier.core.integer import LayerArithmetic
from espalier.core.layers import DenseSpec


def rounded(total: np.ndarray, multiplier: np.ndarray, shift: int) -> np.ndarray:
    """total * multiplier / 2^shift to the nearest integer, ties to even, by numpy's own rounding of exact values."""
    return np.rint(np.ldexp((total.astype(np.int64) * multiplier).astype(np.longdouble), -shift)).astype(np.int64)


@pytest.mark.parametrize("role", ["scale", "multiplier"])
@pytest.mark.parametrize(("batch", "depth", "channels", "levels"), [(1, 64, 32, 16), (3, 1037, 45, 16), (2, 5, 3, 7)])
def test_exact(batch, depth, channels, levels, role):
    random = np.random.default_rng(depth)
    table = np.sort(random.choice(np.arange(-128, 128), levels, replace=False)).astype(np.int8)
    arrays = {
        "weight": random.choice(table, (channels, depth)),
        "bias": random.integers(-5000, 5000, channels, dtype=np.int32),
        "scale": random.uniform(1e-4, 1e-2, channels).astype(np.float32),
        "multiplier": random.integers(1 << 15, 1 << 16, channels, dtype=np.int32),
    }
    arithmetic = LayerArithmetic(7, shift=22, zero=3, low=1, high=250)
    spec = DenseSpec("fc", ("x", "weight", "bias", role), format="int8", integer=arithmetic)
    x = random.integers(0, 256, (batch, depth), dtype=np.uint8)
    numbers = codebook.codebook_numbers(spec, batch, arrays["weight"])
    dtype = "float32" if role == "scale" else "uint8"
    inputs = [x, *codebook.pack(spec, arrays)]
    (y,) = emulated.call(codebook.VARIANT, numbers, inputs, [((batch, channels), dtype)])
    sums = (x.astype(np.int32) - 7) @ arrays["weight"].astype(np.int32).T + arrays["bias"]
    if role == "scale":
        np.testing.assert_array_equal(y, sums.astype(np.float32) * arrays["scale"])
    else:
        np.testing.assert_array_equal(y, np.clip(rounded(sums, arrays["multiplier"], 22) + 3, 1, 250))
