"""Numbers of every type come back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.codegen.container.array_coding import decode_array, encode_array
from espalier.core.errors import CorruptArtifactError

TYPES = st.sampled_from(["int8", "uint8", "bool", "int16", "int32", "int64", "float16", "float32", "float64"])


@given(TYPES.flatmap(lambda dtype: arrays.arrays(dtype, st.integers(0, 60))))
def test_bits_come_back(values):
    after = decode_array(encode_array(values), values.dtype, values.size)
    assert after.dtype == values.dtype
    assert after.tobytes() == values.tobytes()  # also of NaN and negative zero


def normal(size: int, sparsity: float = 0.0) -> np.ndarray:
    """float32, of which a fraction is zero."""
    random = np.random.default_rng(0)
    return np.where(random.random(size) < sparsity, 0, random.normal(0, 0.1, size)).astype(np.float32)


def test_exponents_and_zeros_of_floats_are_coded():
    dense, sparse = (len(encode_array(normal(20_000, sparsity))) / 20_000 for sparsity in (0.0, 0.9))
    assert dense < 3.5  # bytes: 24 bits of sign and fraction are noise, 8 of the exponent are not
    assert sparse < 0.1 * dense + 0.07  # the mask has 0.47 bits


def test_rounded_floats_take_half():
    rounded = (normal(20_000).view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert len(encode_array(rounded)) / 20_000 < 1.5


def test_levels_of_a_format_take_their_entropy():
    levels = np.random.default_rng(0).choice(np.array([-64, 0, 64], np.int8), 20_000, p=[0.05, 0.9, 0.05])
    assert len(encode_array(levels)) * 8 / 20_000 < 0.58  # the entropy is 0.569 bits


@pytest.mark.parametrize("text", [b"", b"\x02", b"\x00\x01", b"\x01\xff\xff\xff\xff"])
def test_what_is_no_coded_array(text):
    with pytest.raises(CorruptArtifactError):
        decode_array(text, np.dtype("float32"), 3)
