"""Emission of HLS projects: pure, packed where the part packs, and C++ that vendors' headers fit as well as ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from espalier.codegen.fpga_hls.cost.resources import dsps
from espalier.codegen.fpga_hls.hls.emit import TEMPLATES, emit
from espalier.codegen.fpga_hls.hls.parameters import structs
from espalier.codegen.fpga_hls.stages import Folding
from espalier.measure.fpga.hls_simulation import headers_folder
from tests.hls_projects import PART, images, needs_headers, written
from tests.oracles.stream_graphs import (
    every_kind,
    every_product,
    gated_network,
    meaning,
    one_conv,
    raw_pixels,
    rectified_sums,
    residual_network,
)

VENDOR = Path(__file__).with_name("vendor")
PRODUCTS = Path(__file__).with_name("product_pairs.cpp")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def compiled(*words) -> None:
    """Without a warning, in the language that the project's tcl names."""
    command = ["g++", "-std=c++14", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label", *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_same_graph_gives_the_same_bytes():
    assert emit(residual_network(), PART, 1e8) == emit(residual_network(), PART, 1e8)


def test_every_file_that_is_included_is_there():
    files = emit(every_kind(), PART, 1e8) | emit(gated_network(), PART, 1e8) | emit(raw_pixels(), PART, 1e8)
    named = {name for path, text in files.items() for name in re.findall(r'#include "(.*)"', text)}
    theirs = {"ap_int.h", "ap_axi_sdata.h", "hls_stream.h"}
    assert named - theirs == {name for name in named if f"src/{name}" in files}
    assert theirs < named


def test_the_same_code_is_simulated_and_synthesized():
    """A vendor's C simulation does not say __SYNTHESIS__, its synthesis does; the vendor's own headers are found."""
    files = emit(gated_network(), PART, 1e8)
    assert not [path for path, text in files.items() if "__SYNTHESIS__" in text]
    assert set(re.findall(r"-I\[file join \$here (\w+)\]", files["tcl/project.tcl"])) == {"src"}
    assert "-std=c++14" in files["tcl/project.tcl"]


@needs_compiler
@needs_headers
@pytest.mark.parametrize("header", sorted(TEMPLATES.glob("*.h")), ids=lambda path: path.name)
def test_a_header_compiles_alone(header):
    folders = ("-I", TEMPLATES, "-I", TEMPLATES / "simulation", "-isystem", headers_folder())
    compiled("-fsyntax-only", *folders, header)


@needs_compiler
@needs_headers
@pytest.mark.parametrize("mode", [(), ("-D__SYNTHESIS__",)])
@pytest.mark.parametrize("graph", [every_product, gated_network, raw_pixels, rectified_sums])
def test_the_project_is_exact_with_a_vendors_headers(graph, mode, tmp_path):
    """As a vendor's C simulation runs it: stage after stage, streams without bound, nothing optimized."""
    graph, x = graph(), images(graph())
    sources = [written(graph, tmp_path) / "src" / name for name in ("accelerator.cpp", "testbench.cpp")]
    folders = ("-I", tmp_path / "src", "-I", VENDOR, "-isystem", headers_folder())
    compiled(*mode, *folders, *sources, "-o", tmp_path / "bench")
    x.tofile(tmp_path / "x")
    meaning(graph, x).tofile(tmp_path / "y")
    found = subprocess.run([tmp_path / "bench", tmp_path / "x", tmp_path / "y"], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("3 images, 0 numbers differ\n", "")


@needs_compiler
@needs_headers
def test_every_pair_of_products_is_exact(tmp_path):
    folders = ("-I", TEMPLATES, "-I", TEMPLATES / "simulation", "-isystem", headers_folder())
    compiled("-O2", *folders, PRODUCTS, "-o", tmp_path / "pairs")
    found = subprocess.run([tmp_path / "pairs"], capture_output=True, text=True)
    assert found.stdout == f"{256**3} pairs, 0 differ\n"


@pytest.mark.parametrize(("pe", "pairs"), [(4, 2), (3, 1), (1, 0)])
def test_products_are_paired_where_the_part_packs(pe, pairs):
    """As many blocks as the models count."""
    (stage,) = one_conv(4, 12, (6, 5), folding=Folding(2, pe), is_raw=True).stages
    wide, narrow = (structs(stage, packs)["multiply"] for packs in (True, False))
    assert (wide["packs"], narrow["packs"]) == (int(pairs > 0), 0)
    assert (dsps(stage), dsps(stage, "ecp5")) == (wide["inputs"] * (pe - pairs), wide["inputs"] * pe)


def test_the_lower_weight_of_a_pair_has_its_top_bit_inverted():
    graph = one_conv(1, 3, (3, 3), kernel=(1, 1), folding=Folding(1, 3))
    weights = graph.stages[0].weights.ravel().tolist()
    for packs, first in ((True, (weights[0] + 256) % 256 - 128), (False, weights[0])):
        text = emit(graph, PART, 1e8, packs)["src/weights/conv0.h"]
        table = text[text.index("weights[") : text.index("bias")]
        assert [int(one) for one in re.findall(r"(?<=[{\n])-?\d+", table)] == [first, *weights[1:]]


def test_the_zero_of_the_inputs_is_taken_off_the_bias():
    graph = one_conv(2, 2, (3, 3), x_zero=5)
    stage = graph.stages[0]
    text = emit(graph, PART, 1e8)["src/weights/conv0.h"]
    table = text[text.index("bias[") : text.index("multiplier")]
    found = [int(one) for one in re.findall(r"(?<=[{\n])-?\d+", table)]
    assert found == (stage.bias - 5 * stage.weights.astype(np.int64).sum((1, 2, 3))).tolist()
