"""Graphs of streams: what is accepted, and what numbers they say of themselves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.check_stage import check_stage
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.stages import Adapter, Folding, Gate, Products
from espalier.core.errors import InvalidInputError
from espalier.core.integer import LayerArithmetic


@pytest.mark.parametrize("example", ["two_layers", "residual_network", "every_kind", "gated_network"])
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
