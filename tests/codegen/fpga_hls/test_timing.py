"""The schedule of a graph: its slowest stage sets the pace, and its FIFOs hold what waits."""

from __future__ import annotations

import pytest
from oracles import stream_graphs

from espalier.codegen.fpga_hls.cost.cycles import graph_interval_cycles, interval_cycles
from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.stages import Folding, Gate
from espalier.codegen.fpga_hls.timing import check_depths, latency_cycles, schedule
from espalier.core.errors import InfeasibleDesignError


@pytest.mark.parametrize(
    "example",
    ["two_layers", "residual_network", "every_kind", "gated_network", "channels_of_their_own", "several_pixels"],
)
def test_the_slowest_stage_sets_the_pace(example):
    graph = with_fifo_depths(getattr(stream_graphs, example)())
    found = schedule(graph)
    assert found.interval_cycles == graph_interval_cycles(graph)
    assert all(edge.depth >= found.high_water[edge.name] for edge in graph.edges)
    assert latency_cycles(graph) <= found.latency_cycles


def test_the_interval_of_a_convolution_is_products_or_beats():
    assert interval_cycles(stream_graphs.one_conv(8, 8, (6, 6), folding=Folding(1, 1, 1)).stages[0]) == 36 * 64 * 9
    fast = stream_graphs.one_conv(8, 8, (6, 6), folding=Folding(2, 8, 9)).stages[0]
    assert fast.compute_cycles == interval_cycles(fast) == 36 * 4
    wide = stream_graphs.one_conv(8, 2, (6, 6), stride=(2, 2), folding=Folding(1, 2, 9)).stages[0]
    assert wide.compute_cycles < interval_cycles(wide) == 36 * 8


def test_a_shortcut_waits_for_the_branch_beside_it():
    graph = stream_graphs.residual_network()
    found = schedule(graph).high_water
    beside = {name: beats for name, beats in found.items() if name.endswith("_residual")}
    assert max(beside.values()) > 16
    assert max(beats for name, beats in found.items() if name not in beside) < max(beside.values())


def test_a_map_waits_for_its_gate():
    """The stream beside a gate holds a whole map, and the gate predicts within the interval."""
    graph = with_fifo_depths(stream_graphs.gated_network())
    gate = next(stage for stage in graph.stages if isinstance(stage, Gate))
    gated = next(stage for stage in graph.convolutions() if stage.winners)
    map_edge = graph.into(gated)[0]
    assert map_edge.depth >= map_edge.beats == 6 * 7 * 6 // gated.in_lanes
    assert interval_cycles(gate) > 6 * 7 * 6 // gate.lanes + 6 * 16 + 4**2


def test_fifos_that_are_too_shallow_are_refused():
    graph = with_fifo_depths(stream_graphs.residual_network())
    deepest = max(graph.edges, key=lambda edge: edge.depth)
    check_depths(graph)
    with pytest.raises(InfeasibleDesignError, match=f"stream {deepest.name}: its FIFO holds 2 beats .* wait forever"):
        latency_cycles(graph.with_depths({deepest.name: 2}))


def test_images_that_come_slower_leave_slower():
    graph = stream_graphs.two_layers()
    assert schedule(graph, 2 * graph_interval_cycles(graph)).interval_cycles == 2 * graph_interval_cycles(graph)
