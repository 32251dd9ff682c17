"""The SystemVerilog templates alone: clean for Verilator's lint, and the multipliers exact for every operand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rtl_projects import needs_icarus, needs_verilator

from espalier.codegen.fpga_hls.rtl.emit import NARROW, TEMPLATES

HERE = Path(__file__).parent
MODULES = sorted(path for folder in (TEMPLATES, NARROW) for path in folder.glob("*.sv"))
OF_A_DESIGN = ("testbench", "clock")
"""These instantiate modules that only an emitted project has."""

PIXELS = {"WIDTH": 4, "OUT_WIDTH": 4, "PIXELS": 2, "OUT_PIXELS": 2}


@needs_verilator
@pytest.mark.parametrize("path", [one for one in MODULES if one.stem not in OF_A_DESIGN], ids=lambda path: path.stem)
def test_lint_of_a_template_alone_is_clean(path):
    words = ["verilator", "--lint-only", "-Wall", "-y", ".", "-y", path.parent, path]
    said = subprocess.run(words, cwd=TEMPLATES, capture_output=True, text=True)
    assert said.stderr == ""


@needs_verilator
@pytest.mark.parametrize(
    ("template", "sizes"),
    [
        ("convolution", {"KIND": 3, "PE": 4, "WEIGHT_BITS": 4}),
        ("convolution", PIXELS | {"KERNEL_W": 3, "PAD_LEFT": 1, "TAPS": 3, "FIRST": 1, "COLUMNS": 3, "SIMD": 2}),
        ("max_pool", PIXELS | {"KERNEL_W": 1, "STRIDE_W": 1, "OUT_PIXELS": 1, "STEP": 2, "COLUMNS": 2, "LANES": 2}),
    ],
)
def test_lint_of_what_a_parameter_chooses_is_clean(template, sizes):
    """Recentralised shifts, and several pixels in a beat."""
    words = ["verilator", "--lint-only", "-Wall", "-y", ".", f"{template}.sv"]
    given = [f"-G{name}={size}" for name, size in sizes.items()]
    assert subprocess.run([*words, *given], cwd=TEMPLATES, capture_output=True, text=True).stderr == ""


@needs_icarus
def test_multipliers_are_exact_for_all_operands(tmp_path):
    assert said_by("multiplier_bench", TEMPLATES, tmp_path) == "wrong=0"


@needs_icarus
def test_recentralised_shifts_are_exact_for_all_operands(tmp_path):
    assert said_by("recentred_bench", TEMPLATES, tmp_path) == "wrong=0"


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
