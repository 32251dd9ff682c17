"""Folding for large parts: as many products of a stage in a cycle as an interval asks for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from oracles import stream_graphs
from oracles.stream_graphs import GraphBuilder

from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
from espalier.codegen.fpga_hls.stages import Products
from espalier.codegen.fpga_hls.timing import check_depths
from espalier.core.errors import InfeasibleDesignError
from espalier.targets.boards import BY_NAME

ALVEO, ONE_PIXEL_A_CLOCK = BY_NAME["alveo-u250"], 224 * 224


def alone(stage) -> StageNetwork:
    return StageNetwork(stage.in_shape, (stage,), {(stage.name, "x"): INPUT}, (stage.name, "y"), {})


@pytest.mark.parametrize(("times", "products"), [(1, 1024), (4, 4096)])
def test_a_stage_takes_thousands_of_products_in_a_cycle(times, products):
    """MobileNet-V1's last pointwise layer, for 224 x 224 cycles a frame and a quarter of them."""
    stage = stream_graphs.one_conv(1024, 1024, (7, 7), kernel=(1, 1)).stages[0]
    design = fold(alone(stage), ALVEO, ALVEO.clock_hz * times / ONE_PIXEL_A_CLOCK)
    found = design.graph.convolutions()[0]
    assert design.interval_cycles == found.compute_cycles == ONE_PIXEL_A_CLOCK // times
    assert found.products_per_cycle == products
    assert products / 2 < design.resources.dsps < products / 2 + 20


@pytest.mark.parametrize(("interval", "pixels"), [(480, 1), (479, 2), (240, 2), (120, 4)])
def test_beats_have_as_many_pixels_as_the_interval_asks_for(interval, pixels):
    stage = stream_graphs.one_conv(3, 8, (24, 20), stride=(2, 2)).stages[0]
    design = fold(alone(stage), ALVEO, ALVEO.clock_hz / interval)
    assert design.graph.stages[0].pixels == pixels
    assert design.interval_cycles <= interval
    assert (design.graph.input.lanes, design.graph.input.beats) == (3 * pixels, 480 // pixels)


def test_a_frame_is_no_faster_than_its_widest_beats():
    """Of 20 pixels in a row, a beat has 4 at most: 8 are no part of them."""
    stage = stream_graphs.one_conv(3, 8, (24, 20), stride=(2, 2)).stages[0]
    with pytest.raises(InfeasibleDesignError, match="60 cycles each; accepted are 120 and more, the least that stage"):
        fold(alone(stage), ALVEO, ALVEO.clock_hz / 60)


def test_without_a_frame_rate_beats_have_one_pixel():
    stage = stream_graphs.one_conv(3, 8, (24, 20), stride=(2, 2)).stages[0]
    assert fold(alone(stage), ALVEO).interval_cycles == 480


def test_beats_that_are_no_parts_of_each_other_are_refused():
    """Two pixels leave the first layer, three go into the second one: between them is one."""
    builder = GraphBuilder(12, 12, 1)
    graph = builder.graph(builder.conv(builder.conv(HOST, 2), 2, stride=(3, 3), padding=(0, 0, 0, 0)))
    with pytest.raises(InfeasibleDesignError, match="reach 72 cycles .* adapters between them 144; accepted are"):
        fold(stream_graphs.network_of(graph), ALVEO, ALVEO.clock_hz / 72)


def test_a_mean_takes_one_pixel_at_a_time():
    stage = GraphBuilder(8, 8, 4)
    network = alone(stage.graph(stage.mean_pool(HOST)).stages[0])
    assert fold(network, ALVEO, ALVEO.clock_hz / 64).interval_cycles == 64
    with pytest.raises(InfeasibleDesignError, match="32 cycles each; accepted are 64 and more"):
        fold(network, ALVEO, ALVEO.clock_hz / 32)


def test_levels_of_recentralised_shifts_are_multiplied_where_a_beat_has_several_pixels():
    """Only stages that cannot be so fast otherwise have several."""
    builder = GraphBuilder(8, 8, 2)
    products = Products("focused", 5, ((-20, 2), (9, 1)))
    first = builder.conv(HOST, 4, stride=(2, 2), products=products)
    graph = builder.graph(builder.conv(first, 4, kernel=(1, 1), products=products))
    design = fold(stream_graphs.network_of(graph), ALVEO, ALVEO.clock_hz / 32)
    assert design.interval_cycles == 32
    assert [(one.pixels, one.products.kind) for one in design.graph.convolutions()] == [(2, "lut"), (1, "focused")]


def test_a_whole_network_takes_two_pixels():
    """At half of the cycles that its pixels take."""
    graph = stream_graphs.branches()
    design = fold(stream_graphs.network_of(graph), ALVEO, ALVEO.clock_hz / 32)
    assert design.interval_cycles == 32
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 2)).astype(np.uint8)
    np.testing.assert_array_equal(stream_graphs.meaning(design.graph, x), stream_graphs.meaning(graph, x))
    check_depths(design.graph)


def test_blocks_that_are_scarce_are_saved():
    """Weights of five lanes fill blocks better than those of one; that takes look-up tables."""
    stage, board = stream_graphs.one_conv(96, 160, (8, 8)).stages[0], BY_NAME["pynq-z2"]
    rich = fold(alone(stage), board, frames_per_s=1).resources
    small = dataclasses.replace(board, resources=dataclasses.replace(board.resources, bram_36k=rich.bram_36k - 1))
    poor = fold(alone(stage), small, frames_per_s=1).resources
    assert poor.bram_36k <= rich.bram_36k - 1
    assert poor.luts > rich.luts
