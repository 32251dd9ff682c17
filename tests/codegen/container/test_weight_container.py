"""Parameters come back bit for bit from an undamaged container, and never from a damaged one."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from espalier.codegen.container.weight_container import HEAD, decode, encode
from espalier.core.errors import CorruptArtifactError

RANDOM = np.random.default_rng(0)
PARAMETERS = {
    "conv0/weight": RANDOM.integers(-3, 4, (8, 3, 3, 3)).astype(np.int8),
    "conv0/bias": RANDOM.integers(-9000, 9000, 8).astype(np.int32),
    "conv1/weight": RANDOM.choice(np.array([0, -8, 8], np.int8), (40, 16, 3, 3), p=[0.8, 0.1, 0.1]),
    "conv1/bias": RANDOM.integers(-9000, 9000, 40).astype(np.int32),
    "fc/weight": RANDOM.normal(size=(10, 40)).astype(np.float32),
    "empty/weight": np.zeros((0, 4), np.float32),
    "scalar/": np.float32(3).reshape(()),
}
CONTENT = encode(PARAMETERS).content
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def assert_equal(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_parameters_come_back():
    assert_equal(decode(CONTENT), PARAMETERS)


@given(
    st.dictionaries(
        NAMES,
        st.sampled_from(["int8", "int32", "float32"]).flatmap(
            lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=5))
        ),
        max_size=5,
    )
)
def test_any_arrays_come_back(given_arrays):
    assert_equal(decode(encode(given_arrays).content), given_arrays)


def test_every_byte_is_accounted_for():
    container = encode(PARAMETERS)
    assert set(container.coded_bytes) == set(PARAMETERS)
    assert 0 < container.overhead_bytes < 250
    bits = 8 * container.coded_bytes["conv1/weight"] / PARAMETERS["conv1/weight"].size
    assert 0.922 < bits < 0.96  # the entropy of 80 % zeros and two levels


def test_small_arrays_share_a_table_of_frequencies():
    many = {f"layer{number}/bias": RANDOM.normal(0, 100, 16).astype(np.int32) for number in range(50)}
    alone = sum(len(encode({name: array}).content) for name, array in many.items())
    assert len(encode(many).content) < alone / 4


def test_damage_to_any_byte_is_found():
    for place in range(len(CONTENT)):
        damaged = bytearray(CONTENT)
        damaged[place] ^= 1 + place % 255
        with pytest.raises(CorruptArtifactError, match="compile the model again"):
            decode(bytes(damaged))


def test_a_cut_at_any_byte_is_found():
    for length in range(len(CONTENT)):
        with pytest.raises(CorruptArtifactError, match="compile the model again"):
            decode(CONTENT[:length])


def test_another_version_says_which_is_accepted():
    other = CONTENT[:4] + struct.pack("<H", 7) + CONTENT[6:]
    with pytest.raises(CorruptArtifactError, match="out/weights: weight container of version 7, accepted is 1"):
        decode(other, "out/weights")


@pytest.mark.parametrize("contents", [b"[1]", b"{}", b'[["a","q9",[3]]]', b'[["a","f4",[9]]]', b"\xff"])
def test_contents_that_make_no_sense_under_a_right_checksum(contents):
    listed = zlib.compress(contents)
    rest = struct.pack("<I", len(listed)) + listed + struct.pack("<I", 2) + b"\x00\x00"
    with pytest.raises(CorruptArtifactError):
        assert decode(HEAD.pack(b"ESPW", 1, zlib.crc32(rest)) + rest) is None
