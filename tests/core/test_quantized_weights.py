"""Codes, levels and scales: what they mean, and which do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.core.errors import InvalidInputError
from espalier.core.formats import Codebook, Float32, Uniform
from espalier.core.quantized_weights import QuantizedWeights

TABLE = np.array([-7, 0, 3, 100], np.int8)
CODES = np.array([[[0, 1], [2, 3]], [[3, 3], [1, 0]]], np.uint8)
SCALE = np.array([0.5, 0.1], np.float32)


def test_weights_are_levels_times_scales():
    weights = QuantizedWeights(Codebook(2), CODES, TABLE, SCALE)
    np.testing.assert_array_equal(weights.integers, [[[-7, 0], [3, 100]], [[100, 100], [0, -7]]])
    assert weights.integers.dtype == np.int8
    tenth = np.float32(0.1)
    expected = [[[-3.5, 0], [1.5, 50]], [[100 * tenth, 100 * tenth], [0, -7 * tenth]]]
    np.testing.assert_array_equal(weights.dequantized(), np.array(expected, np.float32), strict=True)


def test_components_explain_the_levels():
    assert QuantizedWeights(Codebook(2), CODES, TABLE, SCALE, components=((-8, 1), (5, 1), (4, 96))).components


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": Float32()}, "float32 has no codes"),
        ({"format": Uniform(2), "table": np.arange(5, dtype=np.int8)}, "int8 of 1 to 4 levels for uniform<2>"),
        ({"table": TABLE.astype(np.int16)}, r"the table is int16 \[4\]"),
        ({"table": TABLE[None]}, r"the table is int8 \[1, 4\]"),
        ({"table": TABLE[:0]}, r"the table is int8 \[0\]"),
        ({"table": TABLE[::-1]}, "do not ascend"),
        ({"table": np.array([-7, 0, 0, 100], np.int8)}, "do not ascend"),
        ({"table": TABLE[:3]}, "up to 3, accepted is uint8 .* below 3"),
        ({"codes": CODES.astype(np.int8)}, "codes are int8"),
        ({"codes": np.uint8(1)}, "codes are uint8"),
        ({"scale": SCALE[:1]}, r"the scale is float32 \[1\], accepted is float32 \[2\]"),
        ({"scale": SCALE.astype(np.float64)}, "the scale is float64"),
        ({"scale": np.array([1, 0], np.float32)}, "not finite or not above zero"),
        ({"components": ((-8, 1), (99, 1))}, r"no shift from a mean of \(\(-8, 1\), \(99, 1\)\)"),
        ({"scale": np.array([1, np.nan], np.float32)}, "not finite or not above zero"),
    ],
)
def test_what_does_not_fit(change, message):
    given = {"format": Codebook(2), "codes": CODES, "table": TABLE, "scale": SCALE}
    with pytest.raises(InvalidInputError, match=message) as caught:
        QuantizedWeights(**(given | change))
    assert "\n" not in str(caught.value)
