"""The convolution's inner loop multiplies and adds in the widest vectors that the target has, in no wider ones."""

from __future__ import annotations

import re

import pytest
import tvm
from oracles.convolutions import problem_of
from oracles.integer_networks import IntegerNetwork
from oracles.networks import plain

from espalier.build import build
from espalier.codegen.cpu.generate import generate
from espalier.codegen.cpu.kernels.conv2d_blocked import Tile, conv2d_blocked
from espalier.codegen.cpu.layout import Layout
from espalier.core.layers import Conv2dSpec
from espalier.targets.cpu import cpu_target, isa_of

TARGETS = {
    "neon": ({"mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]}, r"\bfmla\s+v\d+\.4s", r"\bz\d+\.s"),
    "avx2": ({"mtriple": "x86_64-linux-gnu", "mcpu": "haswell"}, r"\bvfmadd\w+ps\b.*%ymm", "%zmm"),
    "avx512": ({"mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512"}, r"\bvfmadd\w+ps\b.*%zmm", "%no"),
}


@pytest.mark.parametrize("isa", TARGETS)
def test_inner_loops(isa):
    options, multiply_add, too_wide = TARGETS[isa]
    program = build(plain(channels=64, size=16), {"kind": "llvm", **options}).program
    assert program.isa == isa
    (module,) = program.executable.mod._collect_dso_modules()
    text = module.inspect_source("asm")
    assert not re.search(too_wide, text)
    counts = [len(re.findall(multiply_add, loop)) for loop in inner_loops(text, "conv1")]
    assert max(counts) >= 6, counts


def test_sums_of_plain_inputs_stay_in_registers():
    """Where x is plain NCHW too, no sum of the inner loops goes through memory."""
    target = cpu_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "skylake-avx512"})
    problem = problem_of(Conv2dSpec("conv", ("x", "weight"), padding=(1, 1, 1, 1)), 1, 32, 32, (16, 28), (3, 3))
    kernel = conv2d_blocked(problem, isa_of(target), Layout(1, 1), Layout(16, 1), tile=Tile(2, 2, 7))
    library = tvm.compile(tvm.IRModule({"conv": kernel.with_attr("global_symbol", "conv")}), target)
    text = library.mod.inspect_source("asm")
    loops = [loop for loop in re.split(r"\n(?=\.LBB)", text) if loop.count("vfmadd") >= 28]
    assert loops
    assert not [line for loop in loops for line in loop.splitlines() if "zmm" in line and "(%rsp)" in line]


BYTES = {
    "cascadelake": r"\bvpdpbusd\s.*%zmm",
    "alderlake": r"\bvpdpbusd\s.*%ymm",
    "skylake-avx512": r"\bvpmaddwd\s.*%zmm",
    "haswell": r"\bvpmaddwd\s.*%ymm",
}


@pytest.mark.parametrize("mcpu", BYTES)
def test_inner_loops_of_bytes(mcpu):
    """Products of bytes in the widest vectors; sums are rescaled by one fused multiply-add."""
    g = IntegerNetwork(1, 64, 16, 16)
    mod = g.module(g.dequantize(g.conv(g.quantize(g.x), 64)))
    program = generate(mod, cpu_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": mcpu}))
    (module,) = program.executable.mod._collect_dso_modules()
    text = module.inspect_source("asm")
    counts = [len(re.findall(BYTES[mcpu], loop)) for loop in inner_loops(text, "conv0")]
    assert max(counts) >= 6, counts
    assert re.search(r"\bvfmadd\w+ps\b", text)
    assert not re.search(r"\bfmaf?\b", text)


def test_products_of_tiles():
    """A convolution of bytes configures tiles, multiplies and releases them, and the program says it needs them."""
    g = IntegerNetwork(1, 64, 16, 16)
    mod = g.module(g.dequantize(g.conv(g.quantize(g.x), 64)))
    target = cpu_target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "sapphirerapids"})
    program = generate(mod, target)
    (module,) = program.executable.mod._collect_dso_modules()
    text = module.inspect_source("asm")
    assert "amx-int8" in program.isa.split("+")
    for instruction in ("ldtilecfg", "tileloadd", "tdpbusd", "tilestored", "tilerelease"):
        assert re.search(rf"\b{instruction}\b", text), instruction


def inner_loops(text: str, layer: str) -> list[str]:
    """The blocks that jump back to their own beginning, of a layer's kernel and of its parallel loop, which follows."""
    kernels = re.findall(rf"^\w*_{layer}_compute_:\n((?:.*?\.Lfunc_end\d+:){{2}})", text, re.DOTALL | re.MULTILINE)
    blocks = [block for kernel in kernels for block in re.split(r"\n(?=\.LBB)", kernel)]
    return [block for block in blocks if re.search(rf"\t(?:j|b)\S*\t{re.escape(block.split(':')[0])}$", block, re.M)]
