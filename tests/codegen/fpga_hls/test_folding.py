"""Folding for large parts: as many products of a stage in a cycle as an interval asks for."""

from __future__ import annotations

import dataclasses

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.network import INPUT, StageNetwork
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


def test_a_frame_is_no_faster_than_its_pixels():
    """A beat has one pixel at most, so that a large image sets a bound whatever the board has."""
    stage = stream_graphs.one_conv(3, 8, (24, 20), stride=(2, 2)).stages[0]
    assert fold(alone(stage), ALVEO, ALVEO.clock_hz / 480).interval_cycles == 480
    with pytest.raises(InfeasibleDesignError, match="240 cycles each; accepted are 480 and more, the beats"):
        fold(alone(stage), ALVEO, ALVEO.clock_hz / 240)


def test_blocks_that_are_scarce_are_saved():
    """Weights of five lanes fill blocks better than those of one; that takes look-up tables."""
    stage, board = stream_graphs.one_conv(96, 160, (8, 8)).stages[0], BY_NAME["pynq-z2"]
    rich = fold(alone(stage), board, frames_per_s=1).resources
    small = dataclasses.replace(board, resources=dataclasses.replace(board.resources, bram_36k=rich.bram_36k - 1))
    poor = fold(alone(stage), small, frames_per_s=1).resources
    assert poor.bram_36k <= rich.bram_36k - 1
    assert poor.luts > rich.luts
