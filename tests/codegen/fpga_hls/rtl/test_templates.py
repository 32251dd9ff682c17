"""The SystemVerilog templates alone: clean for Verilator's lint, and the multipliers exact for every operand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from espalier.codegen.fpga_hls.rtl.emit import FOCUSED, NARROW, TEMPLATES

HERE = Path(__file__).parent
MODULES = sorted(path for folder in (TEMPLATES, NARROW, FOCUSED) for path in folder.glob("*.sv"))
OF_A_DESIGN = ("testbench", "clock")
"""These instantiate modules that only an emitted project has."""

needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="needs verilator")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog")


@needs_verilator
@pytest.mark.parametrize("path", [one for one in MODULES if one.stem not in OF_A_DESIGN], ids=lambda path: path.stem)
def test_lint_of_a_template_alone_is_clean(path):
    words = ["verilator", "--lint-only", "-Wall", "-y", ".", "-y", path.parent, path]
    said = subprocess.run(words, cwd=TEMPLATES, capture_output=True, text=True)
    assert said.stderr == ""


@needs_verilator
def test_lint_with_the_lines_for_recentralised_shifts_is_clean():
    words = ["verilator", "--lint-only", "-Wall", "+define+FOCUSED", "-y", ".", "-y", FOCUSED, "convolution.sv"]
    for kind in (0, 3):
        sizes = [f"-GKIND={kind}", "-GPE=4", f"-GWEIGHT_BITS={4 if kind == 3 else 8}"]
        assert subprocess.run([*words, *sizes], cwd=TEMPLATES, capture_output=True, text=True).stderr == ""


@needs_icarus
def test_multipliers_are_exact_for_all_operands(tmp_path):
    assert said_by("multiplier_bench", TEMPLATES, tmp_path) == "wrong=0"


@needs_icarus
def test_recentralised_shifts_are_exact_for_all_operands(tmp_path):
    assert said_by("recentred_bench", FOCUSED, tmp_path) == "wrong=0"


@needs_icarus
@pytest.mark.parametrize("folder", [TEMPLATES, NARROW])
def test_wide_products_are_exact(folder, tmp_path):
    assert said_by("multiply_wide_bench", folder, tmp_path) == "wrong=0"


@needs_icarus
@pytest.mark.parametrize("folder", [TEMPLATES, NARROW])
def test_a_line_buffer_remembers(folder, tmp_path):
    assert said_by("line_memory_bench", folder, tmp_path) == "wrong=0"


@needs_icarus
def test_limits_are_exact(tmp_path):
    assert said_by("saturate_bench", TEMPLATES, tmp_path) == "wrong=0"


def said_by(bench: str, folder: Path, tmp_path: Path) -> str:
    """The last line that a bench prints in Icarus, with modules of a folder."""
    words = ["iverilog", "-g2012", "-o", tmp_path / bench, "-y", folder, "-y", TEMPLATES, "-Y", ".sv"]
    subprocess.run([*words, HERE / f"{bench}.sv"], check=True, capture_output=True)
    said = subprocess.run(["vvp", "-n", tmp_path / bench], check=True, capture_output=True, text=True)
    return said.stdout.splitlines()[-1]
