"""Dense codes of 1 to 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import InvalidInputError
from espalier.core.packing import pack_codes, packed_bytes, unpack_codes

streams = st.integers(1, 8).flatmap(
    lambda bits: st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=40))
)


@given(streams)
def test_round_trip_and_every_bit_in_its_place(stream):
    bits, codes = stream
    packed = pack_codes(np.array(codes, np.uint8), bits)
    assert int.from_bytes(packed.tobytes(), "little") == sum(code << (bits * i) for i, code in enumerate(codes))
    assert len(packed) == packed_bytes(len(codes), bits) == -(-len(codes) * bits // 8)
    np.testing.assert_array_equal(unpack_codes(packed, bits, len(codes)), codes)


def test_by_hand():
    codes = np.array([[1, 2, 3], [4, 5, 7]], np.uint8)
    np.testing.assert_array_equal(pack_codes(codes, 3), [0b11_010_001, 0b1_101_100_0, 0b11])
    np.testing.assert_array_equal(pack_codes(codes, 8), codes.reshape(-1))


@pytest.mark.parametrize("bits", [0, 9, 2.5])
def test_bits_that_no_code_has(bits):
    with pytest.raises(InvalidInputError, match=f"got {bits} bits, accepted are 1..8"):
        pack_codes(np.zeros(3, np.uint8), bits)
    with pytest.raises(InvalidInputError, match=f"got {bits} bits"):
        unpack_codes(np.zeros(3, np.uint8), bits, 3)


def test_codes_that_do_not_fit():
    with pytest.raises(InvalidInputError, match="got uint8 up to 8, accepted is uint8 < 8"):
        pack_codes(np.array([7, 8], np.uint8), 3)
    with pytest.raises(InvalidInputError, match="got int64 up to 1"):
        pack_codes(np.array([1]), 3)


@pytest.mark.parametrize("packed", [np.zeros(2, np.uint8), np.zeros(4, np.uint8), np.zeros(3, np.int8)])
def test_a_stream_of_another_length(packed):
    with pytest.raises(InvalidInputError, match=r"accepted is uint8 \[3\] for 7 codes of 3 bits"):
        unpack_codes(packed, 3, 7)
