"""Blocks of RAM and DSPs that follow from the templates, against what Yosys counted (benchmarks/records)."""

from __future__ import annotations

import dataclasses

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.cost.memories import (
    banks,
    blocks_read,
    buffer_bits,
    buffer_blocks,
    rom_blocks,
)
from espalier.codegen.fpga_hls.cost.resources import blocks, dsps, weight_word_bits
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.rtl.parameters import module_of
from espalier.codegen.fpga_hls.stages import Folding, Products
from espalier.core.integer import ResidualArithmetic


def test_weights_constants_and_a_line_buffer():
    """A depthwise layer of MobileNet-V1: 2 blocks of weights, 1 of constants, 9 of rows."""
    folding = Folding(8, 8, 1)
    graph = stream_graphs.one_conv(512, 512, (14, 14), kind="depthwise", stride=(2, 2), folding=folding)
    assert blocks(graph.stages[0]) == 12


@pytest.mark.parametrize(
    "products",
    [
        *(Products(kind, bits) for kind in ("dsp", "lut") for bits in (2, 4, 5, 8)),
        Products("shift", 4),
        Products("binary", 1),
        Products("focused", 5, ((-20, 2), (9, 1))),
    ],
    ids=lambda products: f"{products.kind}{products.weight_bits}",
)
def test_words_of_weights_are_as_wide_as_the_emitted_ones(products):
    """Four products in a cycle: as many hexadecimal digits as a weight has bits."""
    stage = stream_graphs.one_conv(4, 8, folding=Folding(2, 2), products=products).stages[0]
    module = module_of(stage)
    lines = module.tables["conv0_weights.mem"].split()
    assert {len(line) for line in lines} == {weight_word_bits(stage) // 4} == {module.parameters["WEIGHT_BITS"]}


@pytest.mark.parametrize(
    ("width", "depth", "expected", "chosen"),
    [(4, 64, 0, 0), (4, 9216, 1, 32), (8, 9216, 2, 64), (24, 3072, 2, 48), (96, 768, 3, 0), (320, 25600, 223, 7680)],
)
def test_parts_of_a_deep_table_lie_side_by_side(width, depth, expected, chosen):
    """9,216 codes of 4 bits are nine in each of 1,024 words of 36."""
    assert rom_blocks(width, depth) == (expected, chosen)


def test_a_line_buffer_of_beats_of_two_pixels():
    """MobileNet-V1's first layer: six rows of 112 beats of 48 bits. A row of the kernel reads one beat, three blocks of
    18 kbit, and of the one before only the last pixel, which is in two of them.
    """
    folding = Folding(3, 16, 9, 2)
    stage = stream_graphs.one_conv(3, 32, (224, 224), stride=(2, 2), folding=folding).stages[0]
    assert blocks(stage) == 7.5
    assert dsps(stage) == 27 * 8 + 2 * stage.out_lanes


@pytest.mark.parametrize(
    ("width", "depth", "low", "high", "expected"),
    [(48, 672, 24, 48, 1), (48, 672, 0, 24, 1), (64, 448, 32, 64, 1), (100, 448, 72, 100, 0.5), (48, 64, 0, 24, 0)],
)
def test_blocks_of_which_nothing_is_read_go_away(width, depth, low, high, expected):
    """64 bits are in a whole block of 36 kbit, which stays."""
    assert blocks_read(width, depth, low, high) == expected


@pytest.mark.parametrize(("channels", "expected"), [(1024, 0.5), (64, 0)])
def test_sums_of_a_mean(channels, expected):
    builder = stream_graphs.GraphBuilder(7, 7, channels)
    assert blocks(builder.graph(builder.mean_pool(HOST)).stages[0]) == expected


@pytest.mark.parametrize(
    ("width", "depth", "luts", "expected"),
    [(8, 64, 8, 0), (8, 192, 24, 0), (24, 128, 0, 0.5), (8, 1024, 0, 0.5), (64, 100, 0, 1), (9, 2048, 0, 0.5)],
)
def test_a_buffer_is_in_luts_where_they_are_cheaper(width, depth, luts, expected):
    assert (buffer_bits(width, depth), buffer_blocks(width, depth)) == (luts, expected)


@pytest.mark.parametrize(
    ("width", "depth", "luts", "expected"),
    [(8, 64, 32, 0), (8, 128, 64, 0), (16, 96, 96, 0), (8, 192, 0, 0.5), (32, 64, 0, 0.5), (128, 64, 0, 2)],
)
def test_a_buffer_of_an_ecp5_is_in_luts_only_where_it_is_small(width, depth, luts, expected):
    """Units are bits of 16 words; a block and what goes around it cost as much as 140 of them."""
    assert (buffer_bits(width, depth, "ecp5"), buffer_blocks(width, depth, "ecp5")) == (luts, expected)


def test_a_deep_line_buffer_of_an_ecp5_has_banks():
    assert [banks(depth, "ecp5") for depth in (2_048, 2_049, 6_144)] == [(1, 2_048), (2, 2_048), (3, 2_048)]
    assert banks(6_144) == (1, 6_144)


@pytest.mark.parametrize(("factor", "expected"), [(11_184_811, 2), (1 << 23, 0)])
def test_a_mean_over_a_power_of_two_is_a_shift(factor, expected):
    builder = stream_graphs.GraphBuilder(8, 8, 4)
    stage = builder.graph(builder.mean_pool(HOST)).stages[0]
    arithmetic = dataclasses.replace(stage.arithmetic, multiplier=factor)
    assert dsps(dataclasses.replace(stage, arithmetic=arithmetic)) == expected


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [(700_001, 400_000, 4), (1, 1, 0), (1 << 19, 1, 0), (700_001, 1, 2), (1 << 19, (1 << 23) + 3, 1)],
)
def test_a_residual_that_is_shifted_takes_no_multiplier(own, other, expected):
    """In halves of 12 bits."""
    builder = stream_graphs.GraphBuilder(6, 6, 4)
    copies = builder.fork(builder.conv(HOST, 4))
    stage = builder.graph(builder.conv(copies[0], 4, residual=copies[1])).stages[-1]
    arithmetic = dataclasses.replace(stage.arithmetic, residual=ResidualArithmetic(3, own, other, 20, -150, 140))
    assert dsps(dataclasses.replace(stage, arithmetic=arithmetic)) - dsps(stage) == expected - 4
