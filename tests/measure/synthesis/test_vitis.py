"""The report of C synthesis, read from a sample written after AMD's documentation; the tool itself is not here."""

from __future__ import annotations

import pytest
from synthesis_tools import SAMPLES, VITIS, write_tool

from espalier.core.errors import InvalidInputError, ToolNotFoundError
from espalier.measure.fpga.tools import ToolFailedError
from espalier.measure.synthesis.vitis import read_report, synthesize

SAMPLE = (SAMPLES / "csynth.xml").read_text()


def test_report():
    report = read_report(SAMPLE)
    assert (report.version, report.part, report.label) == ("2022.2", "xc7z020-clg400-1", "C-synthesis estimate")
    assert report.clock_s == pytest.approx(7.291e-9)
    assert (report.interval_cycles, report.latency_cycles) == (36868, 57241)
    assert report.used == {"luts": 28000, "ffs": 31000, "dsps": 205, "bram_18k": 90, "uram": 0}
    assert report.available["dsps"] == 220


def test_an_interval_that_the_tool_does_not_know():
    assert read_report(SAMPLE.replace("36868", "undef")).interval_cycles is None


@pytest.mark.parametrize("text", ["", "<profile/>", SAMPLE[:400], SAMPLE.replace("<LUT>28000", "<LUT>many")])
def test_half_a_report_is_refused(text):
    with pytest.raises(ToolFailedError, match="vitis: not a report of C synthesis"):
        read_report(text)


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    with pytest.raises(InvalidInputError, match=r"got no hls/tcl/csynth\.tcl"):
        synthesize(tmp_path)
    (tmp_path / "hls" / "tcl").mkdir(parents=True)
    (tmp_path / "hls" / "tcl" / "csynth.tcl").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolNotFoundError, match="vitis-run is not installed; get it by: AMD Vitis"):
        synthesize(tmp_path)


def test_its_report_is_found(tmp_path, monkeypatch):
    tcl, tools = tmp_path / "hls" / "tcl", tmp_path / "tools"
    tcl.mkdir(parents=True)
    (tcl / "csynth.tcl").touch()
    write_tool(tools, "vitis_hls", VITIS)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    assert synthesize(tmp_path).used["dsps"] == 205
