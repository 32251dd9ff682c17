"""Number formats: their texts, their levels, and what their products cost."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.core.errors import InvalidPlanError
from espalier.core.formats import (
    ACTIVATION_FORMATS,
    WEIGHT_FORMATS,
    Bfloat16,
    Binary,
    Codebook,
    Cost,
    Fixed,
    Float16,
    Float32,
    Focused,
    Shift,
    Tfloat32,
    Uniform,
    bit_operations,
    parse_format,
)

BY_BITS = [kind(bits) for kind in (Uniform, Shift, Focused, Codebook) for bits in kind.accepted]
FIXED = [Fixed(bits, fraction) for bits in Fixed.accepted for fraction in (-32, -1, 0, 6, 32)]
QUANTIZED = [*BY_BITS, *FIXED, Binary()]
ALL = [Float32(), Bfloat16(), Float16(), Tfloat32(), *QUANTIZED]


@pytest.mark.parametrize("one", ALL, ids=str)
def test_text_round_trip(one):
    assert parse_format(str(one)) == one
    assert hash(parse_format(str(one))) == hash(one)


@pytest.mark.parametrize(
    "text",
    [
        *("", "float", "float64", "float32<32>", "Float32", "uniform", "uniform<>", "uniform<1>", "uniform<9>"),
        *("uniform<8", "uniform<8>>", " uniform<8>", "uniform<08>", "uniform< 8>", "uniform<-8>", "uniform<8.0>"),
        *("uniform<8,1>", "fixed<8>", "fixed<8,33>", "fixed<1,0>", "fixed<8,+6>", "shift<1>", "shift<6>", "focused<2>"),
        *("focused<7>", "codebook<1>", "codebook<9>", "binary<1>", "ternary", "uniform<٣>", None, 8, ["binary"]),
    ],
)
def test_a_text_that_is_no_format(text):
    with pytest.raises(InvalidPlanError) as caught:
        parse_format(text, what="weights")
    accepted = (
        "float32, bfloat16, float16, tfloat32, fixed<2..8,-32..32>, uniform<2..8>, shift<2..5>, focused<3..6>, "
        "codebook<2..8>, binary"
    )
    assert str(caught.value) == f"weights: got {text!r}, accepted are {accepted}"


def test_activations_are_float_or_uniform():
    assert parse_format("uniform<2>", ACTIVATION_FORMATS) == Uniform(2)
    with pytest.raises(InvalidPlanError, match="got 'shift<4>', accepted are float32, .*, tfloat32, uniform"):
        parse_format("shift<4>", ACTIVATION_FORMATS)


@pytest.mark.parametrize("kind", [kind for kind in WEIGHT_FORMATS if kind is not Fixed])
@pytest.mark.parametrize("bits", [0, 33, True, "8", None, 2.5, 8.0])
def test_bits_that_are_not_accepted(kind, bits):
    with pytest.raises(InvalidPlanError, match=f"{kind.name}: got {bits!r} bits, accepted are"):
        kind(bits)


def test_fraction_bits_that_are_not_accepted():
    with pytest.raises(InvalidPlanError, match="fixed: got 33 fraction bits, accepted are -32..32"):
        Fixed(8, 33)


@pytest.mark.parametrize("one", QUANTIZED, ids=str)
def test_levels_ascend_and_are_as_many_as_said(one):
    levels, (low, high) = one.levels(), one.level_range()
    assert one.is_quantized
    assert -128 <= low < high <= 127
    assert one.level_count <= 2**one.bits
    if levels is not None:
        assert (np.diff(levels) > 0).all()
        assert (levels[0], levels[-1]) == (low, high)
        assert (0 in levels) == one.has_zero
        assert len(levels) == min(one.level_count, 15 if isinstance(one, Shift) else 256)


def test_levels_by_hand():
    np.testing.assert_array_equal(Uniform(3).levels(), [-4, -3, -2, -1, 0, 1, 2, 3])
    np.testing.assert_array_equal(Fixed(2, 5).levels(), [-2, -1, 0, 1])
    np.testing.assert_array_equal(Shift(2).levels(), [-1, 0, 1])
    np.testing.assert_array_equal(Shift(4).levels(), [-8, -4, -2, -1, 0, 1, 2, 4, 8])
    np.testing.assert_array_equal(Shift(5).levels(9)[9:], [1, 2, 4, 8, 16, 32, 64, 128])
    np.testing.assert_array_equal(Shift(5).levels(8)[8:], [1, 2, 4, 8, 16, 32, 64])
    np.testing.assert_array_equal(Binary().levels(), [-1, 1])
    assert [Focused(bits).level_count for bits in Focused.accepted] == [7, 11, 19, 35]


@pytest.mark.parametrize(
    ("one", "least"),
    [
        *((Uniform(8), 8), (Uniform(2), 2), (Fixed(5, 3), 5), (Codebook(6), 6), (Binary(), 2)),
        *(
            (Shift(2), 2),
            (Shift(3), 3),
            (Shift(4), 4),
            (Shift(5), 6),
            (Focused(3), 3),
            (Focused(5), 4),
            (Focused(6), 6),
        ),
    ],
    ids=str,
)
def test_levels_wider_than_the_kernels_integers(one, least):
    one.levels(least)
    with pytest.raises(InvalidPlanError, match=f"need integers of {least} bits, the kernels' have {least - 1}"):
        one.levels(least - 1)


def test_float_formats_have_no_levels():
    assert not Float32().is_quantized
    assert Float32().levels() is Bfloat16().levels() is None
    assert Float32() != Bfloat16()


def test_costs():
    assert {one.cost for one in FIXED} == {Uniform(8).cost} == {Cost.MULTIPLY}
    assert (Shift(4).cost, Focused(5).cost, Codebook(4).cost, Binary().cost, Float32().cost) == (
        *(Cost.SHIFT, Cost.SHIFT, Cost.LOOKUP, Cost.ADD, Cost.FLOAT),
    )


@pytest.mark.parametrize(
    ("text", "activation_bits", "operations"),
    [
        ("float32", 32, 1024),
        ("bfloat16", 16, 256),
        ("uniform<8>", 8, 64),
        ("uniform<4>", 8, 32),
        ("fixed<6,5>", 4, 24),
        ("codebook<4>", 8, 64),  # what the table holds is multiplied
        ("shift<2>", 8, 8),  # one exponent: a sign
        ("shift<4>", 8, 16),  # two stages
        ("shift<5>", 8, 24),
        ("focused<3>", 8, 16),
        ("focused<5>", 8, 24),  # two stages, and the component's sum
        ("binary", 8, 8),
    ],
)
def test_bit_operations(text, activation_bits, operations):
    assert bit_operations(parse_format(text), activation_bits, 1000) == 1000 * operations
