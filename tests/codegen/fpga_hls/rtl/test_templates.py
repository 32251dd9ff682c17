"""The SystemVerilog templates alone: clean for Verilator's lint, and the multipliers exact for every operand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from espalier.codegen.fpga_hls.rtl.emit import TEMPLATES

HERE = Path(__file__).parent
MODULES = sorted(path.stem for path in TEMPLATES.glob("*.sv"))
OF_A_DESIGN = ("testbench", "clock")
"""These instantiate modules that only an emitted project has."""

needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")


@needs_verilator
@pytest.mark.parametrize("module", [name for name in MODULES if name not in OF_A_DESIGN])
def test_lint_of_a_template_alone_is_clean(module):
    words = ["verilator", "--lint-only", "-Wall", "-y", ".", f"{module}.sv"]
    said = subprocess.run(words, cwd=TEMPLATES, capture_output=True, text=True)
    assert said.stderr == ""


@needs_icarus
def test_multipliers_are_exact_for_all_operands(tmp_path):
    bench = HERE / "multiplier_bench.sv"
    built = ["iverilog", "-g2012", "-o", tmp_path / "bench", "-y", TEMPLATES, "-Y", ".sv", bench]
    subprocess.run(built, check=True, capture_output=True)
    said = subprocess.run(["vvp", "-n", tmp_path / "bench"], check=True, capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "wrong=0"
