"""Which bytes are a layer's, and what saved the others."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.codegen.container.layer_sizes import layer_sizes
from espalier.codegen.container.weight_container import encode

RANDOM = np.random.default_rng(0)


def test_a_sparse_quantized_layer():
    """4,608 weights of 5 bits, of which three quarters are zero, with bias, multipliers and a gate."""
    weight = RANDOM.integers(1, 9, 4608).astype(np.int8)
    weight[RANDOM.permutation(4608)[:3456]] = 0
    arrays = {
        "conv/weight": weight.reshape(32, 16, 3, 3),
        "conv/bias": RANDOM.integers(-99, 99, 32).astype(np.int32),
        "conv/multiplier": RANDOM.integers(0, 2**14, 32).astype(np.int32),
        "conv/phi": RANDOM.integers(-9, 9, (16, 32)).astype(np.int8),
        "conv/rho": RANDOM.integers(0, 99, 32).astype(np.int32),
    }
    container = encode(arrays)
    (size,) = layer_sizes(arrays, container, {"conv": 5})
    assert (size.name, size.bits, size.zeros) == ("conv", 5, 3456)
    assert size.parameters == 4608 + 32 + 512 + 32  # multipliers come with the format
    assert size.dense_bytes == 4 * size.parameters
    assert size.by_pruning == 3456 * 4 - 4608 / 8
    assert size.packed_bytes == 1152 * 5 / 8 + 4608 / 8 + 3 * 32 * 4 + 512
    assert size.coded_bytes == pytest.approx(sum(container.coded_bytes.values()))
    assert size.by_pruning + size.by_format + size.by_coding == size.dense_bytes - size.coded_bytes


def test_few_zeros_are_not_worth_a_mask():
    arrays = {"fc/weight": np.where(np.arange(64) == 5, 0, 3).astype(np.int8)}
    (size,) = layer_sizes(arrays, encode(arrays), {"fc": 2})
    assert (size.by_pruning, size.packed_bytes) == (0, 16)


def test_constants_of_no_layer_are_counted_as_stored_only():
    arrays = {"fc/weight": np.ones((4, 4), np.float32), "7/constant": np.arange(9, dtype=np.int32)}
    fc, other = layer_sizes(arrays, encode(arrays), {"fc": 32})
    assert (fc.name, fc.parameters) == ("fc", 16)
    assert (other.name, other.parameters, other.dense_bytes, other.packed_bytes) == ("", 0, 0, 36)
    assert other.coded_bytes > 0
