"""The emitted Vitis HLS project synthesized by AMD's tool, where it is installed, and its reports read.

The report of C synthesis is `csynth.xml` (AMD UG1399, Vitis HLS command reference, "csynth_design"): estimates of the
tool, before synthesis of logic.
"""

from __future__ import annotations

import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidInputError
from ..fpga.tools import ToolFailedError, find_tool, run_tool

LABEL = "C-synthesis estimate"
INSTALL = "AMD Vitis from https://www.xilinx.com/support/download.html, then source its settings64.sh"
NAMES = ("vitis-run", "vitis_hls")
RESOURCES = {"luts": "LUT", "ffs": "FF", "dsps": "DSP", "bram_18k": "BRAM_18K", "uram": "URAM"}


@dataclass(frozen=True)
class HlsReport:
    """What C synthesis estimates. clock_s: the period. interval_cycles: the greatest; None if the tool cannot say."""

    version: str
    part: str
    clock_s: float
    interval_cycles: int | None
    latency_cycles: int | None
    used: dict[str, int]
    available: dict[str, int]
    label: str = LABEL


def synthesize(folder: Path, script: str = "csynth.tcl", limit_s: float = 4 * 3600) -> HlsReport:
    """Run a tcl script of an emitted project and read the report it makes.

    folder: with hls/tcl/. Raises ToolNotFoundError, ToolFailedError, InvalidInputError.
    """
    tcl = Path(folder).absolute() / "hls" / "tcl"
    if not (tcl / script).is_file():
        raise InvalidInputError(f"{folder}: got no hls/tcl/{script}, accepted is the folder of an emitted project")
    tool = find_tool(*NAMES, install=INSTALL)
    words = [tool, "--mode", "hls", "--tcl", script] if Path(tool).name == "vitis-run" else [tool, "-f", script]
    run_tool(words, tcl, tcl / "vitis.log", limit_s)
    reports = sorted(tcl.parent.rglob("csynth.xml"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise ToolFailedError(f"vitis: no csynth.xml was written; its log is {tcl / 'vitis.log'}")
    return read_report(reports[-1].read_text())


def read_report(text: str) -> HlsReport:
    """The value behind a csynth.xml; ToolFailedError if it is not one."""
    try:
        root = xml.fromstring(text)
        estimates = root.find("PerformanceEstimates")
        overall = estimates.find("SummaryOfOverallLatency")
        return HlsReport(
            root.findtext("ReportVersion/Version"),
            root.findtext("UserAssignments/Part"),
            float(estimates.findtext("SummaryOfTimingAnalysis/EstimatedClockPeriod")) * 1e-9,
            _cycles(overall.findtext("Interval-max")),
            _cycles(overall.findtext("Worst-caseLatency")),
            _counts(root.find("AreaEstimates/Resources")),
            _counts(root.find("AreaEstimates/AvailableResources")),
        )
    except (xml.ParseError, AttributeError, TypeError, ValueError) as error:
        raise ToolFailedError(f"vitis: not a report of C synthesis ({error})") from None


def _cycles(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _counts(node: xml.Element) -> dict[str, int]:
    return {name: int(node.findtext(tag) or 0) for name, tag in RESOURCES.items()}
