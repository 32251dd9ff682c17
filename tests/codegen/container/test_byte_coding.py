"""What is coded comes back, near the entropy, whatever the distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.codegen.container.byte_coding import decode_bytes, encode_bytes
from espalier.core.errors import CorruptArtifactError


def entropy_bytes(symbols: np.ndarray) -> float:
    """Shannon's bound for symbols that are drawn one by one."""
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def skewed(size: int, zeros: float, seed: int = 0) -> np.ndarray:
    """Mostly zeros, the others from a bell over all bytes."""
    random = np.random.default_rng(seed)
    others = np.clip(np.rint(random.normal(128, 30, size)), 1, 255)
    return np.where(random.random(size) < zeros, 0, others).astype(np.uint8)


@given(arrays.arrays(np.uint8, st.integers(0, 300)))
def test_any_symbols_come_back(symbols):
    coded = encode_bytes(symbols)
    np.testing.assert_array_equal(decode_bytes(coded, len(symbols)), symbols)
    assert len(coded) <= len(symbols) + 1


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 2**31))
def test_skewed_symbols_come_back(size, zeros, seed):
    symbols = skewed(size, zeros, seed)
    np.testing.assert_array_equal(decode_bytes(encode_bytes(symbols), size), symbols)


@pytest.mark.parametrize("symbols", [[], [7], [7] * 1000, [0, 255], [0] * 999 + [1]])
def test_the_shortest_distributions(symbols):
    symbols = np.array(symbols, np.uint8)
    coded = encode_bytes(symbols)
    np.testing.assert_array_equal(decode_bytes(coded, len(symbols)), symbols)
    assert len(coded) <= 16


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.85, 0.99])
def test_near_the_entropy(zeros):
    symbols = np.where(skewed(50_000, zeros) > 0, skewed(50_000, 0, 1) // 16, 0).astype(np.uint8)
    assert len(encode_bytes(symbols)) <= 1.005 * entropy_bytes(symbols) + 48


def test_a_count_that_does_not_fit():
    for symbols in (np.arange(100, dtype=np.uint8), np.zeros(0, np.uint8)):
        with pytest.raises(CorruptArtifactError, match="coded weights"):
            decode_bytes(encode_bytes(symbols), len(symbols) + 5)
    with pytest.raises(CorruptArtifactError, match="cannot be decoded"):
        decode_bytes(encode_bytes(skewed(2000, 0.8)), 1000)


@pytest.mark.parametrize("text", [b"", b"\x03", b"\x01", b"\x01ab", b"\x02", b"\x02\x01", b"\x02\x01ab\x08\x08abc"])
def test_what_is_no_coded_text(text):
    with pytest.raises(CorruptArtifactError, match="compile the model again"):
        decode_bytes(text, 10)
