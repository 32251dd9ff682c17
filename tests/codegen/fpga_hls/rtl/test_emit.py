"""Emission of SystemVerilog: pure, complete, and clean for Verilator's lint."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from espalier.codegen.fpga_hls.cost.resources import dsps
from espalier.codegen.fpga_hls.graph import StreamGraph
from espalier.codegen.fpga_hls.rtl.emit import NARROW, TEMPLATES, emit
from espalier.codegen.fpga_hls.rtl.parameters import module_of
from espalier.codegen.fpga_hls.rtl.timing import line_buffer_rows, result_depth
from espalier.codegen.fpga_hls.stages import Folding, Products
from espalier.core.errors import UnsupportedOpError
from tests.oracles.stream_graphs import (
    every_kind,
    every_level_in_dsps,
    every_recentred,
    gated_network,
    one_conv,
    raw_pixels,
    residual_network,
    several_pixels,
)
from tests.rtl_projects import needs_verilator, written


def test_the_same_graph_gives_the_same_bytes():
    assert emit(residual_network()) == emit(residual_network())


def test_templates_are_the_same_in_every_design():
    """Whatever a graph computes: its stages' parameters are all that differs."""
    graphs = every_kind(), every_recentred(), several_pixels()
    templates = {f"rtl/{path.name}": path.read_text() for path in TEMPLATES.glob("*.sv")}
    assert all(templates.items() <= emit(graph).items() for graph in graphs)


def test_pixels_that_are_computed_together_share_weights_and_have_constants_each():
    one, two = (
        module_of(one_conv(2, 4, (4, 4), kernel=(1, 1), folding=Folding(2, 4, 1, pixels)).stages[0])
        for pixels in (1, 2)
    )
    assert one.tables["conv0_weights.mem"] == two.tables["conv0_weights.mem"]
    (alone,), (together,) = (module.tables["conv0_constants.mem"].split() for module in (one, two))
    fields = 4 * (one.parameters["FACTOR_BITS"] + one.parameters["SUM_BITS"])
    assert int(together, 16) == int(alone, 16) << fields | int(alone, 16)


def test_every_table_that_is_read_is_written():
    files = emit(every_kind()) | emit(gated_network()) | emit(several_pixels())
    named = {f"rtl/{name}" for text in files.values() for name in re.findall(r'"(\w+\.mem)"', text)}
    assert named == {path for path in files if path.endswith(".mem")} != set()


def test_a_line_of_a_table_holds_the_weights_of_a_cycle():
    stage = one_conv(2, 2, (3, 3), kernel=(1, 1), folding=Folding(2, 1)).stages[0]
    lines = module_of(stage).tables["conv0_weights.mem"].split()
    expected = stage.weights[:, :, 0, 0].astype(int) % 256
    assert [[int(line[2:], 16), int(line[:2], 16)] for line in lines] == expected.tolist()


def test_the_lower_weight_of_a_pair_is_stored_above_zero():
    stage = one_conv(1, 2, (3, 3), kernel=(1, 1), folding=Folding(1, 2)).stages[0]
    (line,) = module_of(stage).tables["conv0_weights.mem"].split()
    low, high = stage.weights.ravel().tolist()
    assert (int(line[2:], 16), int(line[:2], 16)) == (low + 128, high % 256)


@pytest.mark.parametrize(("bits", "pe"), [(4, 2), (4, 1), (3, 3)])
def test_narrow_weights_are_stored_in_their_bits(bits, pe):
    """Those of the lower sums of pairs above zero."""
    stage = one_conv(1, 6, (3, 3), kernel=(1, 1), folding=Folding(1, pe), products=Products("dsp", bits)).stages[0]
    words = [int(line, 16) for line in module_of(stage).tables["conv0_weights.mem"].split()]
    stored = [[word >> bits * place & (1 << bits) - 1 for place in range(pe)] for word in words]
    offsets = [1 << bits - 1 if place % 2 == 0 and place + 1 < pe else 0 for place in range(pe)]
    expected = (stage.weights.reshape(-1, pe).astype(int) + offsets) % (1 << bits)
    assert stored == expected.tolist()
    assert all(word < 1 << bits * pe for word in words)


def test_narrow_multipliers_take_a_product_each_and_more_for_wide_ones():
    graph = one_conv(4, 8, (6, 5), folding=Folding(2, 4))
    wide, narrow = emit(graph), emit(graph, packs=False)
    assert narrow["rtl/multiply_wide.sv"] == (NARROW / "multiply_wide.sv").read_text() != wide["rtl/multiply_wide.sv"]
    assert (".PACK(1)" in wide["rtl/stage_conv0.sv"], ".PACK(0)" in narrow["rtl/stage_conv0.sv"]) == (True, True)
    (stage,) = graph.stages
    assert (dsps(stage), dsps(stage, "ecp5")) == (2 * 2 + 2 * stage.out_lanes, 2 * 4 + 4 * stage.out_lanes)


@needs_verilator
@pytest.mark.parametrize(
    "graph",
    [
        *(residual_network, every_kind, every_recentred, gated_network, partial(gated_network, has_pi=False)),
        *(several_pixels, raw_pixels, every_level_in_dsps),
    ],
)
def test_lint_of_a_design_is_clean(graph, tmp_path):
    written(graph(), tmp_path)
    words = ["verilator", "--lint-only", "-Wall", "-y", ".", "--top-module", "accelerator", "accelerator.sv"]
    assert subprocess.run(words, cwd=tmp_path / "rtl", capture_output=True, text=True).stderr == ""


def test_a_stage_as_fast_as_its_input_has_a_row_more():
    slow = one_conv(4, 8, (8, 8), folding=Folding(1, 1)).stages[0]
    fast = one_conv(4, 4, (8, 8), folding=Folding(4, 4, 9)).stages[0]
    assert (line_buffer_rows(slow), line_buffer_rows(fast)) == (4, 5)


def test_results_have_room_for_all_that_is_under_way():
    stage = one_conv(4, 4, (8, 8), kernel=(1, 1), folding=Folding(4, 4)).stages[0]
    assert stage.cycles_per_group == 1
    assert result_depth(stage) >= 24


def test_sums_that_are_too_wide_for_a_residual_are_refused():
    graph = residual_network()
    stage = next(stage for stage in graph.convolutions() if stage.arithmetic.residual)
    residual = replace(stage.arithmetic.residual, low=None, high=None)
    wide = replace(stage, arithmetic=replace(stage.arithmetic, residual=residual, shift=0))
    graph = StreamGraph(tuple(wide if one is stage else one for one in graph.stages), graph.edges)
    with pytest.raises(UnsupportedOpError, match=rf"layer {stage.name}: a sum .* of \d+ bits, accepted are 32"):
        emit(graph)


def test_a_mean_of_odd_zeros_starts_below_zero():
    stage = next(stage for stage in every_kind().stages if type(stage).__name__ == "MeanPool")
    pixels = stage.in_shape[0] * stage.in_shape[1]
    parameters = module_of(stage).parameters
    assert parameters["BIAS"] == -3 * pixels
    assert np.log2(255 * pixels) < parameters["SUM_BITS"] - 1
