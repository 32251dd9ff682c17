"""The convolution's inner loop multiplies and adds in the widest vectors that the target has, in no wider ones."""

from __future__ import annotations

import re

import pytest
from oracles.networks import plain

from espalier.build import build

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


def inner_loops(text: str, layer: str) -> list[str]:
    """The blocks that jump back to their own beginning, of a layer's kernel and of its parallel loop, which follows."""
    kernels = re.findall(rf"^\w*_{layer}_compute_:\n((?:.*?\.Lfunc_end\d+:){{2}})", text, re.DOTALL | re.MULTILINE)
    blocks = [block for kernel in kernels for block in re.split(r"\n(?=\.LBB)", kernel)]
    return [block for block in blocks if re.search(rf"\t(?:j|b)\S*\t{re.escape(block.split(':')[0])}$", block, re.M)]
