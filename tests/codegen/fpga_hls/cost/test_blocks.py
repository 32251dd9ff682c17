"""Blocks of RAM that follow from the templates, against what Yosys counted (benchmarks/records/fpga_mobilenet.json)."""

from __future__ import annotations

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.cost.resources import blocks
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.stages import Folding


def test_weights_constants_and_a_line_buffer():
    """A depthwise layer of MobileNet-V1: 2 blocks of weights, 1 of constants, 9 of rows."""
    folding = Folding(8, 8, 1)
    graph = stream_graphs.one_conv(512, 512, (14, 14), kind="depthwise", stride=(2, 2), folding=folding)
    assert blocks(graph.stages[0]) == 12


@pytest.mark.parametrize(("channels", "expected"), [(1024, 0.5), (64, 0)])
def test_sums_of_a_mean(channels, expected):
    builder = stream_graphs.GraphBuilder(7, 7, channels)
    assert blocks(builder.graph(builder.mean_pool(HOST)).stages[0]) == expected
