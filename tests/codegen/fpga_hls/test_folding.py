"""Folding for large parts: as many products of a stage in a cycle as an interval asks for."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from oracles import stream_graphs
from oracles.stream_graphs import GraphBuilder

from espalier.codegen.fpga_hls import folding
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
from espalier.codegen.fpga_hls.stages import Products
from espalier.codegen.fpga_hls.timing import check_depths
from espalier.core.errors import InfeasibleDesignError
from espalier.targets.boards import BY_NAME, Board

ALVEO, ONE_PIXEL_A_CLOCK = BY_NAME["alveo-u250"], 224 * 224


def alone(stage) -> StageNetwork:
    return StageNetwork(stage.in_shape, (stage,), {(stage.name, "x"): INPUT}, (stage.name, "y"), {})


def with_resources(board: Board, **some) -> Board:
    return dataclasses.replace(board, resources=dataclasses.replace(board.resources, **some))


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


def test_the_fastest_design_has_as_many_pixels_in_a_beat_as_fit(usable):
    network = alone(stream_graphs.one_conv(3, 8, (24, 20), stride=(2, 2)).stages[0])
    design = fold(network, ALVEO)
    assert (design.interval_cycles, design.graph.stages[0].pixels) == (120, 4)
    usable(luts=fold(network, ALVEO, ALVEO.clock_hz / 479).resources.luts - 1)
    design = fold(network, ALVEO)
    assert (design.interval_cycles, design.graph.stages[0].pixels) == (480, 1)


def test_several_pixels_that_adapters_slow_down_again_are_not_the_fastest():
    """As below, where 72 cycles are asked for."""
    builder = GraphBuilder(12, 12, 1)
    graph = builder.graph(builder.conv(builder.conv(HOST, 2), 2, stride=(3, 3), padding=(0, 0, 0, 0)))
    design = fold(stream_graphs.network_of(graph), ALVEO)
    assert (design.interval_cycles, design.graph.input.lanes) == (144, 1)


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


SHIFTS = Products("shift", 4)
RECENTRED = Products("focused", 5, ((-20, 2), (9, 1)))
SIGNS = Products("binary", 1)


def beside_each_other(products) -> StageNetwork:
    """A convolution, and one whose residual waits in a FIFO for another one."""
    builder = GraphBuilder(8, 8, 4)
    trunk, beside = builder.fork(builder.conv(HOST, 8, products=products))
    inner = builder.conv(trunk, 8, products=products)
    return stream_graphs.network_of(builder.graph(builder.conv(inner, 8, residual=beside, products=products)))


@pytest.fixture
def usable(monkeypatch):
    """Sets how much of the larger board a design may take; what choices cost, in parts of the board, stays."""

    def set_to(**some):
        shares = {name: value / getattr(ALVEO.resources, name) for name, value in some.items()}
        monkeypatch.setattr(folding, "USABLE", dataclasses.replace(folding.USABLE, **shares))

    return set_to


def kinds(design) -> list[str]:
    return [stage.products.kind for stage in design.graph.convolutions()]


@pytest.mark.parametrize("products", [SHIFTS, RECENTRED, SIGNS])
def test_levels_are_multiplied_in_dsp_blocks_where_luts_lack(products, usable):
    """In as many stages as it takes, with the same numbers."""
    network, asked = beside_each_other(products), ALVEO.clock_hz / 256
    rich = fold(network, ALVEO, asked)
    assert kinds(rich) == [products.kind] * 3
    usable(luts=rich.resources.luts - 1)
    poor = fold(network, ALVEO, asked)
    assert kinds(poor).count("dsp") == 1
    assert poor.resources.luts < rich.resources.luts
    assert poor.resources.dsps > rich.resources.dsps
    assert poor.interval_cycles <= 256
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 4)).astype(np.uint8)
    np.testing.assert_array_equal(stream_graphs.meaning(poor.graph, x), stream_graphs.meaning(rich.graph, x))
    usable(luts=poor.resources.luts - 1)
    assert kinds(fold(network, ALVEO, asked)).count("dsp") > 1


def test_levels_stay_shifts_where_no_dsp_block_is_free(usable):
    network, asked = beside_each_other(SHIFTS), ALVEO.clock_hz / 256
    rich = fold(network, ALVEO, asked).resources
    usable(luts=rich.luts - 1, dsps=rich.dsps + 0.5)
    with pytest.raises(InfeasibleDesignError, match=r"needs [\d,]+ LUTs of [\d,]+ usable \([\d.]+ % of 1,728"):
        fold(network, ALVEO, asked)


def test_levels_of_several_pixels_are_multiplied_in_dsp_blocks_where_luts_lack(usable):
    network, asked = alone(stream_graphs.one_conv(2, 8, (8, 8), products=RECENTRED).stages[0]), ALVEO.clock_hz / 32
    rich = fold(network, ALVEO, asked)
    usable(luts=rich.resources.luts - 1)
    poor = fold(network, ALVEO, asked)
    assert (kinds(rich), kinds(poor)) == (["lut"], ["dsp"])
    assert poor.graph.stages[0].pixels == 2


@pytest.mark.parametrize(
    ("asked", "slowest", "fewer"), [(None, ", its slowest folding", ""), (1000, "", "fewer frames a second, ")]
)
def test_what_a_part_lacks_is_said_with_what_may_be_used(asked, slowest, fewer):
    network = alone(stream_graphs.one_conv(16, 32, (8, 8)).stages[0])
    with pytest.raises(InfeasibleDesignError) as caught:
        fold(network, with_resources(BY_NAME["pynq-z2"], luts=200, bram_36k=0.5), asked)
    assert re.fullmatch(
        r"pynq-z2: the design needs [\d,]+ LUTs of 170 usable \(85 % of 200\), [\d.]+ blocks of 36 kbit of 0\.5 "
        rf"at [\d,]+ cycles a frame{slowest}; accepted is a smaller network, narrower weights, {fewer}"
        "or a larger board",
        str(caught.value),
    )


def test_fewer_frames_a_second_are_no_advice_where_no_design_is_slower():
    network = alone(stream_graphs.one_conv(8, 16, (8, 8)).stages[0])
    with pytest.raises(InfeasibleDesignError, match="accepted is a smaller network, narrower weights, or a larger"):
        fold(network, with_resources(BY_NAME["pynq-z2"], luts=200), 1)


def test_blocks_that_are_scarce_are_saved():
    """Weights of five lanes fill blocks better than those of one; that takes look-up tables."""
    stage, board = stream_graphs.one_conv(96, 160, (8, 8)).stages[0], BY_NAME["pynq-z2"]
    rich = fold(alone(stage), board, frames_per_s=1).resources
    poor = fold(alone(stage), with_resources(board, bram_36k=rich.bram_36k - 1), frames_per_s=1).resources
    assert poor.bram_36k <= rich.bram_36k - 1
    assert poor.luts > rich.luts
