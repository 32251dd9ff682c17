"""Emitted SystemVerilog, simulated: the oracle's numbers bit for bit, and the cycles that the stages were made for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from espalier.codegen.fpga_hls.cost.cycles import graph_interval_cycles, interval_cycles
from espalier.codegen.fpga_hls.cost.resources import NARROW_BITS
from espalier.codegen.fpga_hls.fifo_depths import with_fifo_depths
from espalier.codegen.fpga_hls.folding import fold
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.rtl.beats import beats_of, tensor_of
from espalier.codegen.fpga_hls.rtl.emit import PATIENCE, data_bits, emit, patience
from espalier.codegen.fpga_hls.rtl.parameters import KINDS, RECENTRED, module_of
from espalier.codegen.fpga_hls.stages import Adapter, Folding, Gate, Products
from espalier.codegen.fpga_hls.timing import latency_cycles
from espalier.core.errors import InvalidInputError, ToolNotFoundError
from espalier.measure.fpga.rtl_simulation import (
    SimulationError,
    build_icarus,
    build_rtl,
    read_log,
)
from espalier.targets.boards import BY_NAME
from tests.oracles.stream_graphs import (
    GraphBuilder,
    branches,
    every_kind,
    every_level_in_dsps,
    every_product,
    every_recentred,
    gated_network,
    network_of,
    one_conv,
    raw_pixels,
    rectified_sums,
    residual_network,
    several_pixels,
)
from tests.rtl_projects import needs_icarus, needs_verilator, simulated, written


def narrow_weights():
    """Weights of few bits in DSP blocks: in pairs, a pair and one over, alone; raw sums at the end."""
    one = GraphBuilder(4, 5, 4)
    name = one.conv(HOST, 6, folding=Folding(2, 3), products=Products("dsp", 4))
    name = one.conv(name, 8, folding=Folding(3, 4), products=Products("dsp", 2))
    name = one.conv(name, 8, kind="depthwise", folding=Folding(2, 2, 3), products=Products("dsp", 5))
    dense = {"kernel": (4, 5), "padding": (0, 0, 0, 0), "folding": Folding(8, 2), "is_raw": True}
    return one.graph(one.conv(name, 4, **dense, products=Products("dsp", 7)), depth=8)


@needs_icarus
@pytest.mark.parametrize(
    "graph", [every_kind, every_product, every_level_in_dsps, every_recentred, narrow_weights, rectified_sums]
)
def test_every_stage_is_the_oracle(graph, tmp_path):
    graph = graph()
    program = build_icarus(written(graph, tmp_path))
    simulated(graph, program)
    simulated(graph, program, frames=1, stalls=120)


def gates_in_a_row():
    """A gate in front of a fast stage, whose list goes on to the next; the second gate is the slowest stage."""
    one = GraphBuilder(4, 3, 5)
    data, watched = one.fork(one.conv(HOST, 5, folding=Folding(5, 5, 9)))
    first = one.gate(watched, 8, 3, 2, readers=3)
    data, watched = one.fork(one.conv(data, 8, gate=first, folding=Folding(5, 2, 9)))
    second = one.gate(watched, 24, 4, 1, active=first)
    return one.graph(one.conv(data, 24, kernel=(1, 1), gate=second, active=first, folding=Folding(2, 1)))


def late_residual(shortcut, trunk):
    """A block whose shortcut waits for the trunk, which is the branch of two convolutions."""
    one = GraphBuilder(8, 8, 4)
    deep, beside = one.fork(one.conv(HOST, 4, folding=Folding(4, 4, 9)))
    deep = one.conv(one.conv(deep, 8, stride=(2, 2), folding=trunk), 8, folding=trunk)
    options = {"kernel": (1, 1), "stride": (2, 2), "padding": (0, 0, 0, 0), "folding": shortcut}
    return one.graph(one.conv(beside, 8, residual=deep, **options))


def slow_at_the_end():
    """Stages of every kind that wait for room: the last convolution takes 36 cycles a pixel."""
    one = GraphBuilder(6, 6, 4)
    left, right = one.fork(one.conv(HOST, 8, folding=Folding(4, 8, 9)))
    right = one.conv(right, 8, kernel=(1, 1), folding=Folding(8, 2))
    pooled = one.max_pool(one.add(left, right, 4), (3, 3), (1, 1), (1, 1, 1, 1), 8)
    return one.graph(one.mean_pool(one.conv(pooled, 4, folding=Folding(2, 4)), 2))


def many_results_at_once():
    """More results wait in the stage than fit a FIFO in LUTs."""
    return one_conv(16, 16, (6, 6), folding=Folding(8, 16))


@needs_icarus
@pytest.mark.parametrize(
    "graph",
    [
        every_recentred(),
        late_residual(Folding(1, 1), Folding(1, 1, 9)),
        late_residual(Folding(1, 2), Folding(2, 2, 9)),
        late_residual(Folding(2, 8), Folding(4, 4, 9)),
        slow_at_the_end(),
        many_results_at_once(),
    ],
)
def test_the_latency_is_predicted_where_stages_wait_for_each_other(graph, tmp_path):
    graph = with_fifo_depths(graph)
    found = simulated(graph, build_icarus(written(graph, tmp_path)))
    assert found.latency_cycles == latency_cycles(graph)
    assert all(use.high_water <= use.depth for use in found.fifos.values())


def test_shifts_that_cost_more_are_multiplied_as_levels():
    kinds = [module_of(stage).parameters["KIND"] for stage in every_recentred().convolutions()]
    assert kinds == [RECENTRED] * 5
    (few,) = one_conv(folding=Folding(1, 1), products=Products("focused", 4, ((-20, 2), (9, 1)))).convolutions()
    assert module_of(few).parameters["KIND"] == KINDS["lut"]


def weights_in_a_block():
    """More words of weights than a memory in LUTs has, and sums wider than a port of a narrow multiplier."""
    graph = one_conv(16, 8, (4, 5), folding=Folding(2, 2))
    assert math.prod(graph.stages[0].weight_words) > 64
    assert graph.stages[0].sum_bits > NARROW_BITS
    return graph


@needs_icarus
@pytest.mark.parametrize("graph", [every_product, weights_in_a_block])
def test_narrow_multipliers_compute_the_same_in_the_same_time(graph, tmp_path):
    graph = with_fifo_depths(graph())
    found = simulated(graph, build_icarus(written(graph, tmp_path, packs=False)))
    assert found.latency_cycles == latency_cycles(graph)


@needs_icarus
@pytest.mark.parametrize("has_pi", [True, False])
def test_gates_are_the_oracle_and_as_fast_as_predicted(has_pi, tmp_path):
    graph = with_fifo_depths(gated_network(has_pi))
    program = build_icarus(written(graph, tmp_path))
    found = simulated(graph, program, frames=5)
    assert found.interval_cycles == graph_interval_cycles(graph)
    assert found.latency_cycles == latency_cycles(graph)
    simulated(graph, program, stalls=120)


@needs_icarus
def test_a_gate_that_is_the_slowest_stage_sets_the_pace(tmp_path):
    graph = with_fifo_depths(gates_in_a_row())
    found = simulated(graph, build_icarus(written(graph, tmp_path)), frames=5)
    gates = [interval_cycles(stage) for stage in graph.stages if isinstance(stage, Gate)]
    assert found.interval_cycles == max(gates) == graph_interval_cycles(graph)
    assert found.latency_cycles == latency_cycles(graph)
    assert all(use.high_water <= use.depth for use in found.fifos.values())


@needs_icarus
@pytest.mark.parametrize("graph", [several_pixels, raw_pixels])
def test_several_pixels_are_the_oracle_and_as_fast_as_predicted(graph, tmp_path):
    graph = with_fifo_depths(graph())
    program = build_icarus(written(graph, tmp_path))
    found = simulated(graph, program, frames=3)
    assert found.interval_cycles == graph_interval_cycles(graph)
    assert found.latency_cycles == latency_cycles(graph)
    assert all(use.high_water <= use.depth for use in found.fifos.values())
    simulated(graph, program, stalls=120)


@needs_icarus
def test_a_network_that_is_folded_to_two_pixels_in_a_beat_is_as_fast_as_predicted(tmp_path):
    board = BY_NAME["alveo-u250"]
    design = fold(network_of(branches()), board, board.clock_hz / 32)
    found = simulated(design.graph, build_icarus(written(design.graph, tmp_path)))
    assert found.interval_cycles == design.interval_cycles == 32
    assert found.latency_cycles == latency_cycles(design.graph)


@needs_icarus
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1)])
def test_small_images(size, tmp_path):
    graph = one_conv(2, 2, size, folding=Folding(2, 2, 9))
    simulated(graph, build_icarus(written(graph, tmp_path)), frames=4)


@needs_icarus
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_the_interval_is_the_cycles_of_the_products(kernel, tmp_path):
    graph = one_conv(4, 8, (6, 5), kernel=kernel, folding=Folding(2, 8))
    found = simulated(graph, build_icarus(written(graph, tmp_path)), frames=4)
    assert found.interval_cycles == graph.stages[0].compute_cycles
    activity = found.stages["conv0"]
    assert activity.busy == 4 * graph.stages[0].compute_cycles
    assert (activity.blocked, activity.fill > 0) == (0, True)


@needs_verilator
@needs_icarus
def test_verilator_and_icarus_agree_on_a_residual_network(tmp_path):
    graph = residual_network()
    folder = written(graph, tmp_path)
    fast, slow = simulated(graph, build_rtl(folder)), simulated(graph, build_icarus(folder))
    assert (fast.first_in, fast.last_out, fast.fifos) == (slow.first_in, slow.last_out, slow.fifos)
    assert fast.interval_cycles == max(stage.compute_cycles for stage in graph.convolutions())
    assert all(use.high_water <= use.depth for use in fast.fifos.values())
    adapters = {stage.name for stage in graph.stages if isinstance(stage, Adapter)}
    assert fast.stages.keys() == slow.stages.keys() | adapters > slow.stages.keys()
    assert all(fast.stages[edge.sink].busy >= 2 * edge.beats for edge in graph.edges if edge.sink in adapters)


@needs_icarus
def test_a_fork_whose_shallow_side_fills_is_a_deadlock(tmp_path):
    one = GraphBuilder(6, 6, 1)
    trunk, shortcut = one.fork(one.conv(HOST, 1))
    graph = one.graph(one.add(one.conv(trunk, 1), shortcut), depth=2)
    program, beats = build_icarus(written(graph, tmp_path)), [0] * graph.input.beats
    with pytest.raises(SimulationError, match=f"deadlock: no stream moved for {PATIENCE + 1} cycles.* its log is"):
        program.run([beats], data_bits(graph.input))


def test_patience_is_longer_than_a_frame_of_a_slow_design():
    slow = one_conv(16, 64, (8, 8), folding=Folding(1, 1))
    assert slow.stages[0].compute_cycles > PATIENCE
    assert patience(slow) > latency_cycles(with_fifo_depths(slow))
    assert f".PATIENCE({patience(slow)})" in emit(slow)["rtl/bench.sv"]
    assert patience(one_conv()) == PATIENCE


def test_a_missing_simulator_is_named(tmp_path, monkeypatch):
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "bench.sv").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFoundError, match="verilator is not installed; get it by: apt-get install verilator"):
        build_rtl(tmp_path)
    with pytest.raises(ToolNotFoundError, match="iverilog is not installed; get it by: apt-get install iverilog"):
        build_icarus(tmp_path)


def test_half_a_project_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="got no rtl/bench.sv, accepted is the folder of an emitted project"):
        build_rtl(tmp_path)


@pytest.mark.parametrize("said", ["espalier mismatch: frame=0", "espalier error: lost", "", "espalier deadlock: none"])
def test_a_log_of_a_failure_is_an_error(said, tmp_path):
    with pytest.raises(SimulationError, match="its log is"):
        read_log(said, [], 1, tmp_path / "log")


def test_beats_and_tensors_are_inverse():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 6)).astype(np.uint8)
    for lanes in (1, 2, 6):
        np.testing.assert_array_equal(tensor_of(beats_of(x, lanes), x.shape, lanes, 8), x)
