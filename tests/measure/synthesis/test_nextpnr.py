"""Reports of nextpnr, read from a sample of its own."""

from __future__ import annotations

import sys

import pytest
from synthesis_tools import SAMPLES, needs_nextpnr

from espalier.codegen.fpga_hls.rtl.emit import emit
from espalier.codegen.fpga_hls.stages import Folding
from espalier.core.errors import InvalidInputError, ToolNotFoundError
from espalier.core.files import write_files
from espalier.measure.fpga.tools import ToolFailedError
from espalier.measure.synthesis.nextpnr import place_and_route, read_report
from tests.oracles.stream_graphs import one_conv

SAMPLE = (SAMPLES / "nextpnr_report.json").read_text()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "stage_conv0.sv").touch()
    return tmp_path


def test_report():
    routed = read_report(SAMPLE, seed=3)
    assert (routed.clock_hz, routed.seed, routed.label) == (125.5e6, 3, "post-route")
    assert (routed.used["MULT18X18D"], routed.available["DP16KD"]) == (20, 208)


@pytest.mark.parametrize("text", ["", "{}", SAMPLE.replace("achieved", "reached")])
def test_half_a_report_is_refused(text):
    with pytest.raises(ToolFailedError, match="nextpnr: not a report with a clock"):
        read_report(text)


def test_a_part_that_does_not_exist(project):
    with pytest.raises(InvalidInputError, match="ECP5 size: got '85', accepted are 12k, 25k, 45k, 85k"):
        place_and_route(project, "stage_conv0", "85")


def test_a_missing_router_is_named(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setattr(sys, "executable", str(project / "python"))
    with pytest.raises(ToolNotFoundError, match="nextpnr-ecp5 is not installed; get it by: pip install"):
        place_and_route(project, "stage_conv0")
    with pytest.raises(InvalidInputError, match="got no rtl/stage_none.sv"):
        place_and_route(project, "stage_none")


@needs_nextpnr
def test_a_stage_is_placed_and_routed(tmp_path):
    graph = one_conv(1, 2, (2, 2), kernel=(1, 1), folding=Folding(1, 1))
    write_files(tmp_path, emit(graph, packs=False))
    routed = place_and_route(tmp_path, "stage_conv0", "25k")
    assert 20e6 < routed.clock_hz < 1e9
    assert 0 < routed.used["MULT18X18D"] < routed.available["MULT18X18D"] == 28
    assert min(routed.used["TRELLIS_COMB"], routed.used["TRELLIS_FF"]) > 50
