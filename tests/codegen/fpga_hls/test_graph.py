"""Graphs of streams: what is accepted, and what numbers they say of themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.check_stage import check_stage
from espalier.codegen.fpga_hls.graph import HOST, StreamGraph
from espalier.codegen.fpga_hls.stages import Adapter, Folding, Gate, Products
from espalier.codegen.fpga_hls.windows import Windows, bits_read, taps_read, windows_of
from espalier.core.errors import InvalidInputError
from espalier.core.integer import LayerArithmetic


@pytest.mark.parametrize(
    "example",
    [
        "two_layers",
        "residual_network",
        "every_kind",
        "gated_network",
        "channels_of_their_own",
        "several_pixels",
        "raw_pixels",
    ],
)
def test_an_example_computes(example):
    graph = getattr(stream_graphs, example)()
    x = np.random.default_rng(0).integers(0, 256, (2, *graph.input.shape)).astype(np.uint8)
    y = stream_graphs.meaning(graph, x)
    assert y.shape[1:] == graph.output.shape
    assert len(np.unique(y)) > 5


def test_cycles_and_lanes_of_a_convolution():
    stage = stream_graphs.one_conv(8, 16, (6, 6), folding=Folding(2, 4, 3)).stages[0]
    assert stage.cycles_per_group == 3 * 4
    assert stage.compute_cycles == 36 * 4 * 12
    assert stage.products_per_cycle * stage.compute_cycles == stage.macs
    assert stage.out_lanes == 1
    assert dataclasses.replace(stage, folding=Folding(8, 16, 9)).out_lanes == 16


@pytest.mark.parametrize(("taps", "cycles", "out_lanes"), [(9, 1, 16), (3, 3, 8)])
def test_pixels_that_are_computed_together(taps, cycles, out_lanes):
    """Two in 1 or in 3 cycles; what leaves in a beat is all channels of one or of both."""
    stage = stream_graphs.one_conv(4, 8, (6, 8), folding=Folding(4, 8, taps, 2)).stages[0]
    assert (stage.in_lanes, stage.out_pixels, stage.cycles_per_group, stage.out_lanes) == (8, 2, cycles, out_lanes)
    assert stage.compute_cycles == 6 * 8 // 2 * cycles
    assert stage.products_per_cycle * stage.compute_cycles == stage.macs


def test_a_strided_stage_reads_more_pixels_than_it_makes():
    stage = stream_graphs.one_conv(3, 8, (8, 8), stride=(2, 2), folding=Folding(3, 4, 9, 2)).stages[0]
    assert (stage.in_lanes, stage.out_pixels, stage.out_lanes) == (6, 1, 4)
    assert stage.compute_cycles == 4 * 4 * 2


def test_windows_of_beats_have_the_windows_of_their_pixels():
    """Of four pixels, with the last one of the beat before and the first one of the beat behind."""
    stage = stream_graphs.one_conv(2, 2, (6, 8), folding=Folding(2, 2, 9, 4)).stages[0]
    assert windows_of(stage) == Windows(6, 2, (3, 3), (1, 1), 1, 1, 6, 2, first=3)
    assert (taps_read(stage), bits_read(stage)) == (9, {(48, 64): 3, (0, 64): 3, (0, 16): 3})
    strided = stream_graphs.one_conv(2, 2, (6, 8), stride=(2, 2), folding=Folding(2, 2, 3, 2)).stages[0]
    assert windows_of(strided) == Windows(6, 4, (3, 2), (2, 1), 1, 1, 3, 4, first=1)
    assert (taps_read(strided), bits_read(strided)) == (2, {(16, 32): 1, (0, 32): 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folding": Folding(2, 8, 9, 2)}, "simd 2 with 2 pixels in a beat, accepted is 4"),
        ({"folding": Folding(4, 4, 9, 2)}, "pe 4 with 2 pixels in a beat, accepted is 8"),
        ({"folding": Folding(4, 8, 1, 2)}, "taps 1 with 2 pixels in a beat, accepted are whole rows of the kernel"),
        ({"folding": Folding(4, 8, 9, 5)}, "5 pixels of a row of 12, accepted are divisors of it"),
        ({"folding": Folding(4, 8, 9, 3), "stride": (2, 2)}, "3 pixels at a stride of 2, accepted are multiples of it"),
        ({"folding": Folding(4, 8, 9, 4), "padding": (0, 0, 0, 0)}, "4 output pixels at a time of a row of 10"),
        (
            {"folding": Folding(4, 8, 9, 2), "products": Products("focused", 5, ((-20, 2), (9, 1)))},
            "recentralised shifts with 2 pixels in a beat, accepted are neither, or one pixel",
        ),
    ],
)
def test_pixels_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InvalidInputError, match=message):
        stream_graphs.one_conv(4, 8, (6, 12), **options)


@pytest.mark.parametrize(
    ("kind", "lanes", "message"),
    [
        ("mean_pool", 8, "8 lanes for 4 channels, accepted are divisors of these"),
        ("max_pool", 12, "3 pixels of a row of 8"),
        ("max_pool", 6, "6 lanes for rows of 8 pixels of 4 channels, accepted are all channels of a divisor"),
    ],
)
def test_beats_that_a_stage_does_not_take_are_refused(kind, lanes, message):
    builder = stream_graphs.GraphBuilder(6, 8, 4)
    with pytest.raises(InvalidInputError, match=message):
        builder.graph(getattr(builder, kind)(HOST, lanes=lanes))


def test_only_sums_are_rectified():
    with pytest.raises(InvalidInputError, match="rectified numbers of 8 bits, accepted are rectified sums"):
        stream_graphs.one_conv(is_rectified=True)


def test_gates_read_single_pixels():
    stage = next(stage for stage in stream_graphs.gated_network().convolutions() if stage.winners)
    with pytest.raises(InvalidInputError, match="lists or recentralised shifts with 7 pixels in a beat"):
        check_stage(dataclasses.replace(stage, folding=dataclasses.replace(stage.folding, pixels=7)))


def test_sums_hold_the_worst_input():
    stage = stream_graphs.one_conv(x_zero=128).stages[0]
    worst = np.where(stage.weights > 0, 127, -128) * stage.weights.astype(np.int64)
    most = (worst.reshape(len(worst), -1).sum(1) + stage.bias).max()
    assert most < 2 ** (stage.sum_bits - 1)
    assert most > 2 ** (stage.sum_bits - 3)


@pytest.mark.parametrize(
    ("folding", "message"),
    [
        (Folding(3, 1, 1), "simd 3"),
        (Folding(1, 3, 1), "pe 3"),
        (Folding(1, 1, 2), "taps 2"),
    ],
)
def test_a_folding_that_does_not_divide_is_refused(folding, message):
    with pytest.raises(InvalidInputError, match=message):
        stream_graphs.one_conv(folding=folding)


def test_a_gated_stage_is_as_large_as_what_it_keeps():
    graph = stream_graphs.gated_network()
    stage = next(stage for stage in graph.convolutions() if stage.winners and stage.active)
    assert (stage.in_shape[2], stage.channels_in) == (8, 16)
    assert (stage.out_shape[2], stage.channels_out) == (6, 12)
    assert stage.compute_cycles == 3 * 3 * 3 * 3 * 4
    assert stage.macs == stage.compute_cycles * stage.products_per_cycle


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folding": Folding(4, 2, 3)}, None),
        ({"folding": Folding(8, 2, 3)}, "simd 8 for groups of 4, accepted are divisors of these"),
        ({"folding": Folding(2, 6, 3)}, "pe 6 for groups of 2"),
        ({"arithmetic": LayerArithmetic(5)}, "a zero point 5 of an input that is listed, accepted is 0"),
        ({"products": Products("focused", 5, ((1, 1), (2, 1)))}, "lists of channels, accepted are dense"),
        ({"winners": None, "out_shape": (3, 3, 12)}, "a pi without a list"),
    ],
)
def test_lists_that_do_not_fit_a_stage_are_refused(change, message):
    graph = stream_graphs.gated_network()
    stage = next(stage for stage in graph.convolutions() if stage.winners and stage.active)
    changed = dataclasses.replace(stage, **change)
    if message is None:
        check_stage(changed)
        return
    with pytest.raises(InvalidInputError, match=message):
        check_stage(changed)


def test_a_predictor_of_another_shape_is_refused():
    gate = next(stage for stage in stream_graphs.gated_network().stages if isinstance(stage, Gate))
    with pytest.raises(InvalidInputError, match="phi .*, accepted is"):
        check_stage(dataclasses.replace(gate, phi=gate.phi[1:]))


def test_adapters_between_lanes_without_a_common_multiple_are_refused():
    with pytest.raises(InvalidInputError, match="multiples of each other"):
        check_stage(Adapter("odd", (1, 1, 6), (1, 1, 6), 2, 3))


def test_a_port_without_a_stream_is_refused():
    graph = stream_graphs.residual_network()
    with pytest.raises(InvalidInputError, match="streams, accepted is one"):
        StreamGraph(graph.stages, graph.edges[1:])


def test_a_stream_of_other_lanes_is_refused():
    graph = stream_graphs.two_layers()
    wrong = dataclasses.replace(graph.edges[0], lanes=1)
    with pytest.raises(InvalidInputError, match="lanes"):
        StreamGraph(graph.stages, (wrong, *graph.edges[1:]))
